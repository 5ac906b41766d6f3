"""Orthonormal columns of many small matrices at once.

The QR factorisation of torch takes the matrices one by one on a GPU, 25 us each. Here every step
works on one column of all of them, and the flows and events stand innermost in one dimension N.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LEAST_LENGTH = 1e-15  # its square is still a normal number in float32


def orthonormal(seed: Tensor) -> Tensor:
    """Q of the QR factorisation of (P, K, D, M, B) in which R has a positive diagonal.

    This Q is the Gram-Schmidt basis: unique, and a smooth function of the seed. Householder
    reflections make it (Golub and Van Loan, Matrix Computations, 5.2), which keep its columns
    orthonormal to rounding whatever the seed is.
    """
    inner = seed.movedim(1, 3)
    q: Tensor = _Orthonormal.apply(inner.flatten(3))  # type: ignore[no-untyped-call]
    return torch.unflatten(q, 3, inner.shape[3:]).movedim(3, 1)


class _Orthonormal(torch.autograd.Function):
    """Q of matrices (P, D, M, N); a column in the span of those before it has no gradient."""

    @staticmethod
    def forward(ctx: Any, seed: Tensor) -> Tensor:  # noqa: ANN401
        work, lengths = seed.clone(memory_format=torch.contiguous_format), []
        reflections = [work[:, j:, j] for j in range(work.shape[2])]
        for j, column in enumerate(reflections):
            lengths.append(_to_reflection(column))
            _reflect(work[:, j:, j + 1 :], column)
        diagonal = work.diagonal(0, 1, 2)
        signs = -torch.copysign(torch.ones_like(diagonal), diagonal)
        q = torch.zeros_like(work)
        q.diagonal(0, 1, 2).copy_(signs)
        for j, reflection in reversed(list(enumerate(reflections))):
            _reflect(q[:, j:, j:], reflection)
        q /= q.square().sum(1, keepdim=True).sqrt_()  # the rounding of M reflections adds up
        above = work[:, : work.shape[2]] * signs.movedim(-1, 1).unsqueeze(2)
        ctx.save_for_backward(q, above, torch.stack(lengths, 1))
        return q

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:  # noqa: ANN401
        q, above, lengths = ctx.saved_tensors
        to_seed = slope.clone()
        rates = lengths.reciprocal().masked_fill_(lengths < LEAST_LENGTH, 0)
        for j in range(q.shape[2]):
            own = q[:, :, j : j + 1]
            overlap = (own * slope[:, :, j:]).sum(1, keepdim=True)
            to_seed[:, :, j] -= (q[:, :, j:] * overlap).sum(2)
            to_seed[:, :, j + 1 :].addcmul_(own, overlap[:, :, 1:], value=-1)
        for j in reversed(range(q.shape[2])):
            later = slice(j + 1, None)
            rest = (to_seed[:, :, later] * above[:, j : j + 1, later]).sum(2)
            to_seed[:, :, j].sub_(rest).mul_(rates[:, j : j + 1])
        return to_seed


def _to_reflection(column: Tensor) -> Tensor:
    """Turn x (P, D, N) in place into w, where 1 - w w^T maps x onto the first axis.

    w has the length sqrt 2, or is 0 for an x of zeros.

    Returns:
        Lengths (P, N) of x.
    """
    length = column.square().sum(1).sqrt_()
    first = column[:, 0]
    first += torch.copysign(length, first)
    rate = (length * first.abs()).rsqrt_().masked_fill_(length < LEAST_LENGTH, 0)
    column *= rate.unsqueeze(1)
    return length


def _reflect(matrix: Tensor, reflection: Tensor) -> None:
    """Reflect the columns of (P, D, M, N) in place by w (P, D, N)."""
    outer = reflection.unsqueeze(2)
    matrix.addcmul_(outer, (outer * matrix).sum(1, keepdim=True), value=-1)
