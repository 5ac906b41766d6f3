"""Figures of single trials: ROC curves, latent space and training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from scanner.plots.common import (
    DASHES,
    FAINT,
    HUES,
    INK,
    MARKERS,
    ZONE,
    Margins,
    panels,
    power_ticks,
    shortened,
)

ROC_AXIS = (1e-4, 1.0)
MOST_SIGNALS = 16  # panels of one figure of ROC curves
SPREAD = 3.0  # a latent axis reaches this many interquartile ranges from the median


def roc_figure(curves: pd.DataFrame, few: float, title: str) -> Figure:
    """ROC curves of some models, one panel per signal of a channel.

    Line: median over the seeds; band: from the lowest to the highest seed. The zone to the left is
    where fewer than ten background events decide. Both axes are logarithmic from 1e-4 to 1; what is
    below the axis is drawn nowhere.

    Args:
        curves: Columns signal, model, eps_b, median, low, high; at most 16 signals are drawn.
        few: The eps_B below which fewer than ten background events pass.
        title: Text above the panels.
    """
    signals, models = list(dict.fromkeys(curves["signal"])), list(dict.fromkeys(curves["model"]))
    margins = Margins(bottom=0.7 + 0.16 * ((len(models) + 2) // 2), down=0.5, across=0.42)
    figure, made = panels(min(len(signals), MOST_SIGNALS), 4, (2.2, 1.75), title, margins)
    for place, (axes, signal) in enumerate(zip(made, signals, strict=False)):
        axes.set_ylabel(r"$\epsilon_S$" if place % 4 == 0 else "")
        axes.set_xlabel(r"$\epsilon_B$" if place + 4 >= len(made) else "", labelpad=1)
        axes.set_title(shortened(signal, 34), loc="left", pad=3)
        _roc_axes(axes, few)
        for k, model in enumerate(models):
            one = curves[(curves["signal"] == signal) & (curves["model"] == model)]
            _band(axes, one, k)
    _roc_legend(figure, models, few)
    return figure


def latent_figure(tables: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Latent space before and after the flow, one row of panels per model.

    Densities of two dimensions, the background filled and all signals together as a line, then the
    first two principal components of the background with the events of both. The dimensions are the
    two in which the background varies most before the flow: no label chooses them.

    Args:
        tables: Model -> latent vectors as `store.read_scores` reads them: columns process, z0_0 ...
            and zk_0 ...; a model without a flow has no zk.
        title: Text above the panels.
    """
    margins = Margins(top=0.75, down=0.78, across=0.3, bottom=0.7, left=0.2)
    figure, made = panels(6 * len(tables), 6, (1.45, 1.45), title, margins)
    for row, (model, table) in enumerate(tables.items()):
        line = made[6 * row : 6 * row + 6]
        line[0].set_title(shortened(model, 90), loc="left", pad=14, fontsize=8)
        _latent_row(line, table)
    keys = [Line2D([], [], color=ZONE, linewidth=5, label="background"),
            Line2D([], [], color=HUES[1], linewidth=1.2, label="all signals of the channel",
                   marker="^", markersize=3)]  # fmt: skip
    figure.legend(handles=keys, loc="lower center", ncols=2)
    return figure


def training_figure(history: pd.DataFrame, title: str) -> Figure:
    """Loss per background event against the epoch, one panel per channel.

    Full line: validation; faint line: training; the mark is the epoch whose weights were kept. A
    panel is logarithmic where its losses are all above zero.

    Args:
        history: Columns channel, model, seed, epoch, loss, validation_loss, best_epoch.
        title: Text above the panels.
    """
    channels, models = sorted(set(history["channel"])), list(dict.fromkeys(history["model"]))
    margins = Margins(left=0.7, across=0.65, bottom=0.75 + 0.16 * len(models), top=0.65)
    figure, made = panels(len(channels), 4, (2.0, 1.9), title, margins)
    for axes, channel in zip(made, channels, strict=True):
        rows = history[history["channel"] == channel]
        for (model, _), one in rows.groupby(["model", "seed"], sort=False):
            _training_line(axes, one, models.index(str(model)))
        if (rows[["loss", "validation_loss"]].min() > 0).all():
            axes.set_yscale("log")
        axes.set_title(f"channel {channel}", loc="left", pad=3)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(axis="y")
    made[0].set_ylabel("loss per event")
    figure.legend(handles=_model_keys(models), loc="lower center", ncols=1)
    return figure


def _roc_axes(axes: Axes, few: float) -> None:
    axes.set(xscale="log", yscale="log", xlim=ROC_AXIS, ylim=ROC_AXIS)
    for axis in (axes.xaxis, axes.yaxis):
        power_ticks(axis)
    axes.axvspan(ROC_AXIS[0], max(few, ROC_AXIS[0]), color=ZONE, alpha=0.3, linewidth=0)
    axes.plot(ROC_AXIS, ROC_AXIS, color=FAINT, linewidth=0.7)


