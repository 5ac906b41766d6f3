"""Box-and-whisker figures of a ranking, as in Figs. 12 to 17 of arXiv:2105.14027."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from scanner.plots.common import (
    FAINT,
    INK,
    LABEL_POINTS,
    PAPER,
    Margins,
    exponent_label,
    name_inches,
    panels,
    power_ticks,
    shortened,
)
from scanner.ranking import MERITS, RANKINGS

# Places 1 to 5, from dark to light: they differ in grey and for every kind of colour vision.
PLACES = ("#3d1f6e", "#1f5fa8", "#2a9d8f", "#f0a02c", "#ffe27a")
OTHER_FACE, OTHER_EDGE = "none", FAINT  # unfilled, so that grey print does not take it for a place
OFF_AXIS = 1e-10  # where a zero goes on a logarithmic axis: left of its edge
EPS_S_AXIS = (1e-4, 1.0)
ON_LIGHT, ON_DARK = "#101418", "#ffffff"  # medians: on a filled box whatever the page's theme
ROW_INCHES, PANEL_INCHES = 0.27, 1.8


def chosen(ranked: pd.DataFrame, method: str, count: int = 5) -> dict[str, dict[str, int]]:
    """The models that a figure shows: merit -> model -> place.

    Per merit these are the best `count`; where the best value is the largest, models with the value
    zero are no choice. Among models that share the last place the names decide, which is arbitrary.

    Args:
        ranked: Rows of `ranking.rank` of one convention and one channel.
        method: Key of `RANKINGS`.
        count: Models per merit.
    """
    rows = ranked[ranked["method"] == method]
    if RANKINGS[method].best == "largest":
        rows = rows[rows["value"] > 0]
    picks = {merit: rows[rows["merit"] == merit].head(count) for merit in MERITS}
    return {merit: dict(zip(part["model"], part["place"], strict=True))
            for merit, part in picks.items()}  # fmt: skip


def box_figure(
    table: pd.DataFrame, ranked: pd.DataFrame, method: str, title: str, count: int = 5
) -> Figure:
    """Distributions over the pairs, for the best models of one method.

    One row per model, by name from bottom to top, and one panel per merit. Boxes are quartiles with
    the median; whiskers reach the last value within 1.5 box lengths; statistics are taken in linear
    space, then drawn on a logarithmic eps_S axis from 1e-4 to 1. Values below that axis are counted
    at its left edge. Colour and number are the place in that merit; grey models are in the figure
    for another merit.

    Args:
        table: The pool in challenge format, only the pairs to draw.
        ranked: Rows of `ranking.rank` of one convention and one channel.
        method: Key of `RANKINGS`.
        title: Text above the panels.
        count: Models per merit.
    """
    picks = chosen(ranked, method, count)
    models = sorted(set().union(*picks.values())) or sorted(set(table["Model"]))[:count]
    table = table[table["Model"].isin(models)]
    names = [shortened(model) for model in models]
    margins = Margins(left=name_inches(names) + 0.2, top=0.4, across=0.35, right=0.35)
    size = PANEL_INCHES, ROW_INCHES * (len(models) + 0.2)
    figure, made = panels(len(MERITS), len(MERITS), size, title, margins)
    for axes, merit in zip(made, MERITS, strict=True):
        axes.set_ylim(-0.6, len(models) - 0.4)
        axes.tick_params(axis="y", length=0, labelleft=axes is made[0])
        _panel(axes, table, merit, models, picks[merit])
        axes.set_yticks(range(len(models)), names, fontsize=LABEL_POINTS)
    _legend(figure, count)
    return figure


def _panel(
    axes: Axes, table: pd.DataFrame, merit: str, models: list[str], places: dict[str, int]
) -> None:
    _axis(axes, merit)
    groups = table.groupby("Model")[merit]
    for row, model in enumerate(models):
        values = groups.get_group(model).to_numpy(dtype=float)
        place = places.get(model)
        _box(axes, values, row, _face(place), INK if place else OTHER_EDGE, merit != "AUC")
        if place:
            _note(axes, str(place), (1, row), 3, 6.5)


def _axis(axes: Axes, merit: str) -> None:
    if merit == "AUC":
        axes.set_xlim(0, 1)
        axes.set_xlabel("AUC")
    else:
        axes.set_xscale("log")
        axes.set_xlim(*EPS_S_AXIS)
        power_ticks(axes.xaxis)
        axes.set_xlabel(exponent_label(merit))
    axes.grid(axis="x")


def _box(
    axes: Axes, values: np.ndarray, row: int, face: str, edge: str, logarithmic: bool
) -> None:
    stats = boxplot_stats(values)[0]
    if logarithmic:
        stats = {key: np.maximum(x, OFF_AXIS) for key, x in stats.items() if x is not None}
        if below := int((values < EPS_S_AXIS[0]).sum()):
            _note(axes, f"◂{below}", (0, row), 2, 6).set_bbox(
                {"facecolor": PAPER, "edgecolor": "none", "pad": 0.6}
            )
    line = {"color": edge, "linewidth": 0.8}
    median = ON_DARK if face in PLACES[:2] else ON_LIGHT if face in PLACES else edge
    axes.bxp(
        [stats], positions=[row], orientation="horizontal", widths=0.62, patch_artist=True,
        manage_ticks=False, whiskerprops=line, capprops=line,
        medianprops={"color": median, "linewidth": 1.6},
        boxprops={"facecolor": face, "edgecolor": edge, "linewidth": 0.8},
        flierprops={"marker": "o", "markersize": 2.6, "markerfacecolor": "none",
                    "markeredgecolor": edge, "markeredgewidth": 0.6},
    )  # fmt: skip


def _note(
    axes: Axes, text: str, at: tuple[float, float], right: float, points: float
) -> Annotation:
    return axes.annotate(
        text, at, (right, 0), va="center", ha="left", fontsize=points, zorder=5,
        xycoords=("axes fraction", "data"), textcoords="offset points",
    )  # fmt: skip


def _face(place: int | None) -> str:
    return PLACES[min(place, len(PLACES)) - 1] if place else OTHER_FACE


def _legend(figure: Figure, count: int) -> None:
    keys = [(f"place {k + 1}", PLACES[k], INK) for k in range(min(count, len(PLACES)))]
    keys += [("chosen by another merit", OTHER_FACE, OTHER_EDGE),
             ("◂n: n values below the axis", "none", "none")]  # fmt: skip
    handles = [mpl.patches.Patch(facecolor=f, edgecolor=e, label=text) for text, f, e in keys]
    figure.legend(handles=handles, loc="lower center", ncols=len(keys), frameon=False,
                  fontsize=7)  # fmt: skip
