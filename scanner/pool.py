"""The pool of a report: result folders and challenge tables, read and brought together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from scanner import store
from scanner.collected import collect, plan_of, stacked_rows
from scanner.errors import ResultError
from scanner.findings import combine_seeds, coverage
from scanner.ranking import (
    CHANNELS,
    COLUMNS,
    check,
    drop_incomplete,
    gaps,
    read_challenge,
    stacking_order,
)
from scanner.study import MARK, search_table

CELL = ["trial", "model", "name", "channel", "seed", "score", "representation", "architecture",
        "hlf", "beta", "flow", "dataset", "loss"]
NAMED = 5


@dataclass(frozen=True)
class Pool:
    """What is ranked, and what is not.

    Attributes:
        table: The ranked models, challenge format, in stacking order.
        results: Rows of `collected.metrics` with the column `name`; empty without result folders.
        cells: Every planned cell with its `status`; empty without result folders.
        left_out: Models that are not ranked: columns model, lacks.
        channels: Channels that may occur.
        notes: What a reader must know about all this, one sentence each.
        searches: What `study.search_table` returned; empty without a search.
        damaged: Result files that cannot be read, and their faults.
    """

    table: pd.DataFrame
    results: pd.DataFrame
    cells: pd.DataFrame
    left_out: pd.DataFrame
    channels: tuple[str, ...]
    notes: tuple[str, ...]
    searches: pd.DataFrame = field(default_factory=pd.DataFrame)
    damaged: Mapping[Path, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Scan:
    label: str
    results: pd.DataFrame
    cells: pd.DataFrame
    absent: tuple[str, ...]
    searches: pd.DataFrame
    failed: int
    damaged: Mapping[Path, str]


def read_pool(sources: Iterable[Path]) -> Pool:
    """Everything that the sources have, seeds combined, incomplete models set aside.

    Only pairs that a result folder has are ranked, so that a scan of one channel can be compared
    with tables of all; without result folders, all pairs of the tables. A model that lacks a pair
    (a trial diverged or is missing) is left out and named. Among tables alone a single missing row
    is an error, as in `ranking.rank`.

    Args:
        sources: Result folders and CSV files in challenge format.

    Raises:
        ResultError: A source cannot be read, or no model is complete.
    """
    folders = [path for path in sources if path.is_dir()]
    scans = [_read_scan(path, label) for path, label in _labels(folders).items()]
    channels = tuple(sorted({*CHANNELS}.union(*(scan.cells["channel"] for scan in scans))))
    stacked = _read_tables([path for path in sources if not path.is_dir()], channels)
    if not scans:
        kept, dropped = drop_incomplete(stacked)
        lacks = {name: [f"channel {channel}" for channel in gone] for name, gone in dropped.items()}
        notes = (*_size(kept), *_absent(lacks, stacked["Model"].nunique()))
        return Pool(kept, pd.DataFrame(), pd.DataFrame(), _left_out(lacks), channels, notes)
    return _with_scans(*_without_collisions(scans, set(stacked["Model"])), stacked, channels)


def _with_scans(
    scans: list[_Scan], renamed: list[str], stacked: pd.DataFrame, channels: tuple[str, ...]
) -> Pool:
    results = stacked_rows([scan.results for scan in scans])
    cells = pd.concat([scan.cells for scan in scans], ignore_index=True)
    shared, cut = _on_pairs_of(results, stacked)
    parts = [combine_seeds(_trained(scan.results)) for scan in scans]
    filled = [part for part in [shared, *parts] if len(part)] or [shared]
    table = pd.concat(filled, ignore_index=True)
    lacks = gaps(table)
    lacks |= {name: ["every pair"] for name in sorted(set(cells["name"]) - set(table["Model"]))}
    ranked = table[~table["Model"].isin(lacks)].reset_index(drop=True)
    if ranked.empty:
        text = f"none of {len(lacks)} models has every pair ({_some(lacks)})"
        raise ResultError(f"{text}; finish the scan with `scanner launch`, then report again")
    searches = pd.concat([scan.searches for scan in scans], ignore_index=True)
    notes = (
        *_size(ranked), *_state(cells, results), *_failed(scans),
        *_absent(lacks, len(set(table["Model"]) | set(lacks))), *_mixture(results),
        *_left_out_channels(scans), *renamed, *cut, *_searched(searches),
    )  # fmt: skip
    damaged = {path: fault for scan in scans for path, fault in scan.damaged.items()}
    return Pool(ranked, results, cells, _left_out(lacks), channels, notes, searches, damaged)


def _read_tables(paths: list[Path], channels: tuple[str, ...]) -> pd.DataFrame:
    """The rows of challenge files in stacking order; every fault is told with its file's name."""
    parts = []
    for path in stacking_order(paths):
        try:
            parts.append(check(read_challenge(path), channels))
        except ResultError as error:
            text = str(error)
            raise ResultError(text if str(path) in text else f"{path}: {text}") from error
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    return check(pd.concat(parts, ignore_index=True), channels)


