"""Histograms of anomaly scores: new events beside the background test events. Nothing is saved."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from numpy.typing import NDArray

Scores = NDArray[np.floating]
BINS = 50
COLUMNS = 3
PANEL_INCHES = (3.1, 2.4)
ABOVE_INCHES, BELOW_INCHES = 0.4, 0.75
BACKGROUND_FACE, NEW_LINE, CUT_LINE = "#c9ced6", "#1f5fa8", "#222222"


def score_figure(
    background: Mapping[str, Scores], new: Mapping[str, Scores], cuts: Mapping[str, float],
    title: str, cut_label: str,
) -> Figure:  # fmt: skip
    """One panel per score: shares of the events per bin, and the cut.

    The background is filled, new events are a line, the cut is dashed: they differ without colour.
    Both samples have the same bins; shares are of all events of a sample, those that are no finite
    number among them.

    Args:
        background: Score -> values of the background test events.
        new: Score -> values of the new events.
        cuts: Score -> threshold.
        title: Text above the panels.
        cut_label: What the cut is called.
    """
    columns = min(COLUMNS, len(new))
    rows = -(-len(new) // columns)
    width, height = PANEL_INCHES
    with mpl.rc_context({"font.size": 8, "font.family": "DejaVu Sans"}):
        full = (width * columns, height * rows + ABOVE_INCHES + BELOW_INCHES)
        figure = Figure(figsize=full)
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        figure.subplots_adjust(left=0.6 / full[0], right=1 - 0.1 / full[0], wspace=0.3, hspace=0.35,
                               bottom=BELOW_INCHES / full[1], top=1 - ABOVE_INCHES / full[1])
        for axes, name in zip(panels, new, strict=False):
            _panel(axes, name, background[name], new[name], cuts[name], cut_label)
        for axes in panels[len(new):]:
            axes.set_axis_off()
        figure.text(0.1 / full[0], 1 - 0.1 / full[1], title, fontsize=9, va="top")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False)
    return figure


def bin_edges(background: Scores, new: Scores, *, ranks: bool = False) -> Scores:
    """Edges that hold every finite value of both.

    Args:
        background: Values, shape (n,).
        new: Values, shape (m,).
        ranks: Whether the values are ranks, which have even bins; others have them in the logarithm
            where all are above zero.

    Returns:
        `BINS` + 1 rising edges, float64.
    """
    values = np.concatenate([background, new]).astype(np.float64)
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    if low == high:
        low, high = low - max(0.5, abs(low) / 2), high + max(0.5, abs(high) / 2)
    spaced = np.geomspace if low > 0 and not ranks else np.linspace
    edges: Scores = spaced(low, high, BINS + 1)
    edges[0], edges[-1] = low, high  # spacing rounds, and an event at the end must not be lost
    return edges


def _panel(
    axes: Axes, name: str, background: Scores, new: Scores, cut: float, cut_label: str
) -> None:
    ranks = "+" in name
    edges = bin_edges(background, new, ranks=ranks)
    shares = [np.histogram(values[np.isfinite(values)].astype(np.float64), edges)[0] / len(values)
              for values in (background, new)]  # fmt: skip
    axes.stairs(shares[0], edges, fill=True, color=BACKGROUND_FACE, label="background test events")
    axes.stairs(shares[1], edges, color=NEW_LINE, linewidth=1.3, label="new events")
    if np.isfinite(cut):
        axes.axvline(cut, color=CUT_LINE, linewidth=1, linestyle="--", label=cut_label)
    if edges[0] > 0 and not ranks:
        axes.set_xscale("log")
    axes.set_yscale("log")
    axes.minorticks_off()
    if axes.get_xscale() == "log":
        _ticks(axes.xaxis, float(edges[-1] / edges[0]))
    axes.set_xlabel(name)
    axes.set_ylabel("share of events")
    axes.spines[["top", "right"]].set_visible(False)


def _ticks(axis: Axis, ratio: float) -> None:
    """At least two numbers on a logarithmic axis, however few powers of ten it spans."""
    if ratio < 1000:
        axis.set_major_locator(MaxNLocator(4) if ratio < 10 else LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
