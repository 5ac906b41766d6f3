"""Planar flows (Rezende and Mohamed, arXiv:1505.05770): z' = z + u tanh(w.z + b)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scanner.flows.amortised import SOFTPLUS_ONE, parameters, safe_log
from scanner.flows.inverse import solve_tanh
from scanner.layers import softplus

LEAST_NORM = 1e-12


class Planar(nn.Module):
    """A stack of planar flows that starts near the identity.

    The map is invertible if u.w > -1, so the component of u along w is moved from x = u.w to
    m(x) = softplus(x + c) - 1. Unlike the paper's m (c = 0), m(0) = 0 with c = softplus^-1(1):
    u = 0 is the identity and w = 0 is harmless.

    Args:
        dim: Latent dimension D.
        context: Width of the context.
        flows: Length K of the stack.
        amortised: Whether u (K D), w (K D) and b (K) are made from the context.
    """

    def __init__(self, dim: int, context: int, *, flows: int, amortised: bool) -> None:
        super().__init__()
        self.shape = (flows, dim)
        self.u = parameters(context, flows * dim, amortised=amortised, near_zero=True)
        self.w = parameters(context, flows * dim, amortised=amortised)
        self.b = parameters(context, flows, amortised=amortised)

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mapped vectors (B, D) and ln|det| (B,)."""
        u, w, b, along = self._constrained(context)
        gates = []
        for u_k, w_k, b_k in zip(u.unbind(-2), w.unbind(-2), b.unbind(-1), strict=True):
            gates.append(torch.tanh((w_k * z).sum(-1) + b_k))
            z = z + u_k * gates[-1].unsqueeze(-1)
        squared = torch.stack(gates, -1).square()
        return z, safe_log(squared + along * (1 - squared)).sum(-1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        """Vectors that `forward` maps to z, by bisection of w.z."""
        u, w, b, along = self._constrained(context)
        for k in reversed(range(self.shape[0])):
            target, shift = (w[:, k] * z).sum(-1), b[:, k]
            inner = solve_tanh(along[:, k] - 1, torch.ones_like(shift), shift, target)
            z = z - u[:, k] * torch.tanh(inner + shift).unsqueeze(-1)
        return z

    def _constrained(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Constrained u and w, each (., K, D), then b and 1 + u.w > 0, each (., K)."""
        u = torch.unflatten(self.u(context), -1, self.shape)
        w = torch.unflatten(self.w(context), -1, self.shape)
        x = (u * w).sum(-1)
        along = softplus(x + SOFTPLUS_ONE)
        norm = w.square().sum(-1).clamp(min=LEAST_NORM)
        u = u + ((along - 1 - x) / norm).unsqueeze(-1) * w
        return u, w, self.b(context), along
