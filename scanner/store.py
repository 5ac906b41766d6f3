"""The result folder: the only writer and the first reader of results.

A file that exists is complete (`atomic.py`). There is no record of what runs: a trial is done when
its table exists.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from scanner import parquet
from scanner.atomic import write_atomic, write_text
from scanner.errors import ResultError
from scanner.grid import Grid, parse
from scanner.plan import Plan
from scanner.study import Record, Study, record
from scanner.trial import Trial

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA_VERSION = "1"
METRICS = pa.schema([
    *((name, pa.string()) for name in ("score", "stage", "signal", "status")),
    *((name, pa.float64()) for name in ("auc", "eps_s_1e-2", "eps_s_1e-3", "eps_s_1e-4")),
    *((name, pa.int64()) for name in ("n_background", "n_signal", "epochs", "best_epoch")),
    ("validation_loss", pa.float64()), ("parameters", pa.int64()), ("wall_s", pa.float64()),
])  # fmt: skip
HISTORY = pa.schema([
    ("epoch", pa.int64()),
    *((name, pa.float64()) for name in ("loss", "kl", "validation_loss", "wall_s")),
])  # fmt: skip
COMPANIONS = {"history": ".parquet", "weights": ".pt", "scores": ".parquet", "latent": ".parquet"}
Metadata = Mapping[str, str]
Row = Mapping[str, str | float | int]


@dataclass(frozen=True)
class Scan:
    """What `scan.json` holds: the grid as it was last launched, and its dataset.

    Attributes:
        grid_path: Where the grid was read from.
        grid_text: Its text.
        dataset: Name of the dataset, which may not be the file's; then its digest.
        provenance: Where it was launched.
        channels: Channels that were launched; empty for those of the text.
    """

    grid_path: str
    grid_text: str
    dataset: str
    dataset_digest: str
    provenance: Mapping[str, str]
    channels: tuple[str, ...] = ()

    def grid(self) -> Grid:
        """The grid, parsed again from its text."""
        known = {self.dataset: self.channels} if self.channels else None
        return parse(self.grid_text, self.grid_path, known, self.dataset)

    @property
    def command(self) -> str:
        """The command that goes on with it, in its usual folder."""
        own = parse(self.grid_text, self.grid_path).dataset
        other = "" if own == self.dataset else f" --dataset {self.dataset}"
        return f"scanner launch {self.grid_path}{other}"


def results_option(results: Path, name: str) -> str:
    """What a command has to add for the folder of a scan of this name, if it is not the usual."""
    usual = (Path("results") / name).absolute()
    return "" if results.absolute() == usual else f" --results {results}"


def write_scan(results: Path, scan: Scan) -> None:
    """Write `scan.json`."""
    made = {
        "schema": SCHEMA_VERSION, "grid_path": scan.grid_path, "grid": scan.grid_text,
        "dataset": scan.dataset, "dataset_digest": scan.dataset_digest, "channels": scan.channels,
        "provenance": dict(scan.provenance),
    }  # fmt: skip
    write_text(results / "scan.json", json.dumps(made, indent=1) + "\n")


def read_scan(results: Path) -> Scan:
    """The scan of a result folder.

    Raises:
        ResultError: If the folder holds no readable `scan.json`.
    """
    path = results / "scan.json"
    try:
        raw = json.loads(path.read_text())
        return Scan(raw["grid_path"], raw["grid"], raw["dataset"], raw["dataset_digest"],
                    raw["provenance"], tuple(raw.get("channels", ())))  # fmt: skip
    except FileNotFoundError:
        text = f"{results}: not a result folder (no scan.json); run `scanner launch GRID` first"
        raise ResultError(text) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        text = f"{path}: unreadable ({error}); run the same `scanner launch` again to rewrite it"
        raise ResultError(text) from error


def write_metrics(
    path: Path, rows: Sequence[Row], metadata: Metadata, *, keep: bool = False
) -> bool:
    """Write a table of metrics with its trial and provenance, as `write_atomic` does."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=METRICS)
    return parquet.write_table(path, _with(table, metadata), keep=keep)


def write_result(results: Path, trial: Trial, rows: Sequence[Row], metadata: Metadata) -> bool:
    """Write a trial's table, its last file, with the sizes of the others; one that is there stays.

    Returns:
        Whether the trial had none.
    """
    sizes = {name: path.stat().st_size for name, path in companions(results, trial.id).items()}
    known = {**metadata, "sizes": json.dumps(sizes)}
    return write_metrics(table_path(results, trial.id), rows, known, keep=True)


def write_rows(path: Path, table: pa.Table, metadata: Metadata) -> None:
    """Write a table with metadata that `read_table` accepts."""
    parquet.write_table(path, _with(table, metadata))


