"""Convolutions of small tables, channels last, as shifts and one matrix product.

In a pack of networks they are one batched product, whose rounding does not depend on how many
networks share it, as that of a grouped convolution does; and they are no slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from scanner.layers import along, dense

Margins = tuple[int, int, int, int]
Slide = Callable[[Tensor, tuple[int, int], Margins], Tensor]


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
        return convolve(table, self.kernel.weight, cast(Tensor, self.kernel.bias), self.margins)


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
        return convolve(table, weight, cast(Tensor, self.kernel.bias), self.margins)


def convolve(table: Tensor, weight: Tensor, bias: Tensor, margins: Margins) -> Tensor:
    """The sum over the kernel's cells of a shifted table times the cell's matrix, and a bias.

    Whichever is narrower is shifted: the input, or the product. One network alone leaves it to
    `torch.nn.functional.conv2d`, unless a single channel comes in or out, where that is slower.

    Args:
        table: (B, H, W, C).
        weight: (C', C, rows, columns), as `torch.nn.functional.conv2d` takes it.
        bias: (C',).
        margins: Zeros to add on the left, right, top and bottom.
    """
    after, before, rows, columns = weight.shape[-4:]
    kernel = rows, columns
    if weight.dim() == 4 and min(before, after) > 1:
        return conv2d(_framed(table, margins).movedim(-1, -3), weight, bias).movedim(-3, -1)
    if before <= after:
        cells: Tensor = _Linear.apply(table, windows, overlap, kernel, margins)  # type: ignore[no-untyped-call]
        return dense(cells.flatten(-2), weight.movedim(-3, -1).flatten(-3), bias)
    weight = weight.flip(-2, -1).movedim((-4, -3), (-2, -1)).flatten(-4, -2)
    cells = torch.unflatten(dense(table, weight), -1, (rows * columns, after))
    cut = cast(Margins, tuple(size - 1 - n for size, n in zip(
        (columns, columns, rows, rows), margins, strict=True)))  # fmt: skip
    overlapped: Tensor = _Linear.apply(cells, overlap, windows, kernel, cut)  # type: ignore[no-untyped-call]
    return overlapped + along(bias, overlapped)


class _Linear(torch.autograd.Function):
    """A linear map of a table by a kernel's cells, with its transpose as the gradient."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        table: Tensor,
        mapped: Slide,
        transpose: Slide,
        kernel: tuple[int, int],
        margins: Margins,
    ) -> Tensor:
        ctx.transpose, ctx.kernel, ctx.margins = transpose, kernel, margins
        return mapped(table, kernel, margins)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        if not ctx.needs_input_grad[0]:
            return (None,) * 5
        return ctx.transpose(gradient, ctx.kernel, ctx.margins), None, None, None, None


def windows(table: Tensor, kernel: tuple[int, int], margins: Margins) -> Tensor:
    """(B, H', W', cells, C) the cells of the kernel at every place of a table (B, H, W, C).

    Args:
        table: What the kernel slides over.
        kernel: Its rows and columns.
        margins: Zeros to add on the left, right, top and bottom.
    """
    framed = _framed(table, margins)
    rows, columns = (size - k + 1 for size, k in zip(framed.shape[-3:-1], kernel, strict=True))
    return torch.stack(
        [framed[..., i : i + rows, j : j + columns, :] for i, j in _cells(kernel)], dim=-2
    )


def overlap(cells: Tensor, kernel: tuple[int, int], margins: Margins) -> Tensor:
    """The transpose of `windows`: (B, H, W, C) the sum of the windows, each at its place."""
    *batch, rows, columns, _, channels = cells.shape
    shape = rows + kernel[0] - 1, columns + kernel[1] - 1
    framed = cells.new_zeros(*batch, *shape, channels)
    for number, (i, j) in enumerate(_cells(kernel)):
        framed[..., i : i + rows, j : j + columns, :] += cells[..., number, :]
    left, right, top, bottom = margins
    return framed[..., top : shape[0] - bottom, left : shape[1] - right, :].contiguous()


def _framed(table: Tensor, margins: Margins) -> Tensor:
    return pad(table, (0, 0, *margins)) if any(margins) else table


def _cells(kernel: tuple[int, int]) -> Iterator[tuple[int, int]]:
    return product(range(kernel[0]), range(kernel[1]))


def same_margins(kernel: tuple[int, int]) -> Margins:
    """Zeros on the left, right, top and bottom that keep a table's size."""
    rows, columns = kernel[0] - 1, kernel[1] - 1
    return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2
