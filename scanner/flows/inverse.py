"""Numerical inverses, needed to check a flow: training and scoring only go forward."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BISECTIONS = 60


def solve_tanh(scale: Tensor, slope: Tensor, shift: Tensor, target: Tensor) -> Tensor:
    """The x with x + scale tanh(slope x + shift) = target, by bisection, element by element.

    There is one, for scale times slope is above -1.
    """
    low, high = target - scale.abs(), target + scale.abs()
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = middle + scale * torch.tanh(slope * middle + shift) < target
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def solve_autoregressive(undo: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """Fixed point of `undo`, whose output i needs inputs below i only: exact after D passes."""
    z = target
    for _ in range(target.shape[-1]):
        z = undo(z)
    return z
