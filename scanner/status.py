"""What a scan has done, what is left, what failed and what to type next; reads files only."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from scanner import store
from scanner.grid import Grid
from scanner.launch import RETRIED, load_grid
from scanner.plan import plan

ADVICE = {
    "out_of_memory": "set a smaller `resources: pack` in the grid, then",
    "data": "mend the data, then",
    "storage": "make room or repair the folder, then",
    "preempted": "",
    "bug": "read the traceback in failures/; once mended,",
}


@dataclass(frozen=True)
class Status:
    """Counts of a scan.

    Attributes:
        results: The result folder.
        grid_path: Where the grid was read from.
        planned: Trials of the grid.
        done: Trials with a result, diverged ones included.
        diverged: Trials whose result is that they diverged.
        failed: Failure class -> trial ids.
        wall_s: Median training time of a done trial, None before the first.
    """

    results: Path
    grid_path: str
    planned: int
    done: int
    diverged: int
    failed: dict[str, tuple[str, ...]]
    wall_s: float | None

    @property
    def pending(self) -> int:
        """Trials neither done nor failed."""
        return self.planned - self.done - sum(map(len, self.failed.values()))


def status(target: Path | str) -> Status:
    """The status of a grid file's scan (in `results/<name>`) or of a result folder."""
    target = Path(target)
    grid: Grid
    if target.is_dir():
        scan = store.read_scan(target)
        results, path, grid = target, scan.grid_path, scan.grid()
    else:
        grid = load_grid(target)
        results, path = Path("results") / grid.name, str(target)
    ids = {trial.id for trial in plan(grid).trials}
    finished = sorted(ids & store.done(results))
    failed: dict[str, tuple[str, ...]] = {}
    for key, record in store.failures(results).items():
        if key in ids:
            failed[record["class"]] = (*failed.get(record["class"], ()), key)
    rows = [_first_row(results, key) for key in finished]
    states = Counter(str(row["status"]) for row in rows)
    wall_s = statistics.median(float(row["wall_s"]) for row in rows) if rows else None
    return Status(results, path, len(ids), len(finished), states["diverged"], failed, wall_s)


def describe(state: Status) -> str:
    """A few lines for the terminal, the last of them the next command."""
    lines = [
        f"{state.results}: {state.done} of {state.planned} trials done"
        f" ({state.diverged} diverged), {state.pending} pending"
    ]
    if state.wall_s is not None and state.pending:
        minutes = state.wall_s * state.pending / len(os.sched_getaffinity(0)) / 60
        lines.append(f"  about {minutes:.0f} min left with every CPU of this machine")
    launch = f"scanner launch {state.grid_path}"
    for kind, ids in sorted(state.failed.items()):
        retry = "" if kind in RETRIED else f" --retry {kind}"
        advice = f"{ADVICE.get(kind, '')} run `{launch}{retry}`".strip()
        lines.append(f"  {kind}: {len(ids)} ({', '.join(ids[:3])}{', ...' if ids[3:] else ''})")
        lines.append(f"    {advice}")
    report = f"scanner report {state.results}"
    lines.append(f"next: {report if state.done == state.planned else launch}")
    return "\n".join(lines)


def _first_row(results: Path, key: str) -> dict[str, str | float]:
    table = pq.read_table(results / "trials" / f"{key}.parquet", columns=["status", "wall_s"])
    row: dict[str, str | float] = table.slice(0, 1).to_pylist()[0]
    return row