def _labels(folders: list[Path]) -> dict[Path, str]:
    """The scan's name for every folder; its path where two scans have one name."""
    names = {path: store.read_scan(path).grid().name for path in folders}
    count = Counter(names.values())
    return {path: str(path) if count[name] > 1 else name for path, name in names.items()}


def _read_scan(path: Path, label: str) -> _Scan:
    """Rows and planned cells of a result folder; rows of excluded cells are not among them."""
    scan = store.read_scan(path)
    grid, planned = scan.grid(), plan_of(scan)
    cells = pd.DataFrame(
        [(trial.id, model, f"{model}-{score}", trial.channel, trial.seed, score,
          trial.representation.label, trial.architecture.label, trial.hlf, trial.beta,
          trial.flow.label, trial.dataset, trial.training.loss)
         for trial, model, scores in zip(
             store.standing(path, planned), planned.models, planned.scores, strict=True)
         for score in scores],
        columns=CELL,
    )  # fmt: skip
    found = collect(path, planned)
    rows = found.rows
    rows = rows.assign(scan=pd.Categorical([label]).repeat(len(rows)), name=_named(rows))
    searches = search_table(store.read_studies(path, planned.studies))
    units = {unit.id for unit in planned.studies or planned.trials}
    return _Scan(label, rows, coverage(cells, _trained(rows)), grid.absent, searches,
                 len(units.intersection(store.failures(path))), found.damaged)  # fmt: skip


def _named(rows: pd.DataFrame) -> pd.Categorical:
    """`<model>-<score>` of every row; each is put together once."""
    model, score = rows["model"].cat, rows["score"].cat
    names = [f"{m}-{s}" for m in model.categories for s in score.categories]
    codes = model.codes.to_numpy(np.int64) * len(score.categories) + score.codes.to_numpy()
    used, codes = np.unique(codes, return_inverse=True)
    words = pd.Series([names[code] for code in used], dtype="str").astype("category").cat
    return pd.Categorical.from_codes(words.codes.to_numpy()[codes], words.categories)


def _without_collisions(
    scans: list[_Scan], others: set[str]
) -> tuple[list[_Scan], list[str]]:
    """The scans with `@<scan>` after every model name that another source has too."""
    count = Counter(name for scan in scans for name in set(scan.cells["name"]))
    twice = {name for name, n in count.items() if n > 1 or name in others}
    if not twice:
        return scans, []

    def renamed(frame: pd.DataFrame, label: str) -> pd.DataFrame:
        words = pd.Index(frame["name"].astype("category").cat.categories)
        changed = {name: f"{name}@{label}" for name in words.intersection(sorted(twice))}
        name = frame["name"].astype("category").cat.rename_categories(changed)
        return frame.assign(name=name if frame["name"].dtype == "category" else name.astype("str"))

    out = [replace(scan, results=renamed(scan.results, scan.label),
                   cells=renamed(scan.cells, scan.label)) for scan in scans]  # fmt: skip
    word = "name is" if len(twice) == 1 else "names are"
    return out, [f"{len(twice)} model {word} in two sources: @ and the scan follow the name."]


