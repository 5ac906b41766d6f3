"""What all figures share: colours, the style around them, and panels of a given size.

Dark to light orders a palette wherever order matters, and lines differ in dash as well as in
colour, so that figures hold in grey print and for every kind of colour vision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import NullLocator

from scanner.errors import ResultError

# A page replaces these three by the colours of its reader's theme, and nothing else may have them.
INK, PAPER, LINE = "#1c2430", "#fffffe", "#d5dae1"
FAINT = "#868e9b"  # readable on white and on black
ZONE = "#9aa3ae"
# Okabe and Ito's colours, those that hold on white and on black, by falling darkness.
HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0, ()), (0, (4, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5, 1, 1.5)),
    (0, (2, 1)),
)  # fmt: skip
MARKERS = "osD^vX"
COLOUR_MAP = "cividis"  # lightness rises evenly: the same in grey and for colour-blind readers
LABEL_POINTS = 7.5
BASE: dict[Any, Any] = {
    "font.size": 8.0, "font.family": "DejaVu Sans", "axes.titlesize": 8.0, "axes.labelsize": 8.0,
    "xtick.labelsize": 7.0, "ytick.labelsize": 7.0, "legend.fontsize": 7.0,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK,
    "ytick.color": INK, "axes.facecolor": "none", "figure.facecolor": PAPER,
    "savefig.facecolor": "auto", "axes.linewidth": 0.6, "grid.color": LINE, "grid.linewidth": 0.5,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "axes.axisbelow": True,
    "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
    "svg.fonttype": "none", "pdf.fonttype": 3,
}  # fmt: skip
# What a style for single large plots must not change in panels of two inches.
KEPT = ("size", "width", "pad", "figure.", "savefig.", "color", "legend.", "prop_cycle", "length")


@contextmanager
def drawing(style: str = "") -> Iterator[None]:
    """The settings under which figures are made and rendered; nothing of them stays behind.

    Args:
        style: Name of a style of mplhep, whose fonts, ticks and spines then replace our own; the
            sizes and colours stay.

    Raises:
        ResultError: mplhep is not installed, or has no such style.
    """
    with mpl.rc_context({**BASE, **_look(style)}):
        yield


def _look(style: str) -> dict[Any, Any]:
    """The settings of an mplhep style that fit small panels."""
    if not style:
        return {}
    try:
        mplhep = import_module("mplhep")
    except ImportError:
        text = f"--style {style}: mplhep is not installed; `pip install mplhep`, or leave it out"
        raise ResultError(text) from None
    found = {name: value for name, value in vars(mplhep.style).items()
             if isinstance(value, dict) and any(key in mpl.rcParams for key in value)}  # fmt: skip
    if style not in found:
        text = f"--style {style!r} is not a style of mplhep: expected one of"
        raise ResultError(f"{text} {', '.join(sorted(found))}")
    return {key: value for key, value in found[style].items()
            if key in mpl.rcParams and not any(word in key for word in KEPT)}  # fmt: skip


@dataclass(frozen=True)
class Margins:
    """Room around and between panels, in inches."""

    left: float = 0.55
    right: float = 0.15
    top: float = 0.6
    bottom: float = 0.75
    across: float = 0.3
    down: float = 0.55


def panels(
    count: int, columns: int, size: tuple[float, float], title: str, margins: Margins
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels of one size (width, height in inches), row by row."""
    columns, rows = min(columns, count), math.ceil(count / columns)
    width = margins.left + columns * size[0] + (columns - 1) * margins.across + margins.right
    height = margins.top + rows * size[1] + (rows - 1) * margins.down + margins.bottom
    figure = Figure(figsize=(width, height))
    made = []
    for k in range(count):
        row, column = divmod(k, columns)
        x = margins.left + column * (size[0] + margins.across)
        y = height - margins.top - (row + 1) * size[1] - row * margins.down
        made.append(figure.add_axes((x / width, y / height, size[0] / width, size[1] / height)))
    headline(figure, title)
    return figure, made


def headline(figure: Figure, title: str) -> None:
    """The figure's title, at the upper left."""
    width, height = figure.get_size_inches()
    figure.text(0.1 / width, 1 - 0.1 / height, title, fontsize=9.5, va="top")


def name_inches(names: Iterable[str], points: float = LABEL_POINTS) -> float:
    """Width of the widest name; letters differ in width, so not simply of the longest."""
    font = FontProperties(size=points)
    longest = sorted(names, key=len)[-3:] or [""]
    widths = [TextPath((0, 0), name, prop=font).get_extents().width for name in longest if name]
    return float(max(widths, default=0.0)) / 72


def shortened(name: str, most: int = 72) -> str:
    """A name with its middle left out where it is longer than `most` characters."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def power_ticks(axis: Axis) -> None:
    """Ticks from 1e-4 to 1, as letters: mathematics is typeset again at every drawing."""
    axis.set_ticks([1e-4, 1e-3, 1e-2, 1e-1, 1], ["10⁻⁴", "10⁻³", "10⁻²", "0.1", "1"])
    axis.set_minor_locator(NullLocator())


def exponent_label(word: str) -> str:
    """`1e-3` as a power of ten, for an axis."""
    return rf"$\epsilon_S$ at $\epsilon_B = 10^{{{word.removeprefix('1e')}}}$"
