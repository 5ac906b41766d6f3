"""The tidy results table of a scan, read from a file per trial, or from a compacted copy of them.

The files of the trials are the truth. `compact.parquet` is a copy of what was read last, with every
file's size and time: only files that are new or changed since are read. It may be deleted at any
time, and a folder that cannot be written is read without it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scanner import store
from scanner.errors import ResultError
from scanner.plan import Plan, plan
from scanner.trial import Trial, from_json

COPY = "compact.parquet"
WORTH_COPYING = 200  # files; fewer are read about as fast as a copy
SCHEMA = store.METRICS.append(pa.field("trial", pa.string()))
TEXT = ("scan", "dataset", "channel", "representation", "architecture", "flow", "model", "commit",
        "host")  # fmt: skip
Labels = dict[str, str | float | int]


@dataclass(frozen=True)
class _File:
    """A trial's file: its size and time, and what it says of its making, as JSON."""

    size: int
    time_ns: int
    made: str = ""

    def same(self, other: _File | None) -> bool:
        return other is not None and (self.size, self.time_ns) == (other.size, other.time_ns)


@dataclass(frozen=True)
class _Rows:
    """Rows of several trials in `SCHEMA`, their files, and what cannot be read of them."""

    table: pa.Table
    files: Mapping[str, _File]
    damaged: Mapping[Path, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Collected:
    """What a result folder holds.

    Attributes:
        rows: The tidy results table: a row per (trial or control, score, stage, signal).
        damaged: File -> why it cannot be read; its rows are missing.
    """

    rows: pd.DataFrame
    damaged: Mapping[Path, str]


def metrics(results: Path, planned: Plan | None = None) -> pd.DataFrame:
    """The rows of `collect`, of a folder without damage.

    Raises:
        ResultError: A file cannot be read, or no trial is done.
    """
    found = collect(results, planned)
    for fault in found.damaged.values():
        raise ResultError(fault)
    return found.rows


def collect(results: Path, planned: Plan | None = None) -> Collected:
    """The tidy results table of a scan, and the files that lack in it because they are damaged.

    Only trials and scores of the grid as last launched are in it: shrinking a grid hides rows. Of
    a search only the best training is in it. Text is categorical, with its values in order, since
    a label is repeated in every row of its trial.

    Args:
        results: A result folder.
        planned: The plan of its grid, where it is at hand.

    Raises:
        ResultError: No trial is done.
    """
    scan = store.read_scan(results)
    planned = plan_of(scan) if planned is None else planned
    standing = store.standing(results, planned)
    rows = _rows(results, [trial.id for trial in standing])
    cells = zip(standing, planned.models, planned.scores, strict=True)
    done = [(trial, model, scores) for trial, model, scores in cells if trial.id in rows.files]
    controls, damaged = _read_all(_controls(results, planned.trials))
    labels = {trial.id: _labels(trial, planned.name, rows.files[trial.id]) | {"model": model}
              for trial, model, _ in done}  # fmt: skip
    damaged = {**rows.damaged, **damaged}
    labels |= {name: _control_labels(table, planned.name) for name, table in controls.items()}
    if not labels:
        why = next(iter(damaged.values()), f"{results}: no trial is done")
        raise ResultError(f"{why}; run `scanner launch {scan.grid_path}`")
    whole = pa.concat_tables([rows.table, *(_named(*item) for item in controls.items())])
    frame = _labelled(whole, labels)
    every = {name: set(frame["score"].cat.categories) for name in controls}
    wanted = every | {trial.id: set(scores) for trial, _, scores in done}
    return Collected(frame[_is_wanted(frame, wanted)].reset_index(drop=True), damaged)


def plan_of(scan: store.Scan) -> Plan:
    """The plan of a scan's grid; a report asks for it more than once."""
    return _plan_of(scan.grid_path, scan.grid_text, scan.dataset, scan.channels)


def provenance(results: Path, trials: Iterable[str]) -> dict[str, dict[str, str]]:
    """What each of these trials says of its making, for those that are done and can be read."""
    there = _stamps(results / "trials", trials)
    known: dict[str, _File] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):  # as in `_read_copy`
        known = _copied_files(pq.read_schema(results / COPY))
    made = {name: known[name].made if file.same(known.get(name))
            else _made(results / "trials" / f"{name}.parquet")
            for name, file in there.items()}  # fmt: skip
    return {name: json.loads(text) for name, text in made.items() if text}


def _made(path: Path) -> str:
    """What a trial says of its making; nothing where its file is damaged."""
    with suppress(ResultError):
        text: bytes = store.read_table(path, ["status"]).schema.metadata[b"provenance"]
        return text.decode()
    return ""


@lru_cache(maxsize=4)
def _plan_of(path: str, text: str, dataset: str, channels: tuple[str, ...]) -> Plan:
    return plan(store.Scan(path, text, dataset, "", {}, channels).grid())