def _on_pairs_of(
    results: pd.DataFrame, stacked: pd.DataFrame
) -> tuple[pd.DataFrame, list[str]]:
    """The rows of challenge tables whose pair a result folder has, and a word on the others."""
    pairs = pd.MultiIndex.from_frame(results[["channel", "signal"]])
    here = pd.MultiIndex.from_frame(stacked[["Chan", "Signal"]]).isin(pairs)
    if here.all():
        return stacked, []
    text = f"{int((~here).sum())} of {len(stacked)} rows of the challenge tables"
    return stacked[here], [f"{text} are of pairs that no result folder has: not ranked."]


def _trained(results: pd.DataFrame) -> pd.DataFrame:
    return results[results["stage"] == "trained"]


def _left_out(lacks: dict[str, list[str]]) -> pd.DataFrame:
    rows = [(name, "; ".join(pairs)) for name, pairs in lacks.items()]
    return pd.DataFrame(rows, columns=["model", "lacks"])


def _size(table: pd.DataFrame) -> list[str]:
    pairs = table[["Chan", "Signal"]].drop_duplicates()
    counts = pairs["Chan"].value_counts().sort_index()
    words = ", ".join(f"{n} in channel {channel}" for channel, n in counts.items())
    models = table["Model"].nunique()
    return [f"{models} models are ranked on {len(pairs)} (channel, signal) pairs: {words}."]


def _state(cells: pd.DataFrame, results: pd.DataFrame) -> list[str]:
    count = cells["status"].value_counts()
    n = {word: int(count.get(word, 0)) for word in ("done", "diverged", "missing")}
    text = f"{n['done']} of {len(cells)} planned cells are done"
    lines = [f"{text}, {n['diverged']} diverged, {n['missing']} are missing."]
    done = _trained(results).query("status == 'done'")
    seeds = done.groupby(["name", "channel", "signal"])["seed"].nunique()
    if len(seeds) and seeds.max() > 1:
        span = f"{seeds.min()} to {seeds.max()}" if seeds.min() < seeds.max() else str(seeds.max())
        lines.append(f"Seeds are combined by the median, {span} per model and pair.")
    return lines


def _absent(lacks: dict[str, list[str]], models: int) -> list[str]:
    if not lacks:
        return []
    text = f"{len(lacks)} of {models} models lack results and are left out, never counted as zero"
    return [f"{text}: {_some(lacks)}."]


def _mixture(results: pd.DataFrame) -> list[str]:
    names, commits = (sorted(set(results[word])) for word in ("dataset", "commit"))
    lines = []
    if len(names) > 1:
        lines = [f"Caution: the result folders are of different datasets ({', '.join(names)})."]
    if len(commits) > 1:
        text = f"Caution: the results are of {len(commits)} states of the code"
        lines.append(f"{text} ({_some(commits)}).")
    return lines


def _failed(scans: list[_Scan]) -> list[str]:
    failed = sum(scan.failed for scan in scans)
    if not failed:
        return []
    word, stay = ("trial has", "stays") if failed == 1 else ("trials have", "stay")
    return [f"{failed} {word} failed and {stay} missing; `scanner status` says why."]


def _searched(searches: pd.DataFrame) -> list[str]:
    if searches.empty:
        return []
    text = f"Of each search ({MARK}) the training with the lowest background validation loss"
    unfinished = int((~searches["complete"]).sum())
    rest = f" so far; {unfinished} of {len(searches)} searches are unfinished" if unfinished else ""
    return [f"{text} is ranked{rest}."]


def _left_out_channels(scans: list[_Scan]) -> list[str]:
    return [f"Channel {', '.join(scan.absent)} of {scan.label} is left out: its dataset lacks it."
            for scan in scans if scan.absent]  # fmt: skip


def _some(words: Iterable[str]) -> str:
    named = list(words)
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return ", ".join(named[:NAMED]) + more
