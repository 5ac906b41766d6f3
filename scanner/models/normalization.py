"""Batch norm whose rounding does not depend on how many networks run together."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

MOMENTUM = 0.1
EPSILON = 1e-5


class BatchNorm(nn.Module):
    """`torch.nn.BatchNorm1d` and its kin over all axes but the last (arXiv:1502.03167).

    Under `torch.vmap` the running statistics must be stacked like the inputs; they are updated in
    place. A batch of one row is normalised to zeros.

    Args:
        width: Size of the last axis.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, values: Tensor) -> Tensor:
        """Values normalised by the batch in training, by the running statistics in evaluation."""
        if not self.training:
            scale = self.weight * torch.rsqrt(self.running_var + EPSILON)
            return (values - self.running_mean) * scale + self.bias
        axes = tuple(range(values.dim() - 1))
        mean = values.mean(axes)
        centred = values - mean
        variance = (centred * centred).mean(axes)
        rows = prod(values.shape[:-1])
        self._remember(mean.detach(), variance.detach() * (rows / max(rows - 1, 1)))
        return centred * (self.weight * torch.rsqrt(variance + EPSILON)) + self.bias

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        self.running_mean.mul_(1 - MOMENTUM).add_(mean, alpha=MOMENTUM)
        self.running_var.mul_(1 - MOMENTUM).add_(variance, alpha=MOMENTUM)
