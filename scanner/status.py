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
from scanner.launch import load_grid
from scanner.pending import RETRIED, units
from scanner.plan import plan
from scanner.upkeep import damaged as damaged_of

ADVICE = {
    "out_of_memory": "set a smaller `resources: pack` in the grid, then",
    "crashed": "its worker died again and again, for want of memory or by a fault of a library:"
               " see the workers' logs, then",
    "data": "mend the data, then",
    "storage": "make room or repair the folder, then",
    "bug": "read the traceback in failures/; once mended,",
}


@dataclass(frozen=True)
class Status:
    """Counts of a scan.

    Attributes:
        results: The result folder.
        command: The command that goes on with it.
        planned: Trials of the grid; every training of a search is one.
        done: Trials with a result, diverged ones included.
        diverged: Trials whose result is that they diverged.
        pending: Trials neither done nor failed.
        failed: Failure class -> ids of trials, or of searches.
        causes: Failure class -> the exception of the first of them.
        wall_s: Median training time of a done trial, None before the first.
        absent: Channels of the grid that its dataset lacks, and that are therefore left out.
        damaged: What is wrong with results that cannot be read; they count as pending.
    """

    results: Path
    command: str
    planned: int
    done: int
    diverged: int
    pending: int
    failed: dict[str, tuple[str, ...]]
    causes: dict[str, str]
    wall_s: float | None
    absent: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def left(self) -> int:
        """Trials that the next launch would run unasked."""
        return self.pending + sum(len(self.failed.get(kind, ())) for kind in RETRIED)


def status(target: Path | str, results: Path | None = None) -> Status:
    """The status of a result folder, or of a grid file's scan.

    Args:
        target: The folder, or the file.
        results: The folder of the file's scan; `results/<name>` if None.
    """
    target = Path(target)
    grid: Grid
    if target.is_dir():
        scan = store.read_scan(target)
        results, command, grid = target, scan.command, scan.grid()
    else:
        grid = load_grid(target)
        results, command = results or Path("results") / grid.name, f"scanner launch {target}"
    command += store.results_option(results, grid.name)
    planned = plan(grid)
    known = units(planned, results)
    failed = {kind: tuple(unit.id for unit in known if unit.failed == kind)
              for kind in sorted({unit.failed for unit in known} - {""})}  # fmt: skip
    causes = {kind: store.read_failure(results, ids[0])["exception"]
              for kind, ids in failed.items()}  # fmt: skip
    pending = sum(unit.left for unit in known if not unit.failed)
    finished = [key for unit in known for key in unit.done]
    damaged = damaged_of(results, finished)
    pending += len(damaged)
    rows = [_first_row(results, key) for key in finished if key not in damaged]
    states = Counter(str(row["status"]) for row in rows)
    wall_s = statistics.median(float(row["wall_s"]) for row in rows) if rows else None
    counts = planned.n_trials, len(rows), states["diverged"], pending
    faults = tuple(damaged.values())
    return Status(results, command, *counts, failed, causes, wall_s, grid.absent, faults)


def describe(state: Status) -> str:
    """A few lines for the terminal, the last of them the next command."""
    lines = [
        f"{state.results}: {state.done} of {state.planned} trials done"
        f" ({state.diverged} diverged), {state.pending} pending"
    ]
    if state.absent:
        lines.append(f"  left out: channel {', '.join(state.absent)}, not in this dataset")
    lines += [f"  damaged, will be trained again: {why}" for why in state.damaged]
    if state.wall_s is not None and state.pending:
        minutes = state.wall_s * state.pending / len(os.sched_getaffinity(0)) / 60
        lines.append(f"  about {minutes:.0f} min left with every CPU of this machine")
    for kind, ids in sorted(state.failed.items()):
        advice = f"{ADVICE.get(kind, '')} run `{state.command}{_retry(kind)}`".strip()
        lines.append(f"  {kind}: {len(ids)} ({', '.join(ids[:3])}{', ...' if ids[3:] else ''})")
        lines += [f"    {text}" for text in (*state.causes[kind].splitlines()[:1], advice)]
    lines.append(f"next: {_next(state)}")
    return "\n".join(lines)


def _next(state: Status) -> str:
    if state.done == state.planned:
        return f"scanner report {state.results}"
    return state.command + ("" if state.left else "".join(map(_retry, sorted(state.failed))))


def _retry(kind: str) -> str:
    """The option that has failures of this class run again."""
    return "" if kind in RETRIED else f" --retry {kind}"


def _first_row(results: Path, key: str) -> dict[str, str | float]:
    table = pq.read_table(results / "trials" / f"{key}.parquet", columns=["status", "wall_s"])
    row: dict[str, str | float] = table.slice(0, 1).to_pylist()[0]
    return row
