"""Convolutions of small tables, channels last, as shifts and one matrix product.

In a pack of networks they are one batched product, whose rounding does not depend on how many
networks share it, as that of a grouped convolution does; and they are no slower.
"""

from __future__ import annotations

from itertools import product
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from scanner.layers import along, dense

Margins = tuple[int, int, int, int]


class Convolution(nn.Module):
    """A convolution (B, H, W, C) to (B, H', W', C') with the weights of `torch.nn.Conv2d`.

    Args:
        before: C, input channels.
        after: C', output channels.
        kernel: Rows and columns of the kernel.
        same: Whether the table keeps its size; an even kernel then has one zero less on the left.
    """

    def __init__(self, before: int, after: int, kernel: tuple[int, int], same: bool) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(before, after, kernel)
        self.margins = same_margins(kernel) if same else (0, 0, 0, 0)

    def forward(self, table: Tensor) -> Tensor:
        """The convolved table."""
        bias = along(cast(Tensor, self.kernel.bias), table)
        return convolve(table, self.kernel.weight, self.margins) + bias


class Deconvolution(nn.Module):
    """The transpose of `Convolution`, with the weights of `torch.nn.ConvTranspose2d`."""

    def __init__(self, before: int, after: int, kernel: tuple[int, int], same: bool) -> None:
        super().__init__()
        self.kernel = nn.ConvTranspose2d(before, after, kernel)
        rows, columns = kernel
        left, right, top, bottom = same_margins(kernel) if same else (0, 0, 0, 0)
        self.margins = columns - 1 - left, columns - 1 - right, rows - 1 - top, rows - 1 - bottom

    def forward(self, table: Tensor) -> Tensor:
        """The table whose convolution has the size of `table`."""
        weight = self.kernel.weight.transpose(-4, -3).flip(-2, -1)
        return convolve(table, weight, self.margins) + along(cast(Tensor, self.kernel.bias), table)


def convolve(table: Tensor, weight: Tensor, margins: Margins) -> Tensor:
    """The sum over the kernel's cells of a shifted table times the cell's matrix.

    Whichever is narrower is shifted: the input, or the product.

    Args:
        table: (B, H, W, C).
        weight: (C', C, rows, columns), as `torch.nn.functional.conv2d` takes it.
        margins: Zeros to add on the left, right, top and bottom.
    """
    after, before, rows, columns = weight.shape[-4:]
    left, right, top, bottom = margins
    shifts = [
        (0, 0, left - j, right - columns + 1 + j, top - i, bottom - rows + 1 + i)
        for i, j in product(range(rows), range(columns))
    ]
    if before <= after:
        windows = torch.stack([_shifted(table, shift) for shift in shifts], dim=-2)
        return dense(windows.flatten(-2), weight.movedim(-3, -1).flatten(-3))
    mapped = dense(table, weight.movedim((-4, -3), (-2, -1)).flatten(-4, -2))
    cells = torch.unflatten(mapped, -1, (rows * columns, after)).unbind(-2)
    total = _shifted(cells[0], shifts[0])
    for cell, shift in zip(cells[1:], shifts[1:], strict=True):
        total = total + _shifted(cell, shift)
    return total


def _shifted(table: Tensor, shift: tuple[int, ...]) -> Tensor:
    """`torch.nn.functional.pad`, without a copy where nothing is added."""
    if max(shift) > 0:
        return pad(table, shift)
    _, _, left, right, top, bottom = shift
    rows, columns = table.shape[-3] + bottom, table.shape[-2] + right
    return table[..., -top:rows, -left:columns, :]


def same_margins(kernel: tuple[int, int]) -> Margins:
    """Zeros on the left, right, top and bottom that keep a table's size."""
    rows, columns = kernel[0] - 1, kernel[1] - 1
    return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2