def _band(axes: Axes, one: pd.DataFrame, number: int) -> None:
    hue = HUES[number % len(HUES)]
    x = one["eps_b"].to_numpy()
    low, high = one["low"].to_numpy(), one["high"].to_numpy()
    if (high > low).any():
        axes.fill_between(x, np.maximum(low, 1e-6), np.maximum(high, 1e-6), color=hue, alpha=0.25,
                          linewidth=0)  # fmt: skip
    seen = np.where(one["median"] > 0, one["median"], np.nan)
    axes.plot(x, seen, color=hue, linestyle=DASHES[number % len(DASHES)], linewidth=1.2)


def _roc_legend(figure: Figure, models: Sequence[str], few: float) -> None:
    keys = [*_model_keys(models),
            Line2D([], [], color=FAINT, linewidth=0.7, label="chance"),
            Line2D([], [], color=ZONE, alpha=0.5, linewidth=5,
                   label=rf"fewer than 10 background events ($\epsilon_B$ < {few:.2g})")]
    figure.legend(handles=keys, loc="lower center", ncols=2)


def _model_keys(models: Sequence[str]) -> list[Line2D]:
    return [Line2D([], [], color=HUES[k % len(HUES)], linestyle=DASHES[k % len(DASHES)],
                   linewidth=1.4, label=shortened(model)) for k, model in enumerate(models)]


def _latent_row(line: Sequence[Axes], table: pd.DataFrame) -> None:
    background = (table["process"] == "background").to_numpy()
    spaces = {"before": _vectors(table, "z0"), "after": _vectors(table, "zk")}
    first = spaces["before"][background].var(axis=0)
    for column, dimension in enumerate(np.argsort(-first, kind="stable")[:2]):
        for step, (word, space) in enumerate(spaces.items()):
            axes = line[2 * column + step]
            _densities(axes, space[:, dimension] if len(space) else space, background)
            axes.set_xlabel(f"dimension {dimension}, {word}", labelpad=2)
            axes.locator_params(axis="x", nbins=4)
    for step, (word, space) in enumerate(spaces.items()):
        _components(line[4 + step], space, background)
        line[4 + step].set_xlabel(f"components 1, 2, {word}", labelpad=2)
        line[4 + step].locator_params(axis="x", nbins=4)


def _vectors(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """(events, dimensions), or (0, 0) where the table has none."""
    columns = [column for column in table if str(column).startswith(f"{name}_")]
    return table[columns].to_numpy(dtype=float) if columns else np.empty((0, 0))


def _densities(axes: Axes, values: NDArray[np.float64], background: NDArray[np.bool_]) -> None:
    axes.set_yticks([])
    if not len(values):
        _no_flow(axes)
        return
    edges = np.linspace(*_range(values[background]), 41).tolist()
    axes.hist(values[background], edges, density=True, histtype="stepfilled", color=ZONE)
    if not background.all():
        axes.hist(values[~background], edges, density=True, histtype="step", color=HUES[1],
                  linewidth=1.2)  # fmt: skip


def _components(axes: Axes, space: NDArray[np.float64], background: NDArray[np.bool_]) -> None:
    """The first two principal components of the background; scatter is pixels inside an SVG."""
    axes.set_yticks([])
    if not len(space):
        _no_flow(axes)
        return
    centre = space[background].mean(axis=0)
    *_, directions = np.linalg.svd(space[background] - centre, full_matrices=False)
    placed = (space - centre) @ directions[:2].T
    for events, hue, marker in ((background, ZONE, "o"), (~background, HUES[1], "^")):
        axes.scatter(placed[events, 0], placed[events, 1], s=3, c=hue, marker=marker, linewidths=0,
                     alpha=0.6, rasterized=True)  # fmt: skip
    axes.set_xlim(*_range(placed[background, 0]))
    axes.set_ylim(*_range(placed[background, 1]))


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    """Where most values are; never empty."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    reach = SPREAD * max(high - low, 1e-6)
    return float(middle - reach), float(middle + reach)


def _no_flow(axes: Axes) -> None:
    axes.set_xticks([])
    axes.text(0.5, 0.5, "no flow", ha="center", va="center", transform=axes.transAxes, color=FAINT)


def _training_line(axes: Axes, one: pd.DataFrame, number: int) -> None:
    hue, dash = HUES[number % len(HUES)], DASHES[number % len(DASHES)]
    axes.plot(one["epoch"], one["loss"], color=hue, linewidth=0.8, alpha=0.4)
    axes.plot(one["epoch"], one["validation_loss"], color=hue, linestyle=dash, linewidth=1.2)
    kept = one[one["epoch"] == one["best_epoch"]]
    axes.plot(kept["epoch"], kept["validation_loss"], MARKERS[number % len(MARKERS)], color=hue,
              markeredgecolor=INK, markeredgewidth=0.5, markersize=4)  # fmt: skip
