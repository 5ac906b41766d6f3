"""Sylvester flows (van den Berg et al., arXiv:1803.05649): z' = z + Q R1 tanh(R2 Q^T z + b).

R1 and R2 are upper triangular (M, M) and Q (D, M) has orthonormal columns, so that
ln|det| = sum_i ln(1 + tanh'_i r1_ii r2_ii). The three kinds differ in Q alone.
"""

from __future__ import annotations

from itertools import repeat

import torch
from torch import Tensor, nn

from scanner.errors import ScannerError
from scanner.flows.amortised import parameters, safe_log
from scanner.flows.inverse import bisect
from scanner.flows.sylvester_basis import HouseholderBasis, QRBasis


def orthogonal(
    dim: int, context: int, *, flows: int, vectors: int, amortised: bool
) -> Sylvester:
    """Sylvester flows in the span of `vectors` orthonormal vectors.

    Raises:
        ScannerError: More vectors than latent dimensions.
    """
    if vectors > dim:
        raise ScannerError(
            f"flow sylvester_orthogonal: vectors is {vectors}, the latent space has {dim} "
            f"dimensions; use 1 to {dim} vectors"
        )
    basis = QRBasis(dim, context, flows, vectors, amortised)
    return Sylvester(context, flows, vectors, basis, amortised)


def householder(
    dim: int, context: int, *, flows: int, reflections: int, amortised: bool
) -> Sylvester:
    """Sylvester flows of full width, with Q a product of Householder reflections."""
    basis = HouseholderBasis(dim, context, flows, reflections, amortised)
    return Sylvester(context, flows, dim, basis, amortised)


def triangular(dim: int, context: int, *, flows: int, amortised: bool) -> Sylvester:
    """Sylvester flows of full width, with Q the identity and the reversal in turn."""
    return Sylvester(context, flows, dim, None, amortised)


class Sylvester(nn.Module):
    """A stack of Sylvester flows that starts near the identity, for R1 starts near zero.

    Args:
        context: Width of the context.
        flows: Length K of the stack.
        width: Width M of the bottleneck.
        basis: Network from the context to all Q (., K, D, M); None for Q = 1 in even flows and the
            reversal in odd ones.
        amortised: Whether the parameters are made from the context.
    """

    def __init__(
        self, context: int, flows: int, width: int, basis: nn.Module | None, amortised: bool
    ) -> None:
        super().__init__()
        self.flows, self.width, self.basis = flows, width, basis
        many, few = flows * width * width, flows * width
        self.triangles = parameters(context, many, amortised=amortised, near_zero=True)
        self.diagonal1 = parameters(context, few, amortised=amortised, near_zero=True)
        self.diagonal2 = parameters(context, few, amortised=amortised)
        self.shift = parameters(context, few, amortised=amortised)

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mapped vectors (B, D) and ln|det| (B,)."""
        r1, r2, product, shift = self._triangular(context)
        gates = []
        layers = zip(r1.unbind(1), r2.unbind(1), shift.unbind(1), self._bases(context), strict=True)
        for k, (r1_k, r2_k, shift_k, q) in enumerate(layers):
            gates.append(torch.tanh(_times(r2_k, _project(q, z, k)) + shift_k))
            z = z + _lift(q, _times(r1_k, gates[-1]), k)
        slope = 1 - torch.stack(gates, 1).square()
        return z, safe_log(1 + slope * product).sum((-2, -1))

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        """Vectors that `forward` maps to z, by back-substitution inside the span of Q."""
        r1, r2, _, shift = self._triangular(context)
        bases = self._bases(context)
        for k in reversed(range(self.flows)):
            target = _project(bases[k], z, k)
            gate = _solve(r1[:, k], r2[:, k], shift[:, k], target)
            z = z - _lift(bases[k], _times(r1[:, k], gate), k)
        return z

    def _triangular(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """R1 and R2, each (., K, M, M), the product of their diagonals and b, each (., K, M)."""
        shape = (self.flows, self.width)
        both = self.triangles(context).unflatten(-1, (*shape, self.width))
        diagonal1 = torch.tanh(self.diagonal1(context)).unflatten(-1, shape)
        diagonal2 = torch.tanh(self.diagonal2(context)).unflatten(-1, shape)
        r1 = torch.triu(both, 1) + torch.diag_embed(diagonal1)
        r2 = torch.triu(both.mT, 1) + torch.diag_embed(diagonal2)
        return r1, r2, diagonal1 * diagonal2, self.shift(context).unflatten(-1, shape)

    def _bases(self, context: Tensor) -> list[Tensor] | list[None]:
        if self.basis is None:
            return list(repeat(None, self.flows))
        return list(self.basis(context).unbind(1))


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrix times vector for each event: for such small ones quicker than a batched product."""
    return (matrix * vector.unsqueeze(-2)).sum(-1)


def _project(q: Tensor | None, z: Tensor, k: int) -> Tensor:
    """Q^T z in flow k."""
    if q is None:
        return z.flip(-1) if k % 2 else z
    return (q * z.unsqueeze(-1)).sum(-2)


def _lift(q: Tensor | None, y: Tensor, k: int) -> Tensor:
    """Q y in flow k."""
    if q is None:
        return y.flip(-1) if k % 2 else y
    return _times(q, y)


def _solve(r1: Tensor, r2: Tensor, shift: Tensor, target: Tensor) -> Tensor:
    """Gates tanh(R2 y + b) of the y with y + R1 tanh(R2 y + b) = target, the last one first."""
    y, gate = torch.zeros_like(target), torch.zeros_like(target)
    for i in reversed(range(target.shape[-1])):
        offset = (r2[..., i, :] * y).sum(-1) + shift[..., i]
        rest = target[..., i] - (r1[..., i, :] * gate).sum(-1)
        scale1, scale2 = r1[..., i, i], r2[..., i, i]

        def excess(
            x: Tensor,
            offset: Tensor = offset,
            rest: Tensor = rest,
            scale1: Tensor = scale1,
            scale2: Tensor = scale2,
        ) -> Tensor:
            return x + scale1 * torch.tanh(scale2 * x + offset) - rest

        y[..., i] = bisect(excess, rest - scale1.abs(), rest + scale1.abs())
        gate[..., i] = torch.tanh(scale2 * y[..., i] + offset)
    return gate
