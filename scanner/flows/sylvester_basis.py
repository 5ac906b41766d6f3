"""Bases of the Sylvester flows: Q with orthonormal columns, and how it maps vectors.

Shapes are those of `scanner.flows.sylvester`: P networks, K flows, and the B events innermost.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from scanner.flows.amortised import events_last, parameters

LEAST_NORM = 1e-12
Kept = list[Tensor]
Gradients = tuple[Tensor, tuple[Tensor, ...]]


class Order(NamedTuple):
    """Q = 1 in even flows, and the reversal in odd ones."""

    def map(self, vector: Tensor, k: int, transposed: bool) -> tuple[Tensor, Kept]:
        """Q y (P, D, B) of flow k, or Q^T z (P, M, B), and what its gradient needs."""
        return (vector.flip(-2) if k % 2 else vector), []

    def gradients(self, slope: Tensor, kept: Kept, k: int, transposed: bool) -> Gradients:
        """Of the vector, and of every tensor of the basis: here none."""
        return (slope.flip(-2) if k % 2 else slope), ()


class Columns(NamedTuple):
    """Matrices Q of orthonormal columns, (P, K, D, M, B); without K for one flow."""

    q: Tensor

    def map(self, vector: Tensor, k: int, transposed: bool) -> tuple[Tensor, Kept]:
        """As `Order.map`."""
        return (times_transposed if transposed else times)(self.q, vector), [vector]

    def gradients(self, slope: Tensor, kept: Kept, k: int, transposed: bool) -> Gradients:
        """As `Order.gradients`."""
        (vector,) = kept
        if transposed:
            return times(self.q, slope), (outer(vector, slope),)
        return times_transposed(self.q, slope), (outer(slope, vector),)


class Reflections(NamedTuple):
    """Q = H_1 ... H_H with H = 1 - w w^T, never formed: w (P, K, H, D, B); without K for one flow.

    A vector w has the length sqrt 2, or is 0 and reflects nothing.
    """

    vectors: Tensor

    def map(self, vector: Tensor, k: int, transposed: bool) -> tuple[Tensor, Kept]:
        """As `Order.map`."""
        befores, along = [], []
        for reflected in self._order(transposed):
            befores.append(vector)
            along.append((reflected * vector).sum(-2, keepdim=True))
            vector = torch.addcmul(vector, reflected, along[-1], value=-1)
        return vector, [torch.stack(befores, 1), torch.stack(along, 1)]

    def gradients(self, slope: Tensor, kept: Kept, k: int, transposed: bool) -> Gradients:
        """As `Order.gradients`."""
        slopes, along = [], []
        for reflected in reversed(self._order(transposed)):
            slopes.append(slope)
            along.append((reflected * slope).sum(-2, keepdim=True))
            slope = torch.addcmul(slope, reflected, along[-1], value=-1)
        befores, along_before = kept
        total = along_before * torch.stack(slopes[::-1], 1)
        total.addcmul_(torch.stack(along[::-1], 1), befores).neg_()
        return slope, (total if transposed else total.flip(1),)

    def _order(self, transposed: bool) -> tuple[Tensor, ...]:
        """The reflections in the order of their action."""
        return self.vectors.unbind(1) if transposed else self.vectors.unbind(1)[::-1]


Basis = Order | Columns | Reflections


class OrderBasis(nn.Module):
    """The basis of triangular Sylvester flows, which has no parameters."""

    def forward(self, context: Tensor) -> Basis:
        """The basis of all flows, from the context (P, B, q)."""
        return Order()


class QRBasis(nn.Module):
    """M orthonormal vectors in D dimensions, by a QR factorisation of a free matrix."""

    def __init__(self, dim: int, context: int, flows: int, vectors: int, amortised: bool) -> None:
        super().__init__()
        self.shape = (flows, dim, vectors)
        self.seed = parameters(context, flows * dim * vectors, amortised=amortised)

    def forward(self, context: Tensor) -> Basis:
        """The basis of all flows, from the context (P, B, q)."""
        seeds = torch.unflatten(events_last(self.seed, context), 1, self.shape)
        return Columns(orthonormal(seeds.movedim(-1, 1)).movedim(1, -1).contiguous())


class HouseholderBasis(nn.Module):
    """Products of H Householder reflections in D dimensions."""

    def __init__(
        self, dim: int, context: int, flows: int, reflections: int, amortised: bool
    ) -> None:
        super().__init__()
        self.shape = (flows, dim, reflections)
        self.vectors = parameters(context, flows * dim * reflections, amortised=amortised)

    def forward(self, context: Tensor) -> Basis:
        """The basis of all flows, from the context (P, B, q)."""
        vectors = torch.unflatten(events_last(self.vectors, context), 1, self.shape)
        return Reflections(reflecting(vectors.transpose(2, 3)))


def orthonormal(seed: Tensor) -> Tensor:
    """Q of the QR factorisation (..., D, M) in which R has a positive diagonal.

    This Q is the Gram-Schmidt basis: unique, and a smooth function of the seed.
    """
    q, r = torch.linalg.qr(seed)
    negative = r.diagonal(dim1=-2, dim2=-1) < 0
    return torch.where(negative.unsqueeze(-2), -q, q)


def reflecting(vectors: Tensor) -> Tensor:
    """Vectors (..., D, B) scaled to the length sqrt 2; a vector of zeros stays."""
    squared = vectors.square().sum(-2, keepdim=True).clamp(min=LEAST_NORM)
    return vectors * (squared / 2).rsqrt()


def times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrices (..., M, N, B) times vectors (..., N, B) of each event."""
    return (matrix * vector.unsqueeze(-3)).sum(-2)


def times_transposed(matrix: Tensor, vector: Tensor) -> Tensor:
    """Transposes of matrices (..., M, N, B) times vectors (..., M, B) of each event."""
    return (matrix * vector.unsqueeze(-2)).sum(-3)


def outer(left: Tensor, right: Tensor) -> Tensor:
    """Outer products (..., M, N, B) of vectors (..., M, B) and (..., N, B) of each event."""
    return left.unsqueeze(-2) * right.unsqueeze(-3)
