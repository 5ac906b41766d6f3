"""The order of the dimensions in a stack of flows."""

from __future__ import annotations

from torch import Tensor


def alternate(z: Tensor, k: int) -> Tensor:
    """The vector as flow k sees it, and back again: every second flow sees it in reverse."""
    return z.flip(-1) if k % 2 else z
