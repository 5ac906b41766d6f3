"""Which figures a report has, in the order of its page: as many for a large scan as for a small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from scanner.comparison import improvements, total_improvement
from scanner.findings import MEASURES
from scanner.pool import Pool
from scanner.ranking import MERITS, RANKINGS
from scanner.rendering import Drawing
from scanner.trial_figures import Faults, of_trials

MOST_ROWS = 30  # of models, in the figures with a row per model


def planned(
    name: str, pool: Pool, shown: pd.DataFrame, folders: Sequence[Path],
    unread: Faults | None = None,
) -> list[Drawing]:  # fmt: skip
    """The figures of a report, in the order of the page; nothing is drawn yet.

    Args:
        name: Name of the report, for the titles.
        pool: What is ranked.
        shown: Its ranking in the convention that is shown.
        folders: Result folders; single models are drawn of these alone.
        unread: Damaged files and their faults are added here; the figures are without them.
    """
    rows = shown[shown["channel"] == "All"]
    pairs = len(pool.table[["Chan", "Signal"]].drop_duplicates())
    size = f"{name}, {pool.table['Model'].nunique()} models, {pairs} pairs"
    drawings = [*_boxes(pool, rows, size), *_improvements(pool, size)]
    drawings += _heat_maps(pool, rows, size)
    if len(pool.results):
        drawings += [*_seeds(pool, rows, size), *of_trials(pool.results, rows, folders, unread)]
    return drawings


def _boxes(pool: Pool, rows: pd.DataFrame, size: str) -> Iterator[Drawing]:
    from scanner.plots import box_figure

    text = ("The best five by each merit, all by name. Boxes: quartiles and median over the pairs; "
            "whiskers: last value within 1.5 box lengths; circles: beyond. Statistics in linear "
            "space. Number and colour: place by that merit.")  # fmt: skip
    for method, ranking in RANKINGS.items():
        title = f"{ranking.title}: {size}"
        yield Drawing(method, f"{ranking.title}, the models in front", text,
                      partial(box_figure, pool.table, rows, method, title))  # fmt: skip


def _improvements(pool: Pool, size: str) -> Iterator[Drawing]:
    from scanner.plots import improvement_figure, improvement_scatter

    found = improvements(pool.table)
    text = ("Largest eps_S / sqrt(eps_B) over the channels of a signal and the three eps_B. Box: "
            "all models; diamond and words: the highest model, its channel and eps_B. Values below "
            "the axis are not drawn.")  # fmt: skip
    yield Drawing("improvement", "Significance improvement per signal", text,
                  partial(improvement_figure, found, f"Total improvement: {size}"))  # fmt: skip
    totals = total_improvement(pool.table)
    families = _families(pool)
    totals["family"] = [families.get(name, "challenge tables") for name in totals["model"]]
    text = ("One point per model; numbers: the five highest medians. Dashed: median 2, above which "
            "the challenge kept a model. Points at an axis are beyond it.")  # fmt: skip
    yield Drawing("improvement-scatter", "Significance improvement per model", text,
                  partial(improvement_scatter, totals, f"Total improvement: {size}"))  # fmt: skip


def _heat_maps(pool: Pool, rows: pd.DataFrame, size: str) -> Iterator[Drawing]:
    from scanner.plots import heat_map

    first = _leading(rows, MOST_ROWS)
    table = pool.table[pool.table["Model"].isin(first)]
    text = f"The first {len(first)} models by highest mean AUC, from top to bottom."
    gain = table.assign(gain=table[list(MERITS)[1:]].mul([10, 1000**0.5, 100]).max(axis=1))
    for name, column, label, limits, source in (
        ("heat-auc", "AUC", "AUC", (0.0, 1.0), table),
        ("heat-improvement", "gain", "largest eps_S / sqrt(eps_B), up to 10", (0.0, 10.0), gain),
    ):
        wide = source.pivot(index="Model", columns=["Chan", "Signal"], values=column)
        wide = wide.loc[first].sort_index(axis=1)
        yield Drawing(name, f"Every signal: {label}", text,
                      partial(heat_map, wide, label, limits, f"{label}: {size}"))  # fmt: skip


def _seeds(pool: Pool, rows: pd.DataFrame, size: str) -> Iterator[Drawing]:
    from scanner.plots import seed_figure

    done = pool.results[(pool.results["stage"] == "trained") & pool.results["auc"].notna()]
    several = done.groupby("name")["seed"].nunique()
    first = [name for name in _leading(rows, None) if several.get(name, 0) > 1][:MOST_ROWS]
    if not first:
        return
    picked = done[done["name"].isin(first)].rename(columns=MEASURES).astype({"name": str})
    medians = picked.groupby(["name", "seed"])[list(MERITS)].median().loc[first].reset_index()
    text = (f"Median over the pairs of every seed, for the first {len(first)} models by highest "
            "mean AUC that have several seeds.")  # fmt: skip
    medians = medians.rename(columns={"name": "model"})
    yield Drawing("seeds", "Seed spread", text,
                  partial(seed_figure, medians, MERITS, f"Seeds: {size}"))  # fmt: skip


def _leading(rows: pd.DataFrame, most: int | None) -> list[str]:
    """The models by highest mean AUC."""
    order = rows[(rows["method"] == "mean") & (rows["merit"] == "AUC")]
    return list(order["model"].head(len(order) if most is None else most))


def _families(pool: Pool) -> dict[str, str]:
    """Model -> its architecture, for the models of result folders."""
    if pool.results.empty:
        return {}
    rows = pool.results[pool.results["stage"] == "trained"].drop_duplicates("name")
    return dict(zip(rows["name"], rows["architecture"], strict=True))