def write_history(results: Path, trial: Trial, rows: Sequence[Row]) -> None:
    """Write the losses per epoch."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=HISTORY)
    parquet.write_table(results / "history" / f"{trial.id}.parquet", table)


def write_weights(
    results: Path, trial: Trial, state: Mapping[str, Tensor], scaler: Mapping[str, Tensor],
    metadata: Metadata,
) -> None:  # fmt: skip
    """Write weights and scaler: what it takes to score new events, readable as plain tensors."""
    import torch

    record = {"state": dict(state), "scaler": dict(scaler), "metadata": dict(metadata)}
    body = io.BytesIO()  # of a full disk torch itself says that it is a RuntimeError
    torch.save(record, body)
    path = results / "weights" / f"{trial.id}.pt"
    write_atomic(path, lambda new: new.write_bytes(body.getbuffer()))


def write_scores(path: Path, columns: Mapping[str, np.ndarray], metadata: Metadata) -> None:
    """Write per-event scores.

    Args:
        path: Where.
        columns: `process` (text), `event` (row in its file), then a column per score or component.
        metadata: Trial and provenance.
    """
    write_rows(path, pa.table(dict(columns)), metadata)


def read_scores(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Per-event scores of one trial or control, or these columns of them."""
    return pd.DataFrame(read_table(path, columns).to_pandas())


def done(results: Path) -> set[str]:
    """Ids of the trials whose table exists."""
    return {path.stem for path in (results / "trials").glob("*.parquet")}


def table_path(results: Path, trial: str) -> Path:
    """Where the table of a trial is."""
    return results / "trials" / f"{trial}.parquet"


def companions(results: Path, trial: str) -> dict[str, Path]:
    """Folder -> file, for the files of a trial that exist beside its table."""
    paths = [results / folder / f"{trial}{end}" for folder, end in COMPANIONS.items()]
    return {path.parent.name: path for path in paths if path.exists()}


def failures(results: Path) -> dict[str, dict[str, str]]:
    """Trial id -> failure record, for the trials that failed and are not done."""
    finished = done(results)
    keys = sorted(path.stem for path in (results / "failures").glob("*.json"))
    return {key: read_failure(results, key) for key in keys if key not in finished}


def read_failure(results: Path, key: str) -> dict[str, str]:
    """The failure record of a trial or search; one that says so where it cannot be read."""
    try:
        found = json.loads((results / "failures" / f"{key}.json").read_text())
        known = {name: str(text) for name, text in found.items()}
        return {"class": "bug", "exception": "", "frame": "", **known}
    except (OSError, ValueError, AttributeError) as error:
        text = f"its record cannot be read: {error}"
        return {"class": "storage", "exception": text, "frame": ""}


def write_failure(results: Path, unit: Trial | Study, why: Mapping[str, str]) -> None:
    """Write why a trial or search ended without a result."""
    write_text(results / "failures" / f"{unit.id}.json", json.dumps(dict(why), indent=1) + "\n")


def clear_failure(results: Path, unit: Trial | Study) -> None:
    """Remove the failure record of a trial or search that is now done."""
    (results / "failures" / f"{unit.id}.json").unlink(missing_ok=True)


def write_study(results: Path, found: Record, provenance: Mapping[str, str]) -> None:
    """Write what a search has found; its trainings are stored before."""
    write_text(results / "studies" / f"{found.study.id}.json", found.to_json(provenance))


def read_studies(results: Path, studies: Iterable[Study]) -> list[Record]:
    """What every search has found, in the given order; nothing where none has begun."""
    return [_read_study(results / "studies" / f"{study.id}.json", study) for study in studies]


def standing(results: Path, planned: Plan) -> tuple[Trial, ...]:
    """The trials that are ranked: the plan's own, or the best so far of every search."""
    records = read_studies(results, planned.studies)
    return tuple(found.best.trial for found in records) or planned.trials


def checkpoint_family(trial: Trial) -> str:
    """How the names of all checkpoints begin that a trial can be in."""
    return f"{trial.pack_key.id}-"


def checkpoint_path(results: Path, first: Trial) -> Path:
    """Where the training of a pack, or of a part of one, that begins with this trial is kept."""
    return results / "checkpoints" / f"{checkpoint_family(first)}{first.id}.pt"


def control_name(trial: Trial) -> str:
    """File stem of the controls that belong to a trial: its channel and representation."""
    return f"{trial.channel}-{trial.representation.label}"


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file, or columns of it, with its metadata, if this version wrote it.

    Raises:
        ResultError: The file cannot be read, or has another schema.
    """
    try:
        table = parquet.read_table(path, columns)
    except ValueError as error:
        raise ResultError(f"{path}: unreadable ({error}); {_remedy(path)}") from error
    found = (table.schema.metadata or {}).get(b"schema", b"none").decode()
    if found != SCHEMA_VERSION:
        text = f"{path}: written with schema {found}, this version reads {SCHEMA_VERSION}"
        raise ResultError(f"{text}; {_remedy(path)}")
    return table


def _read_study(path: Path, study: Study) -> Record:
    try:
        return record(study, path.read_text()) if path.exists() else Record(study)
    except (OSError, ValueError, KeyError) as error:
        text = f"{path}: unreadable ({error}); delete the file and launch the scan again"
        raise ResultError(text) from error


def _remedy(path: Path) -> str:
    """What makes a table or scores again that cannot be read."""
    if path.parent.name == "trials":
        return "launch the scan again, which trains it again"
    control = path.stem.removeprefix("control-")
    if path.parent.name == "controls" or control != path.stem:
        text = f"delete controls/{control}.parquet and the table of one trial of its channel in"
        return f"{text} trials/, and launch the scan again"
    return f"delete trials/{path.stem}.parquet and launch the scan again"


def _with(table: pa.Table, metadata: Metadata) -> pa.Table:
    return parquet.sealed(table, {"schema": SCHEMA_VERSION, **metadata})
