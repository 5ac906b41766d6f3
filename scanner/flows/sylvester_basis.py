"""Bases of the Sylvester flows: Q with orthonormal columns, and how it maps vectors.

Shapes are those of `scanner.flows.sylvester`: P networks, K flows, and the B events innermost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scanner.flows.amortised import events_last, parameters
from scanner.flows.orthonormal import orthonormal

LEAST_NORM = 1e-12
Kept = tuple[Tensor, ...]


class Order(NamedTuple):
    """Q = 1 in even flows, and the reversal in odd ones."""

    def map(self, vector: Tensor, k: int, transposed: bool) -> tuple[Tensor, Kept]:
        """Q y (P, D, B) of flow k, or Q^T z (P, M, B), and what its gradient needs."""
        return (vector.flip(-2) if k % 2 else vector), ()

    def gradient(
        self, slope: Tensor, kept: Kept, k: int, transposed: bool, sums: tuple[Tensor, ...]
    ) -> Tensor:
        """Of the vector; that of every tensor of the basis, here none, is added to `sums`."""
        return slope.flip(-2) if k % 2 else slope


class Columns(NamedTuple):
    """Matrices Q of orthonormal columns, (P, K, D, M, B); without K for one flow."""

    q: Tensor

    def map(self, vector: Tensor, k: int, transposed: bool) -> tuple[Tensor, Kept]:
        """As `Order.map`."""
        return (times_transposed if transposed else times)(self.q, vector), (vector,)

    def gradient(
        self, slope: Tensor, kept: Kept, k: int, transposed: bool, sums: tuple[Tensor, ...]
    ) -> Tensor:
        """As `Order.gradient`."""
        (vector,) = kept
        add_outer(sums[0], *((vector, slope) if transposed else (slope, vector)))
        return (times if transposed else times_transposed)(self.q, slope)


class Reflections(NamedTuple):
    """Q = H_1 ... H_H with H_j = 1 - w_j w_j^T, as 1 - sum_j y_j w_j^T.

    Here y_j = H_1 ... H_j-1 w_j. This is the compact form of Bischof and Van Loan (SIAM J. Sci.
    Stat. Comput. 8, 1987): two products with H vectors each, where the reflections one by one are H
    steps. Q is never formed. Shapes (P, K, H, D, B); without K for one flow.

    Attributes:
        vectors: w, of the length sqrt 2; or 0, which reflects nothing.
        products: y.
    """

    vectors: Tensor
    products: Tensor

    def map(self, vector: Tensor, k: int, transposed: bool) -> tuple[Tensor, Kept]:
        """As `Order.map`."""
        left, right = self if transposed else self[::-1]
        along = times(right, vector)
        return vector - times_transposed(left, along), (vector, along)

    def gradient(
        self, slope: Tensor, kept: Kept, k: int, transposed: bool, sums: tuple[Tensor, ...]
    ) -> Tensor:
        """As `Order.gradient`."""
        left, right = self if transposed else self[::-1]
        to_left, to_right = sums if transposed else sums[::-1]
        vector, along = kept
        back = times(left, slope).neg_()
        add_outer(to_left, along.neg(), slope)
        add_outer(to_right, back, vector)
        return slope + times_transposed(right, back)


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
        return Columns(orthonormal(seeds))


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
        reflected = reflecting(vectors.transpose(2, 3))
        products: Tensor = _Products.apply(reflected)  # type: ignore[no-untyped-call]
        return Reflections(reflected, products)


def reflecting(vectors: Tensor) -> Tensor:
    """Vectors (..., D, B) scaled to the length sqrt 2; a vector of zeros stays."""
    squared = vectors.square().sum(-2, keepdim=True).clamp(min=LEAST_NORM)
    return vectors * (squared / 2).rsqrt()


class _Products(torch.autograd.Function):
    """y of w (P, K, H, D, B) in `Reflections`: y_j = w_j - sum_i<j y_i (w_i . w_j)."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:  # noqa: ANN401
        products, overlaps = vectors.clone(), []
        for j in range(1, vectors.shape[2]):
            overlap = (vectors[:, :, :j] * vectors[:, :, j : j + 1]).sum(-2)
            products[:, :, j] -= (products[:, :, :j] * overlap.unsqueeze(-2)).sum(2)
            overlaps.append(overlap)
        ctx.save_for_backward(vectors, products, *overlaps)
        return products

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:  # noqa: ANN401
        vectors, products, *overlaps = ctx.saved_tensors
        to_products, to_vectors = slope.clone(), torch.zeros_like(slope)
        for j in reversed(range(1, vectors.shape[2])):
            own = to_products[:, :, j : j + 1]
            to_overlap = (products[:, :, :j] * own).sum(-2).neg_().unsqueeze(-2)
            to_products[:, :, :j].addcmul_(overlaps[j - 1].unsqueeze(-2), own, value=-1)
            to_vectors[:, :, j] += (to_overlap * vectors[:, :, :j]).sum(2)
            to_vectors[:, :, :j].addcmul_(to_overlap, vectors[:, :, j : j + 1])
        return to_vectors.add_(to_products)


def times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrices (..., M, N, B) times vectors (..., N, B) of each event."""
    return (matrix * vector.unsqueeze(-3)).sum(-2)


def times_transposed(matrix: Tensor, vector: Tensor) -> Tensor:
    """Transposes of matrices (..., M, N, B) times vectors (..., M, B) of each event."""
    return (matrix * vector.unsqueeze(-2)).sum(-3)


def add_outer(matrix: Tensor, left: Tensor, right: Tensor) -> None:
    """Add to matrices (..., M, N, B) the outer products of (..., M, B) and (..., N, B)."""
    matrix.addcmul_(left.unsqueeze(-2), right.unsqueeze(-3))
