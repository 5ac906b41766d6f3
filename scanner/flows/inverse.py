"""Numerical inverses, needed to check a flow: training and scoring only go forward."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BISECTIONS = 80


def bisect(function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Root between `low` and `high` of a function that rises, element by element."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = function(middle) < 0
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def autoregressive_inverse(undo: Callable[[Tensor], Tensor], dim: int, start: Tensor) -> Tensor:
    """Fixed point of a map whose output i needs inputs below i only: exact after `dim` passes."""
    z = start
    for _ in range(dim):
        z = undo(z)
    return z
