"""Sylvester flows (van den Berg et al., arXiv:1803.05649): z' = z + Q R1 tanh(R2 Q^T z + b).

R1 and R2 are upper triangular (M, M) and Q (D, M) has orthonormal columns, so that
ln|det| = sum_i ln(1 + tanh'_i r1_ii r2_ii). The three kinds differ in Q alone.
"""

from __future__ import annotations

from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scanner.errors import ScannerError
from scanner.flows.amortised import parameters, safe_log
from scanner.flows.inverse import solve_tanh
from scanner.flows.order import alternate
from scanner.flows.sylvester_basis import HouseholderBasis, QRBasis


def orthogonal(dim: int, context: int, *, flows: int, vectors: int, amortised: bool) -> Sylvester:
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


class Triangle(NamedTuple):
    """An upper triangular matrix for each event: above its diagonal (., M, M), and that (., M)."""

    strict: Tensor
    diagonal: Tensor

    def times(self, vector: Tensor) -> Tensor:
        """The matrix times a vector (., M)."""
        return _times(self.strict, vector) + self.diagonal * vector


Layer = tuple[Tensor | None, Triangle, Triangle, Tensor]


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
        layers = self._layers(context)
        gates = []
        for k, (q, r1, r2, shift) in enumerate(layers):
            gates.append(torch.tanh(r2.times(_project(q, z, k)) + shift))
            z = z + _lift(q, r1.times(gates[-1]), k)
        products = torch.stack([r1.diagonal * r2.diagonal for _, r1, r2, _ in layers], 1)
        slopes = 1 - torch.stack(gates, 1).square()
        return z, safe_log(1 + slopes * products).sum((-2, -1))

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        """Vectors that `forward` maps to z, by back-substitution inside the span of Q."""
        for k, (q, r1, r2, shift) in reversed(list(enumerate(self._layers(context)))):
            gate = _solve(r1, r2, shift, _project(q, z, k))
            z = z - _lift(q, r1.times(gate), k)
        return z

    def _layers(self, context: Tensor) -> list[Layer]:
        """Q, R1, R2 and b of every flow; the first dimension is the event, or 1."""
        shape = (-1, self.flows, self.width)
        both = self.triangles(context).reshape(*shape, self.width)
        diagonal1 = torch.tanh(self.diagonal1(context)).reshape(shape)
        diagonal2 = torch.tanh(self.diagonal2(context)).reshape(shape)
        return list(
            zip(
                self.basis(context).unbind(1) if self.basis else repeat(None, self.flows),
                map(Triangle, torch.triu(both, 1).unbind(1), diagonal1.unbind(1)),
                map(Triangle, torch.tril(both, -1).mT.unbind(1), diagonal2.unbind(1)),
                self.shift(context).reshape(shape).unbind(1),
                strict=True,
            )
        )


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrix times vector for each event: for such small ones quicker than a batched product."""
    return (matrix * vector.unsqueeze(-2)).sum(-1)


def _project(q: Tensor | None, z: Tensor, k: int) -> Tensor:
    """Q^T z in flow k."""
    return alternate(z, k) if q is None else _times(q.mT, z)


def _lift(q: Tensor | None, y: Tensor, k: int) -> Tensor:
    """Q y in flow k."""
    return alternate(y, k) if q is None else _times(q, y)


def _solve(r1: Triangle, r2: Triangle, shift: Tensor, target: Tensor) -> Tensor:
    """Gates tanh(R2 y + b) of the y with y + R1 tanh(R2 y + b) = target, the last one first."""
    y, gate = torch.zeros_like(target), torch.zeros_like(target)
    for i in reversed(range(target.shape[-1])):
        offset = (r2.strict[..., i, :] * y).sum(-1) + shift[..., i]
        rest = target[..., i] - (r1.strict[..., i, :] * gate).sum(-1)
        y[..., i] = solve_tanh(r1.diagonal[..., i], r2.diagonal[..., i], offset, rest)
        gate[..., i] = torch.tanh(r2.diagonal[..., i] * y[..., i] + offset)
    return gate
