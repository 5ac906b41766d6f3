"""Result files that cannot be read: what is wrong, and the command that makes each again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from scanner import store
from scanner.collected import plan_of


def mending(damaged: Mapping[Path, str]) -> pd.DataFrame:
    """What is wrong with these files of result folders, and what mends it.

    A launch notices a damaged table of a trial by itself. Any other file is made again with its
    trial, when that is not done.

    Args:
        damaged: `<results>/<kind>/<trial or control>.parquet` -> the fault.

    Returns:
        Columns file, fault and command.
    """
    rows = [(str(path), fault.removeprefix(f"{path}: ").partition("; ")[0], _command(path))
            for path, fault in sorted(damaged.items())]  # fmt: skip
    return pd.DataFrame(rows, columns=["file", "fault", "command"])


def _command(path: Path) -> str:
    folder = path.parent.parent
    scan = store.read_scan(folder)
    planned = plan_of(scan)
    launch = f"{scan.command}{store.results_option(folder, planned.name)}"
    if path.parent.name == "trials":
        return launch
    trials = [trial.id for trial in store.standing(folder, planned)
              if path.stem in (trial.id, store.control_name(trial))]  # fmt: skip
    first = [str(folder / "trials" / f"{name}.parquet") for name in trials[:1]]
    return f"rm {' '.join([str(path), *first])} && {launch}"
