"""Convolutional flows (Zheng et al., arXiv:1711.02255): z' = z + s h(conv(z, w))."""

from __future__ import annotations

from functools import partial
from math import log

import torch
from torch import Tensor, nn

from scanner.flows.amortised import SOFTPLUS_ONE, safe_log
from scanner.flows.inverse import solve_autoregressive
from scanner.layers import softplus

LEAK = 0.01


class Convolutional(nn.Module):
    """A stack of blocks of dilated convolutions that starts at the identity.

    A block has one layer per dilation 1, 2, 4, ... up to D. Output i of a layer sees inputs i,
    i + d, i + 2 d, ... only, so that its Jacobian is triangular with 1 + s_i h' w_0 on the
    diagonal. Both w_0 = exp(a) > 0 and s_i w_0 = softplus(l_i) - 1 > -1 hold by construction, and
    h is a leaky ReLU: the map is invertible. Every second block runs over the dimensions in
    reverse. Each layer is one product with a (D, D) matrix made from its kernel.

    Args:
        dim: Latent dimension D.
        context: Width of the context, which this flow does not use.
        flows: Number of blocks.
        kernel: Taps of a convolution.
    """

    shifts: Tensor

    def __init__(self, dim: int, context: int, *, flows: int, kernel: int) -> None:
        super().__init__()
        dilations = [2**i for i in range(dim.bit_length())]
        layers, start = flows * len(dilations), kernel**-0.5
        self.log_first = nn.Parameter(torch.full((layers, 1), log(start)))
        self.others = nn.Parameter(torch.empty(layers, kernel - 1).uniform_(-start, start))
        self.bias = nn.Parameter(torch.empty(layers, 1).uniform_(-start, start))
        self.scale = nn.Parameter(torch.full((layers, dim), SOFTPLUS_ONE))
        block = torch.stack([shift_matrices(dim, kernel, dilation) for dilation in dilations])
        self.register_buffer(
            "shifts", torch.cat([block.mT if k % 2 else block for k in range(flows)])
        )

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mapped vectors (B, D) and ln|det| (B,)."""
        slopes = []
        matrices, scale, along = self._layers()
        for k, matrix in enumerate(matrices.unbind(-3)):
            inner = z @ matrix.mT + self.bias[..., k, None, :]
            slopes.append(_slope(inner))
            z = z + scale[..., k, None, :] * slopes[-1] * inner
        return z, safe_log(1 + torch.stack(slopes, -2) * along.unsqueeze(-3)).sum((-2, -1))

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        """Vectors that `forward` maps to z, in D passes per layer."""
        layers = list(zip(*self._layers(), self.log_first.exp(), self.bias, strict=True))
        for layer in reversed(layers):
            z = solve_autoregressive(partial(_undo, z, *layer), z)
        return z

    def _layers(self) -> tuple[Tensor, Tensor, Tensor]:
        """Matrices (L, D, D), s (L, D) and s w_0 (L, D) of all L layers."""
        first, along = self.log_first.exp(), softplus(self.scale) - 1
        taps = torch.cat([first, self.others], -1)
        matrices = (taps.unsqueeze(-1).unsqueeze(-1) * self.shifts).sum(-3)
        return matrices, along / first, along


def shift_matrices(dim: int, kernel: int, dilation: int) -> Tensor:
    """Matrices (kernel, D, D) with ones at (i, i + tap x dilation)."""
    column, row = torch.arange(dim), torch.arange(dim).unsqueeze(-1)
    offsets = dilation * torch.arange(kernel).reshape(-1, 1, 1)
    return (column - row == offsets).to(torch.get_default_dtype())


def _slope(inner: Tensor) -> Tensor:
    """Derivative of the leaky ReLU, exact in every precision."""
    return LEAK + (1 - LEAK) * (inner > 0).to(inner.dtype)


def _undo(
    target: Tensor,
    matrix: Tensor,
    scale: Tensor,
    along: Tensor,
    first: Tensor,
    bias: Tensor,
    z: Tensor,
) -> Tensor:
    """One pass of the inverse of a layer: each output from the inputs that precede it."""
    rest = z @ matrix.mT - first * z + bias
    slope = _slope(first * target + rest)
    return (target - scale * slope * rest) / (1 + slope * along)
