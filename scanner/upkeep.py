"""Keep a result folder usable: damage is set aside, what killed writers left is removed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from scanner import store
from scanner.errors import ResultError

TEMPORARY = (".scan.json.*", ".compact.parquet.*", ".lock.*", "*/.*", "stop/*")
UNFINISHED_S = 86_400.0  # no writer that lives takes a day for a file


def damaged(results: Path, trials: Iterable[str]) -> dict[str, str]:
    """Trial id -> what is wrong with its files, for those of these trials that cannot be used.

    The table is read; of the others the size must be that which the table says. One that is not
    there was removed by somebody, which is no damage.
    """
    found = {key: _damage(results, key) for key in trials}
    return {key: why for key, why in found.items() if why}


def set_aside(results: Path, trial: str) -> None:
    """Rename the table of a trial, which then is not done."""
    table = store.table_path(results, trial)
    table.replace(table.with_suffix(".damaged"))


def sweep(results: Path) -> int:
    """Remove temporary files, and markers of stops, that are older than a day; gives their number.

    Their age is taken against `scan.json`, which a launch has just written: by one clock, the file
    system's.
    """
    last_s, removed = (results / "scan.json").stat().st_mtime - UNFINISHED_S, 0
    for path in (path for pattern in TEMPORARY for path in results.glob(pattern)):
        with suppress(FileNotFoundError):  # its writer lives
            if path.stat().st_mtime < last_s:
                path.unlink()
                removed += 1
    return removed


def _damage(results: Path, trial: str) -> str:
    try:
        table = store.read_table(store.table_path(results, trial))
    except ResultError as error:
        return str(error).partition(";")[0]
    wanted = json.loads(table.schema.metadata.get(b"sizes", b"{}"))
    for name, path in store.companions(results, trial).items():
        size = path.stat().st_size
        if size != wanted.get(name, size):
            return f"{path}: has {size} bytes of {wanted[name]}"
    return ""
