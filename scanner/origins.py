"""Where the numbers of a report come from: sources, digests, commits, versions, hosts, commands."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from scanner import store
from scanner.collected import plan_of, provenance
from scanner.datasets.files import sha256
from scanner.latex import document
from scanner.provenance import PACKAGES, commit
from scanner.references import SCAN, SEARCH, bibtex
from scanner.study import Study
from scanner.tables import to_csv
from scanner.trial import Trial

CODE = ("commit", "python", *PACKAGES)  # what may change a number
Counts = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Source:
    """A result folder or a table of a report.

    Attributes:
        kind: `scan` or `table`.
        name: Of the scan, or of the file.
        facts: Digests and sizes.
        made: What the trials say of their making: key -> word -> trials; empty for a table.
        words: What `references.bibtex` chooses by.
    """

    kind: str
    name: str
    facts: Mapping[str, str | int]
    made: Counts = field(default_factory=dict)
    words: tuple[str, ...] = ()


def read_sources(paths: Iterable[Path]) -> list[Source]:
    """Every source, with what each of its trials says of its making."""
    return [_scan(path) if path.is_dir() else _table(path) for path in paths]


def files(
    name: str, paths: Sequence[Path], sources: Sequence[Source], cells: pd.DataFrame,
    tables: str,
) -> dict[str, str]:  # fmt: skip
    """The files of a report that say where it comes from, and its LaTeX document.

    Args:
        name: Name of the report.
        paths: Result folders and tables.
        sources: What `read_sources` returned for them.
        cells: The planned cells of the result folders, with their `status`.
        tables: The LaTeX file with every table of the report, without `.tex`.
    """
    words = {word for source in sources for word in source.words}
    found = {
        "provenance.json": record(sources, cells),
        "references.bib": bibtex(words),
        "report.tex": document(name, [tables], "references"),
    }
    rows = commands(paths)
    return found | ({"commands.csv": to_csv(rows)} if len(rows) else {})


def record(sources: Sequence[Source], cells: pd.DataFrame) -> str:
    """The text of `provenance.json`.

    Times are those of the trials; the report has none, so that it is the same again.

    Args:
        sources: What is ranked.
        cells: The planned cells of the result folders, with their `status`.
    """
    count = cells["status"].value_counts() if len(cells) else pd.Series(dtype=int)
    made = {
        "report": {"commit": commit()},
        "cells": {str(word): int(n) for word, n in sorted(count.items())},
        "mixed": mixed(sources),
        "sources": [asdict(source) for source in sources],
    }
    return json.dumps(made, indent=1) + "\n"


def mixed(sources: Iterable[Source]) -> Counts:
    """Where trials were made with different code: commit or package -> word -> trials."""
    made = {name: Counter[str]() for name in CODE}
    for source in sources:
        for name in made:
            made[name].update(source.made.get(name, {}))
    return {name: dict(sorted(count.items())) for name, count in made.items() if len(count) > 1}


def cautions(sources: Iterable[Source]) -> tuple[str, ...]:
    """One sentence for everything that trials of one report do not share."""
    lines = []
    for name, counts in mixed(sources).items():
        found = ", ".join(f"{n} with {word}" for word, n in counts.items())
        kind = "commits of scanner" if name == "commit" else f"versions of {name}"
        lines.append(f"Caution: the trials are of {len(counts)} {kind} ({found}).")
    return tuple(lines)


def commands(paths: Iterable[Path]) -> pd.DataFrame:
    """For every planned cell of the result folders the command that makes it again.

    It trains into a new folder, so that it runs whether or not the trial is done.

    Returns:
        Columns scan, model, channel, seed, score, trial, command; a search runs as a whole.
    """
    parts = [_commands(path) for path in paths if path.is_dir()]
    columns = ["scan", "model", "channel", "seed", "score", "trial", "command"]
    return pd.DataFrame([row for part in parts for row in part], columns=columns)


def _commands(path: Path) -> list[tuple[str, str, str, int, str, str, str]]:
    scan = store.read_scan(path)
    planned = plan_of(scan)
    launch, again = scan.command, f"--results results/{planned.name}-again"
    units: Sequence[Trial | Study] = planned.studies or planned.trials
    found = zip(store.standing(path, planned), units, planned.models, planned.scores, strict=True)
    return [
        (planned.name, f"{model}-{score}", trial.channel, trial.seed, score, trial.id,
         f"{launch} --only {unit.id} {again}")
        for trial, unit, model, scores in found for score in scores
    ]  # fmt: skip


def _scan(path: Path) -> Source:
    scan = store.read_scan(path)
    grid = scan.grid()
    trials = store.standing(path, plan_of(scan))
    done = list(provenance(path, [trial.id for trial in trials]).values())
    times = sorted(words["time"] for words in done if "time" in words)
    keys = sorted({key for words in done for key in words} - {"time"})
    used = (*grid.architecture, *grid.flow)
    return Source(
        "scan", grid.name,
        {"grid": scan.grid_path, "grid_sha256": _digest(scan.grid_text), "dataset": scan.dataset,
         "dataset_digest": scan.dataset_digest, "trials": len(trials), "done": len(done),
         "first": times[0] if times else "", "last": times[-1] if times else ""},
        {key: dict(sorted(Counter(words[key] for words in done if key in words).items()))
         for key in keys},
        (scan.dataset, SCAN, *((SEARCH,) if grid.search else ()),
         *sorted({variant.name for variant in used})),
    )  # fmt: skip


def _table(path: Path) -> Source:
    return Source("table", path.name, {"sha256": sha256(path), "bytes": path.stat().st_size})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
