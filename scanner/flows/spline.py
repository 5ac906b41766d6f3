"""Rational-quadratic splines (Durkan et al., arXiv:1906.04032) with linear tails.

The same function as in nflows (checked by a test), without its boolean masks and in-place
operations, so that one call serves a pack of networks.
"""

from __future__ import annotations

from math import expm1, log
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad, softmax

from scanner.layers import softplus

LEAST = 1e-3  # of a bin's share of the width and height, and of a derivative
UNIT = log(expm1(1 - LEAST))  # the parameter at which a knot's derivative is 1


class Bin(NamedTuple):
    """The bin of each element: its corner, size and the derivatives at both ends."""

    left: Tensor
    bottom: Tensor
    width: Tensor
    height: Tensor
    first: Tensor
    last: Tensor


def spline(x: Tensor, parameters: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Monotonic map of [-bound, bound] onto itself; the identity outside.

    Args:
        x: Elements (...).
        parameters: K widths, K heights, K - 1 inner derivatives before normalisation,
            (..., 3 K - 1).
        bound: Where the tails begin.

    Returns:
        The mapped elements and the logarithm of the derivative, both (...).
    """
    inside = x.clamp(-bound, bound)
    found = _locate(inside, parameters, bound, inverse=False)
    theta = (inside - found.left) / found.width
    mapped, log_slope = _rational_quadratic(theta, found)
    is_inside = x.abs() <= bound
    return torch.where(is_inside, mapped, x), torch.where(is_inside, log_slope, 0.0)


def inverse_spline(y: Tensor, parameters: Tensor, bound: float) -> Tensor:
    """Elements that `spline` maps to y."""
    inside = y.clamp(-bound, bound)
    found = _locate(inside, parameters, bound, inverse=True)
    rise, slope = inside - found.bottom, found.height / found.width
    bend = found.first + found.last - 2 * slope
    a = rise * bend + found.height * (slope - found.first)
    b = found.height * found.first - rise * bend
    c = -slope * rise
    theta = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
    return torch.where(y.abs() <= bound, found.left + theta * found.width, y)


def _rational_quadratic(theta: Tensor, found: Bin) -> tuple[Tensor, Tensor]:
    """Value and logarithm of the derivative at the fraction theta of a bin."""
    slope, mixed = found.height / found.width, theta * (1 - theta)
    below = slope + (found.first + found.last - 2 * slope) * mixed
    value = found.bottom + found.height * (slope * theta.square() + found.first * mixed) / below
    above = found.last * theta.square() + 2 * slope * mixed + found.first * (1 - theta).square()
    return value, 2 * (slope / below).log() + above.log()


def _locate(x: Tensor, parameters: Tensor, bound: float, *, inverse: bool) -> Bin:
    """The bin of each element, found among the heights for the inverse, else the widths."""
    bins = (parameters.shape[-1] + 1) // 3
    parts = torch.split(parameters, [bins, bins, bins - 1], -1)
    widths, heights = _sizes(parts[0], bound), _sizes(parts[1], bound)
    ends = (heights if inverse else widths).detach().cumsum(-1)[..., :-1] - bound
    index = (x.unsqueeze(-1) >= ends).sum(-1, keepdim=True)
    before = torch.arange(bins, device=x.device) < index
    derivatives = pad(parts[2], (1, 1), value=UNIT)
    return Bin(
        (widths * before).sum(-1) - bound,
        (heights * before).sum(-1) - bound,
        widths.gather(-1, index).squeeze(-1),
        heights.gather(-1, index).squeeze(-1),
        LEAST + softplus(derivatives.gather(-1, index)).squeeze(-1),
        LEAST + softplus(derivatives.gather(-1, index + 1)).squeeze(-1),
    )


def _sizes(raw: Tensor, bound: float) -> Tensor:
    """Sizes of the bins (..., K): positive, with the sum 2 bound."""
    return 2 * bound * (LEAST + (1 - LEAST * raw.shape[-1]) * softmax(raw, -1))