def stacked_rows(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several scans; text stays categorical."""
    kinds = {}
    for name in frames[0].columns[frames[0].dtypes == "category"]:
        words = sorted({word for frame in frames for word in frame[name].cat.categories})
        kinds[name] = pd.CategoricalDtype(pd.Index(words, dtype="str"))
    return pd.concat([frame.astype(kinds) for frame in frames], ignore_index=True)


def _rows(results: Path, trials: Iterable[str]) -> _Rows:
    """The rows of these trials, as many of them as are done."""
    there = _stamps(results / "trials", trials)
    copy = _read_copy(results / COPY)
    kept = {name: copy.files[name] for name, file in there.items()
            if file.same(copy.files.get(name))}  # fmt: skip
    fresh = _read_files(results / "trials", {n: f for n, f in there.items() if n not in kept})
    old = copy.table
    if len(kept) < len(copy.files):
        old = old.filter(pc.is_in(old["trial"], pa.array(list(kept), pa.string())))
    rows = _Rows(pa.concat_tables([old, fresh.table]), {**kept, **fresh.files}, fresh.damaged)
    if len(fresh.files) >= WORTH_COPYING:
        with suppress(ResultError):  # a folder of somebody else is read all the same
            _write_copy(results / COPY, rows)
    return rows


def _stamps(folder: Path, trials: Iterable[str]) -> dict[str, _File]:
    """Size and time of the files of these trials, in the given order."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        stats = {entry.name: entry.stat() for entry in entries if entry.name.endswith(".parquet")}
    names = ((name, f"{name}.parquet") for name in trials)
    return {name: _File(stats[file].st_size, stats[file].st_mtime_ns)
            for name, file in names if file in stats}  # fmt: skip


def _read_files(folder: Path, files: Mapping[str, _File]) -> _Rows:
    """The rows of these files."""
    tables, damaged = _read_all([folder / f"{name}.parquet" for name in files])
    known = {name: replace(files[name], made=table.schema.metadata[b"provenance"].decode())
             for name, table in tables.items()}  # fmt: skip
    named = [_named(*item) for item in tables.items()]
    whole = pa.concat_tables([SCHEMA.empty_table(), *named]).combine_chunks()
    return _Rows(whole, known, damaged)


def _read_all(paths: Sequence[Path]) -> tuple[dict[str, pa.Table], dict[Path, str]]:
    """Stem -> table of the files that can be read, and file -> fault of the others."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = list(zip(paths, pool.map(_read_or_fault, paths), strict=True))
    return ({path.stem: table for path, table in found if isinstance(table, pa.Table)},
            {path: fault for path, fault in found if isinstance(fault, str)})  # fmt: skip


def _read_or_fault(path: Path) -> pa.Table | str:
    try:
        return store.read_table(path)
    except ResultError as error:
        return str(error)


def _named(name: str, table: pa.Table) -> pa.Table:
    column = pa.repeat(pa.scalar(name), table.num_rows)
    return table.replace_schema_metadata(None).append_column(SCHEMA.field("trial"), column)


def _read_copy(path: Path) -> _Rows:
    """What was read last; nothing where there is no copy that can be read."""
    try:
        table = store.read_table(path)
        files = _copied_files(table.schema)
        return _Rows(table.replace_schema_metadata(None).cast(SCHEMA), files)
    except (ResultError, ValueError, KeyError, TypeError):  # absent, damaged, of another version
        return _Rows(SCHEMA.empty_table(), {})


def _copied_files(schema: pa.Schema) -> dict[str, _File]:
    found = json.loads(schema.metadata[b"files"])
    return {name: _File(**file) for name, file in found.items()}


def _write_copy(path: Path, rows: _Rows) -> None:
    files = {name: asdict(file) for name, file in rows.files.items()}
    store.write_rows(path, rows.table.combine_chunks(), {"files": json.dumps(files)})


def _controls(results: Path, trials: Iterable[Trial]) -> list[Path]:
    names = sorted({store.control_name(trial) for trial in trials})
    return [p for name in names if (p := results / "controls" / f"{name}.parquet").exists()]


def _labels(trial: Trial, scan: str, file: _File) -> Labels:
    made = json.loads(file.made)
    return {
        "scan": scan, "dataset": trial.dataset, "channel": trial.channel,
        "representation": trial.representation.label, "architecture": trial.architecture.label,
        "hlf": trial.hlf, "beta": trial.beta, "flow": trial.flow.label, "seed": trial.seed,
        "model": "", "commit": made["commit"], "host": made["host"],
    }  # fmt: skip


def _control_labels(table: pa.Table, scan: str) -> Labels:
    trial = from_json(table.schema.metadata[b"trial"].decode())
    made = table.schema.metadata[b"provenance"].decode()
    common = _labels(trial, scan, _File(0, 0, made))
    return {**common, "model": "control", "architecture": "", "flow": "", "hlf": False,
            "beta": np.nan, "seed": 0}  # fmt: skip


def _labelled(table: pa.Table, labels: Mapping[str, Labels]) -> pd.DataFrame:
    """The rows in the order of the labels, with them."""
    frame: pd.DataFrame = table.to_pandas(strings_to_categorical=True, self_destruct=True)
    place = {name: k for k, name in enumerate(labels)}
    codes = np.array([place[name] for name in frame["trial"].cat.categories])[
        frame["trial"].cat.codes]  # fmt: skip
    if (np.diff(codes) < 0).any():
        order = np.argsort(codes, kind="stable")
        frame, codes = frame.iloc[order].reset_index(drop=True), codes[order]
    for name in frame.columns[frame.dtypes == "category"]:
        frame[name] = frame[name].cat.reorder_categories(sorted(frame[name].cat.categories))
    for name in next(iter(labels.values())):
        values = np.array([row[name] for row in labels.values()])
        frame[name] = _spread(values.tolist(), codes) if name in TEXT else values[codes]
    return frame


def _spread(words: Sequence[str], codes: np.ndarray) -> pd.Series:
    """The word of every code, as categorical text in order."""
    found = pd.Series(words, dtype="str").astype("category")
    return found.take(codes).reset_index(drop=True)


def _is_wanted(frame: pd.DataFrame, wanted: Mapping[str, set[str]]) -> np.ndarray:
    trials, scores = frame["trial"].cat, frame["score"].cat
    known = np.array([[score in wanted[trial] for score in scores.categories]
                      for trial in trials.categories])  # fmt: skip
    return known[trials.codes.to_numpy(), scores.codes.to_numpy()]
