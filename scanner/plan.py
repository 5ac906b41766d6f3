"""The plan of a grid: its trials, which of their cells count, and the packs they run in."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scanner.grid import Choice, Grid
from scanner.study import Study, studies
from scanner.trial import Trial, Variant

ORDER = ("channel", "representation", "architecture", "hlf", "flow", "beta", "seed", "score")
SHARED = ORDER.index("beta")  # axes before beta make the pack, as `Trial.pack_key` says
AUTOMATIC_PACK = {"cpu": 16, "cuda": 240}  # on a CPU more gain nothing (reports/benchmarks)
Choices: TypeAlias = list[tuple[Any, ...]]  # the values of every axis, in ORDER


@dataclass(frozen=True)
class Plan:
    """What a grid asks for.

    Attributes:
        name: The scan's folder.
        trials: Every training that has a cell; values in the grid file's order, seeds fastest.
        scores: The scores of each trial that are cells, in the same order.
        packs: The trials in groups that one process trains together.
        n_cells: Cells that are left after the exclude rules.
        excluded: Each rule in words, and the cells that it takes beyond the rules before it.
        counts: Axis, value and cells that are left with it, for every value of every axis.
        absent: Channels of the file that the dataset put in place of the file's lacks.
        studies: The search around each trial, in the same order; empty without a search.
    """

    name: str
    trials: tuple[Trial, ...]
    scores: tuple[tuple[str, ...], ...]
    packs: tuple[tuple[Trial, ...], ...]
    n_cells: int
    excluded: tuple[tuple[str, int], ...]
    counts: tuple[tuple[str, str, int], ...]
    absent: tuple[str, ...] = ()
    studies: tuple[Study, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """Name of the model that every trial, or the best of its search, belongs to."""
        return tuple(unit.model for unit in self.studies or self.trials)

    @property
    def n_trials(self) -> int:
        """Trainings in all, those of the searches among them."""
        return sum(study.trials for study in self.studies) or len(self.trials)

    @property
    def n_excluded(self) -> int:
        """Cells that the exclude rules take out."""
        return sum(cells for _, cells in self.excluded)


def plan(grid: Grid, automatic: int | None = None) -> Plan:
    """Every trial of a grid, with an order and packs that depend on the grid alone.

    Args:
        grid: The checked grid file.
        automatic: Most trials of a pack where the file says `pack: auto`, if not the device's own.
    """
    axes = _axes(grid)
    taker = _taker(grid, axes)
    kept = taker < 0
    points = [tuple(point) for point in np.argwhere(kept.any(axis=-1)).tolist()]
    trials = tuple(_trial(grid, axes, point) for point in points)
    resources = grid.resources
    automatic = automatic or AUTOMATIC_PACK[resources.device]
    size = automatic if resources.pack == "auto" else resources.pack
    return Plan(
        name=grid.name,
        trials=trials,
        scores=tuple(tuple(s for s, left in zip(grid.score, kept[point], strict=True) if left)
                     for point in points),
        packs=_packs(points, trials, int(size)),
        n_cells=int(kept.sum()),
        excluded=tuple((rule.text, int((taker == i).sum())) for i, rule in enumerate(grid.exclude)),
        counts=_counts(kept, axes),
        absent=grid.absent,
        studies=studies(trials, grid.search) if grid.search else (),
    )


def summary(planned: Plan) -> str:
    """The plan as a text table."""
    sizes = [len(pack) for pack in planned.packs]
    jobs = f"{len(sizes)} packs of at most {max(sizes, default=0)} trials"
    if planned.studies:
        most = max(study.trials for study in planned.studies)
        jobs = f"{len(planned.studies)} searches of at most {most} trials"
    lines = [f"scan {planned.name}: {planned.n_trials} trials, {planned.n_cells} cells "
             f"({'search' if planned.studies else 'trial'} x score), {jobs}"]
    rows = [("axis", "value", "cells"), *((a, v, str(n)) for a, v, n in planned.counts)]
    if planned.excluded:
        rows += [("excluded", text, str(cells)) for text, cells in planned.excluded]
        rows += [("excluded", "in all", str(planned.n_excluded))]
    first, second, third = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines += [f"{a:{first}}  {b:{second}}  {c:>{third}}" for a, b, c in rows]
    if planned.absent:
        lines.append(f"left out: channel {', '.join(planned.absent)}, not in this dataset")
    return "\n".join(lines)


def _axes(grid: Grid) -> Choices:
    return [grid.channels if axis == "channel" else getattr(grid, axis) for axis in ORDER]


def _taker(grid: Grid, axes: Choices) -> NDArray[np.int32]:
    """Index of the first rule that takes each cell, -1 where none does; one dimension per axis."""
    taker = np.full([len(axis) for axis in axes], -1, dtype=np.int32)
    for index, rule in enumerate(grid.exclude):
        hit = dict(rule.values)
        block = np.ix_(*[[i for i, choice in enumerate(choices) if choice in hit.get(axis, choices)]
                         for axis, choices in zip(ORDER, axes, strict=True)])
        taker[block] = np.where(taker[block] < 0, index, taker[block])
    return taker


def _trial(grid: Grid, axes: Choices, point: tuple[int, ...]) -> Trial:
    chosen = {axis: choices[i] for axis, choices, i in zip(ORDER, axes, point, strict=False)}
    return Trial(grid.dataset, training=grid.training, split=grid.split, **chosen)


def _packs(points: list[tuple[int, ...]], trials: tuple[Trial, ...],
           size: int) -> tuple[tuple[Trial, ...], ...]:
    """Groups of at most `size` trials with one `pack_key`, as even as they can be."""
    packs: list[tuple[Trial, ...]] = []
    for _, members in groupby(zip(points, trials, strict=True), key=lambda pair: pair[0][:SHARED]):
        group = tuple(trial for _, trial in members)
        parts = -(-len(group) // size)
        ends = [len(group) * i // parts for i in range(parts + 1)]
        packs += [group[a:b] for a, b in pairwise(ends)]
    return tuple(packs)


def _counts(kept: NDArray[np.bool_], axes: Choices) -> tuple[tuple[str, str, int], ...]:
    counts: list[tuple[str, str, int]] = []
    for index, (axis, choices) in enumerate(zip(ORDER, axes, strict=True)):
        cells = kept.sum(axis=tuple(i for i in range(len(ORDER)) if i != index))
        counts += [(axis, _label(choice), int(n)) for choice, n in zip(choices, cells, strict=True)]
    return tuple(counts)


def _label(choice: Choice) -> str:
    if isinstance(choice, Variant):
        return choice.label
    return f"{choice:g}" if isinstance(choice, float) else str(choice).lower()
