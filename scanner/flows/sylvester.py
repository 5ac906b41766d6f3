"""Sylvester flows (van den Berg et al., arXiv:1803.05649): z' = z + Q R1 tanh(R2 Q^T z + b).

R1 and R2 are upper triangular (M, M) and Q (D, M) has orthonormal columns, so that
ln|det| = sum_i ln(1 + tanh'_i r1_ii r2_ii). The three kinds differ in Q alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scanner.errors import ScannerError
from scanner.flows.amortised import events_last, parameters, safe_log
from scanner.flows.inverse import solve_tanh
from scanner.flows.sylvester_basis import (
    Basis,
    HouseholderBasis,
    OrderBasis,
    QRBasis,
    times,
    times_transposed,
)


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
    return Sylvester(context, flows, dim, OrderBasis(), amortised)


class Parts(NamedTuple):
    """What all K flows of a stack are made of, for the B events of P networks (P, K, ..., B).

    Attributes:
        triangles: (P, K, M, M, B) R1 above the diagonal, the transpose of R2 below it.
        diagonal1: (P, K, M, B) of R1.
        diagonal2: (P, K, M, B) of R2.
        shift: (P, K, M, B) b.
        basis: All Q.
    """

    triangles: Tensor
    diagonal1: Tensor
    diagonal2: Tensor
    shift: Tensor
    basis: Basis


class Sylvester(nn.Module):
    """A stack of Sylvester flows that starts near the identity, for R1 starts near zero.

    Args:
        context: Width of the context.
        flows: Length K of the stack.
        width: Width M of the bottleneck.
        basis: Network from the context to the basis of every flow.
        amortised: Whether the parameters are made from the context.
    """

    def __init__(
        self, context: int, flows: int, width: int, basis: nn.Module, amortised: bool
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
        parts = self._parts(z, context)
        columns = z.reshape(-1, *z.shape[-2:]).mT
        mapped, gates = _Stack.apply(type(parts.basis), columns, *parts[:-1], *parts.basis)  # type: ignore[no-untyped-call]
        slopes = 1 - gates.square()
        log_det = safe_log(1 + slopes * parts.diagonal1 * parts.diagonal2).sum((1, 2))
        return mapped.mT.reshape(z.shape), log_det.view(z.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        """Vectors that `forward` maps to z, by back-substitution inside the span of Q."""
        parts = self._parts(z, context)
        columns = z.reshape(-1, *z.shape[-2:]).mT
        for k in reversed(range(self.flows)):
            layer = _layer(k, type(parts.basis), *parts[:-1], *parts.basis)
            gate = _solve(layer, layer.basis.map(columns, k, True)[0])
            update = times(layer.upper, gate) + layer.diagonal1 * gate
            columns = columns - layer.basis.map(update, k, False)[0]
        return columns.mT.reshape(z.shape)

    def _parts(self, z: Tensor, context: Tensor) -> Parts:
        context = context.reshape(-1, *context.shape[-2:])
        shape = (self.flows, self.width)

        def made(network: nn.Module, *width: int) -> Tensor:
            flat = torch.unflatten(events_last(network, context), 1, (*shape, *width))
            return flat.expand(*flat.shape[:-1], z.shape[-2])

        basis = self.basis(context)
        tensors = (t.expand(*t.shape[:-1], z.shape[-2]) for t in basis)
        return Parts(
            made(self.triangles, self.width),
            torch.tanh(made(self.diagonal1)),
            torch.tanh(made(self.diagonal2)),
            made(self.shift),
            type(basis)(*tensors),
        )


class Layer(NamedTuple):
    """One flow of `Parts`: R1 and the transpose of R2 off the diagonal, the diagonals, b and Q."""

    upper: Tensor
    lower: Tensor
    diagonal1: Tensor
    diagonal2: Tensor
    shift: Tensor
    basis: Basis


class _Stack(torch.autograd.Function):
    """All flows of a stack: (P, D, B) mapped vectors and (P, K, M, B) gates tanh(R2 Q^T z + b).

    With the gradient by hand: automatic differentiation takes a dozen passes over the matrices of
    all flows, this works on one flow at a time, whose matrices fit a cache.
    """

    @staticmethod
    def forward(ctx: Any, kind: type[Basis], z: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        gates, ctx.kind, ctx.kept = [], kind, []
        for k in range(tensors[0].shape[1]):
            layer = _layer(k, kind, *tensors)
            y, kept = layer.basis.map(z, k, True)
            gate = times_transposed(layer.lower, y).addcmul_(layer.diagonal2, y)
            gates.append(gate.add_(layer.shift).tanh_())
            update = times(layer.upper, gate).addcmul_(layer.diagonal1, gate)
            lifted, kept_lifted = layer.basis.map(update, k, False)
            ctx.kept.append((y, gate, kept, kept_lifted))
            z = z + lifted
        ctx.save_for_backward(*tensors)
        return z, torch.stack(gates, 1)

    @staticmethod
    def backward(ctx: Any, to_z: Tensor, to_gates: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        tensors = ctx.saved_tensors
        sums = [torch.empty_like(t, memory_format=torch.contiguous_format) for t in tensors]
        for of_basis in sums[4:]:
            of_basis.zero_()
        above, below = _masks(tensors[0])
        for k, (y, gate, kept, kept_lifted) in reversed(list(enumerate(ctx.kept))):
            layer = _layer(k, ctx.kind, *tensors)
            triangle, diagonal1, diagonal2, shift, *bases = (total[:, k] for total in sums)
            to_update = layer.basis.gradient(to_z, kept_lifted, k, False, tuple(bases))
            inner = times_transposed(layer.upper, to_update).addcmul_(layer.diagonal1, to_update)
            inner.add_(to_gates[:, k]).mul_(1 - gate.square())
            to_y = times(layer.lower, inner).addcmul_(layer.diagonal2, inner)
            to_z = to_z + layer.basis.gradient(to_y, kept, k, True, tuple(bases))
            torch.mul(to_update.unsqueeze(-2), gate.unsqueeze(-3), out=triangle)
            triangle.mul_(above).addcmul_(y.unsqueeze(-2) * inner.unsqueeze(-3), below)
            torch.mul(to_update, gate, out=diagonal1)
            torch.mul(inner, y, out=diagonal2)
            shift.copy_(inner)
        return None, to_z, *sums


def _layer(k: int, kind: type[Basis], triangles: Tensor, *rest: Tensor) -> Layer:
    above, below = _masks(triangles)
    diagonal1, diagonal2, shift, *bases = (tensor[:, k] for tensor in rest)
    both = triangles[:, k]
    return Layer(both * above, both * below, diagonal1, diagonal2, shift, kind(*bases))


def _masks(triangles: Tensor) -> tuple[Tensor, Tensor]:
    """(M, M, 1) ones above the diagonal, and below it."""
    above = triangles.new_ones(triangles.shape[2:4]).triu(1)
    return above.unsqueeze(-1), above.mT.contiguous().unsqueeze(-1)


def _solve(layer: Layer, target: Tensor) -> Tensor:
    """Gates tanh(R2 y + b) of the y with y + R1 tanh(R2 y + b) = target, the last one first."""
    upper, lower, diagonal1, diagonal2, shift, _ = layer
    y, gate = torch.zeros_like(target), torch.zeros_like(target)
    for i in reversed(range(target.shape[1])):
        offset = (lower[:, :, i] * y).sum(1) + shift[:, i]
        rest = target[:, i] - (upper[:, i] * gate).sum(1)
        y[:, i] = solve_tanh(diagonal1[:, i], diagonal2[:, i], offset, rest)
        gate[:, i] = torch.tanh(diagonal2[:, i] * y[:, i] + offset)
    return gate
