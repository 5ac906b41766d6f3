"""Figures of a whole scan: seeds, significance improvement, and every model on every signal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from scanner.plots.common import (
    COLOUR_MAP,
    FAINT,
    HUES,
    INK,
    LABEL_POINTS,
    MARKERS,
    ZONE,
    Margins,
    exponent_label,
    name_inches,
    panels,
    shortened,
)

ROW_INCHES = 0.22
IMPROVEMENT_AXIS = (0.01, 150.0)
LISTED = 5
WORTH = 2.0  # the median total improvement above which the challenge kept a model


def seed_figure(seeds: pd.DataFrame, merits: Sequence[str], title: str) -> Figure:
    """Median over the pairs of every single seed, one row per model, one panel per merit.

    Args:
        seeds: Columns model, seed and the merits; models from top to bottom as they come.
        merits: The merits.
        title: Text above the panels.
    """
    models = list(dict.fromkeys(seeds["model"]))[::-1]
    figure, made = _rows([shortened(name) for name in models], len(merits), 1.8, title)
    for axes, merit in zip(made, merits, strict=True):
        groups = seeds.groupby("model")[merit]
        for row, model in enumerate(models):
            values = groups.get_group(model).to_numpy(dtype=float)
            axes.plot([values.min(), values.max()], [row, row], color=ZONE, linewidth=1)
            axes.plot(values, np.full(len(values), row), "o", color=HUES[0], markersize=3.5,
                      markerfacecolor="none", markeredgewidth=0.9)  # fmt: skip
            axes.plot(np.median(values), row, "|", color=INK, markersize=9, markeredgewidth=1.2)
        axes.set_xlabel("AUC" if merit == "AUC" else exponent_label(merit))
        axes.grid(axis="x")
        axes.margins(x=0.12)
        axes.locator_params(axis="x", nbins=4)
    keys = [Line2D([], [], color=HUES[0], marker="o", markerfacecolor="none", linewidth=0,
                   markersize=3.5, label="one seed"),
            Line2D([], [], color=INK, marker="|", linewidth=0, markersize=9,
                   label="median over the seeds")]  # fmt: skip
    figure.legend(handles=keys, loc="lower center", ncols=2)
    return figure


def improvement_figure(found: pd.DataFrame, title: str) -> Figure:
    """Total improvement per signal: a box over all models, and the model that is highest.

    Args:
        found: What `ranking.improvements` returned.
        title: Text above the panel.
    """
    best = found.sort_values(["improvement", "model"], ascending=[False, True])
    best = best.drop_duplicates("signal").set_index("signal").sort_index(ascending=False)
    texts = [f"{row.improvement:.3g}: {shortened(str(row.model))}, channel {row.channel}, "
             f"{row.eps_b}" for row in best.itertuples()]  # fmt: skip
    figure, (axes,) = _rows(list(best.index), 1, 4.2, title, right=name_inches(texts) + 0.2)
    groups = found.groupby("signal")["improvement"]
    for row, (signal, text) in enumerate(zip(best.index, texts, strict=True)):
        values = groups.get_group(signal).to_numpy(dtype=float)
        _improvement_box(axes, values, row)
        axes.plot(max(values.max(), 1e-9), row, "D", color=HUES[1], markeredgecolor=INK,
                  markeredgewidth=0.5, markersize=4.5)  # fmt: skip
        axes.annotate(text, (1, row), (6, 0), xycoords=("axes fraction", "data"), va="center",
                      textcoords="offset points", fontsize=LABEL_POINTS)  # fmt: skip
    _improvement_axis(axes, "x")
    axes.set_xlabel("largest significance improvement, "
                    r"$\epsilon_S / \sqrt{\epsilon_B}$, over channels and $\epsilon_B$")
    return figure


def improvement_scatter(totals: pd.DataFrame, title: str) -> Figure:
    """Median total improvement against its maximum and its minimum over the signals.

    Points at the edge of an axis are beyond it. The five highest medians carry their number.

    Args:
        totals: Columns model, min, median, max and family, best median first.
        title: Text above the panels.
    """
    first = [f"{k}  {shortened(name)}" for k, name in enumerate(totals["model"][:LISTED], 1)]
    families = list(totals["family"].value_counts().index[: len(HUES)])
    lines = len(first) + (len(families) + 2) // 3
    margins = Margins(left=0.65, across=0.8, bottom=0.85 + 0.16 * lines)
    figure, made = panels(2, 2, (3.6, 2.9), title, margins)
    for axes, column in zip(made, ["max", "min"], strict=True):
        for family, rows in totals.groupby("family"):
            known = family in families
            number = families.index(family) if known else 0
            axes.scatter(_inside(rows["median"]), _inside(rows[column]), s=14, rasterized=True,
                         c=HUES[number] if known else FAINT, marker=MARKERS[number], linewidths=0,
                         alpha=0.75)  # fmt: skip
        for k, row in enumerate(totals.head(LISTED).to_dict("records"), 1):
            at = _inside([row["median"]])[0], _inside([row[column]])[0]
            axes.annotate(str(k), at, (3, 3), textcoords="offset points", fontsize=LABEL_POINTS)
        _improvement_axis(axes, "x")
        _improvement_axis(axes, "y")
        axes.axvline(WORTH, color=FAINT, linewidth=0.8, linestyle="--")
        axes.set_xlabel("median over the signals")
        axes.set_ylabel(f"{column}imum over the signals")
    keys = [Line2D([], [], color=HUES[k], marker=MARKERS[k], linewidth=0, markersize=4, label=name)
            for k, name in enumerate(families)]  # fmt: skip
    height = figure.get_figheight()
    figure.legend(handles=keys, loc="lower left", ncols=3,
                  bbox_to_anchor=(0.05, (0.1 + 0.16 * len(first)) / height))  # fmt: skip
    figure.text(0.07, 0.1 / height, "\n".join(first), fontsize=LABEL_POINTS, va="bottom",
                linespacing=1.35)  # fmt: skip
    return figure


def heat_map(values: pd.DataFrame, label: str, limits: tuple[float, float], title: str) -> Figure:
    """Every model on every signal as colour, light is high; a missing value stays empty.

    Args:
        values: A row per model, a column per (channel, signal).
        label: What the colour is.
        limits: Values of the ends of the colours; beyond them the end's colour.
        title: Text above the panel.
    """
    names = [shortened(str(name)) for name in values.index]
    pairs = [f"{pair[0]} {shortened(str(pair[1]), 34)}" for pair in values.columns]
    left, below = name_inches(names) + 0.2, name_inches(pairs) + 0.25
    size = max(2.4, 0.23 * len(pairs)), ROW_INCHES * len(names)
    margins = Margins(left=left, right=0.85, bottom=below, top=0.5)
    figure, (axes,) = panels(1, 1, size, title, margins)
    drawn = axes.imshow(values.to_numpy(dtype=float), cmap=COLOUR_MAP, aspect="auto",
                        vmin=limits[0], vmax=limits[1], interpolation="nearest")  # fmt: skip
    axes.set_xticks(range(len(pairs)), pairs, rotation=90, fontsize=LABEL_POINTS)
    axes.set_yticks(range(len(names)), names, fontsize=LABEL_POINTS)
    axes.tick_params(length=0)
    width, box = figure.get_figwidth(), axes.get_position()
    bar = figure.add_axes((box.x1 + 0.12 / width, box.y0, 0.13 / width, box.height))
    figure.colorbar(drawn, cax=bar, label=label, extend="neither")
    return figure


def _rows(
    names: list[str], count: int, width: float, title: str, right: float = 0.15
) -> tuple[Figure, list[Axes]]:
    """Panels side by side with one row per name, the first at the bottom."""
    margins = Margins(left=name_inches(names) + 0.2, right=right, top=0.4, across=0.3)
    size = width, ROW_INCHES * (len(names) + 0.4)
    figure, made = panels(count, count, size, title, margins)
    for axes in made:
        axes.set_ylim(-0.7, len(names) - 0.3)
        axes.tick_params(axis="y", length=0, labelleft=axes is made[0])
        axes.set_yticks(range(len(names)), names, fontsize=LABEL_POINTS)
    return figure, made


def _improvement_box(axes: Axes, values: np.ndarray, row: int) -> None:
    """Statistics in linear space, drawn on a logarithmic axis; outliers are left to the best."""
    stats = {key: np.maximum(x, 1e-9) for key, x in boxplot_stats(values)[0].items()
             if x is not None}  # fmt: skip
    line = {"color": INK, "linewidth": 0.8}
    axes.bxp([stats], positions=[row], orientation="horizontal", widths=0.6, patch_artist=True,
             manage_ticks=False, showfliers=False, whiskerprops=line, capprops=line,
             medianprops={"color": "#101418", "linewidth": 1.5},
             boxprops={"facecolor": ZONE, "edgecolor": INK, "linewidth": 0.8})  # fmt: skip


def _improvement_axis(axes: Axes, which: str) -> None:
    scale = axes.set_xscale if which == "x" else axes.set_yscale
    scale("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xlim if which == "x" else axes.set_ylim)(*IMPROVEMENT_AXIS)
    axis.set_ticks([0.01, 0.1, 1, 10, 100], ["0.01", "0.1", "1", "10", "100"])
    axis.set_minor_locator(NullLocator())
    axes.grid(True, axis="x" if which == "x" else "y")


def _inside(values: pd.Series | Sequence[float]) -> np.ndarray:
    low, high = IMPROVEMENT_AXIS
    inside: np.ndarray = np.clip(np.asarray(values, dtype=float), low * 1.05, high / 1.05)
    return inside
