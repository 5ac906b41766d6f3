"""Orthogonal matrices of the Sylvester flows, those of a whole stack at once: (., K, D, M)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scanner.flows.amortised import parameters

LEAST_NORM = 1e-12


class QRBasis(nn.Module):
    """M orthonormal vectors in D dimensions, by a QR factorisation of a free matrix."""

    def __init__(self, dim: int, context: int, flows: int, vectors: int, amortised: bool) -> None:
        super().__init__()
        self.shape = (flows, dim, vectors)
        self.seed = parameters(context, flows * dim * vectors, amortised=amortised)

    def forward(self, context: Tensor) -> Tensor:
        """Matrices with orthonormal columns, (., K, D, M)."""
        return orthonormal(self.seed(context).reshape(-1, *self.shape))


class HouseholderBasis(nn.Module):
    """Products of H Householder reflections in D dimensions."""

    def __init__(
        self, dim: int, context: int, flows: int, reflections: int, amortised: bool
    ) -> None:
        super().__init__()
        self.shape = (flows, dim, reflections)
        self.vectors = parameters(context, flows * dim * reflections, amortised=amortised)

    def forward(self, context: Tensor) -> Tensor:
        """Orthogonal matrices, (., K, D, D)."""
        return reflections(self.vectors(context).reshape(-1, *self.shape))


def orthonormal(seed: Tensor) -> Tensor:
    """Q of the QR factorisation (..., D, M) in which R has a positive diagonal.

    This Q is the Gram-Schmidt basis: unique, and a smooth function of the seed.
    """
    q, r = torch.linalg.qr(seed)
    negative = r.diagonal(dim1=-2, dim2=-1) < 0
    return torch.where(negative.unsqueeze(-2), -q, q)


def reflections(vectors: Tensor) -> Tensor:
    """Product H_1 ... H_M of the reflections at the columns v of a matrix V (..., D, M).

    In compact form it is I - V S^-1 V^T with S the strict upper triangle of V^T V plus half its
    diagonal (Joffrain et al., doi:10.1145/1141885.1141886). A column of zeros reflects nothing.
    """
    gram = vectors.mT @ vectors
    half = gram.diagonal(dim1=-2, dim2=-1).clamp(min=LEAST_NORM) / 2
    solved: Tensor = torch.linalg.solve_triangular(
        torch.triu(gram, 1) + torch.diag_embed(half), vectors.mT, upper=True
    )
    identity = torch.eye(vectors.shape[-2], dtype=vectors.dtype, device=vectors.device)
    return identity - vectors @ solved
