"""Figures of what a channel holds: its background, stacked, and every signal over it.

Figures are made without pyplot: no window, no global state, any backend. Nothing is saved here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

# The background is grey, so that colour is left for the signals: four of Okabe and Ito that differ
# for every kind of colour vision, and in grey by their dashes.
GREYS = ("#949494", "#ababab", "#c0c0c0", "#d3d3d3", "#e4e4e4", "#f4f4f4")
LINES = (("#000000", "-"), ("#0072b2", (0, (6, 1.5))), ("#d55e00", (0, (1.2, 1))),
         ("#009e73", (0, (5, 1.5, 1, 1.5))))  # fmt: skip
BINS = 24
WIDTH_INCHES, ROW_INCHES = 10.0, 2.2
LEGEND_WIDTH = 0.27  # of all panels together


@dataclass(frozen=True)
class Quantity:
    """One quantity of a channel's events.

    Attributes:
        title: What the axis says, with the unit.
        background: Value of every background event (N,); None where there is no background.
        groups: Index of each background event's group (N,), in the order of the legend.
        signals: Signal's name -> values of its events.
        whole: Whether the values are numbers of objects.
    """

    title: str
    background: NDArray[np.float32] | None
    groups: NDArray[np.int64]
    signals: Mapping[str, NDArray[np.float32]]
    whole: bool = False


def histogram(quantity: Quantity, group_names: list[str]) -> pd.DataFrame:
    """The binned quantity.

    Args:
        quantity: The values.
        group_names: Names of the background's groups.

    Returns:
        Columns `low`, `high` (edges of a bin; the last one holds everything above it too), and a
        column per group, then per signal: fraction of the background's, or the signal's, events.
    """
    edges = bin_edges(quantity)
    table = pd.DataFrame({"low": edges[:-1], "high": edges[1:]})
    if quantity.background is not None:
        for number, name in enumerate(group_names):
            values = quantity.background[quantity.groups == number]
            table[name] = _fractions(values, edges, len(quantity.background))
    for name, values in quantity.signals.items():
        table[name] = _fractions(values, edges, len(values))
    return table


def bin_edges(quantity: Quantity) -> NDArray[np.float64]:
    """Edges of the bins: one per number of objects, or `BINS` up to where 99.5 % of each lie."""
    given = [] if quantity.background is None else [quantity.background]
    arrays = [*given, *quantity.signals.values()]
    if quantity.whole:
        most = max(int(values.max()) for values in arrays)
        return np.arange(most + 2, dtype=float) - 0.5
    low = min(float(values.min()) for values in arrays)
    high = max(float(np.quantile(values, 0.995)) for values in arrays)
    width = max(high - low, 1e-3 * (abs(low) + 1)) / BINS
    edges: NDArray[np.float64] = np.float64(low) + width * np.arange(BINS + 1)
    return edges


def spectra(title: str, tables: Mapping[str, pd.DataFrame], groups: list[str]) -> Figure:
    """One column per quantity and one row for every four signals, over the stacked background.

    Args:
        title: Text above the panels.
        tables: Axis label -> what `histogram` returned.
        groups: The columns that are groups of the background, the largest first.
    """
    first = next(iter(tables.values()))
    signals = [str(name) for name in first if name not in (*groups, "low", "high")]
    chunks = [signals[k : k + len(LINES)] for k in range(0, max(len(signals), 1), len(LINES))]
    size = WIDTH_INCHES, ROW_INCHES * len(chunks) + 0.3
    with mpl.rc_context({"font.size": 8, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(title, fontsize=10)
        widths = [*[1.0] * len(tables), LEGEND_WIDTH * len(tables)]
        rows = figure.subplots(len(chunks), len(widths), squeeze=False, width_ratios=widths)
        for (*panels, rest), chunk in zip(rows, chunks, strict=True):
            for axes, (label, table) in zip(panels, tables.items(), strict=True):
                _panel(axes, table, groups, chunk)
                axes.set_xlabel(label)
            panels[0].set_ylabel("fraction of events")
            drawn = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))
            names = [*groups, *chunk]
            rest.legend([drawn[name] for name in names], names, loc="center left", frameon=False,
                        fontsize=7, handlelength=3, borderaxespad=0)  # fmt: skip
            rest.set_axis_off()
    return figure


def _panel(axes: Axes, table: pd.DataFrame, groups: list[str], signals: list[str]) -> None:
    edges = np.append(table["low"], table["high"].iloc[-1])
    base = np.zeros(len(table))
    for name, grey in reversed(list(zip(groups, GREYS, strict=False))):
        top = base + table[name].to_numpy()
        axes.stairs(top, edges, baseline=base, fill=True, facecolor=grey, edgecolor="#444444",
                    linewidth=0.4, label=name)  # fmt: skip
        base = top
    for name, (colour, dashes) in zip(signals, LINES, strict=False):
        values = table[name].where(table[name] > 0)  # no line where there is no event
        axes.stairs(values, edges, baseline=None, label=name, linewidth=1.4, color=colour,
                    linestyle=dashes)  # fmt: skip
    filled = table.drop(columns=["low", "high"]).to_numpy()
    axes.set_yscale("log")
    axes.set_ylim(max(filled[filled > 0].min(), 1e-5) / 2, 2.0)
    axes.set_xlim(edges[0], edges[-1])
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.spines[["top", "right"]].set_visible(False)


def _fractions(values: NDArray[np.float32], edges: NDArray[np.float64], events: int
               ) -> NDArray[np.float64]:
    """Events per bin over the number of events; those above the last edge are in the last bin."""
    counts, _ = np.histogram(np.minimum(values, edges[-1]), edges)
    return counts / events
