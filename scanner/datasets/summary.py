"""What a dataset holds, in tables and in the columns that its figures need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scanner.datasets.files import (
    BACKGROUND,
    SAMPLE,
    Dataset,
    parquet_name,
    processes,
    read_index,
)
from scanner.datasets.published import COUNTS, failed_cuts
from scanner.errors import DataError
from scanner.events import KINDS, Events, from_table, ht, meff, met, multiplicity

PIECE_EVENTS = 250_000
ENERGIES = {"met": met, "ht": ht, "meff": meff}


@dataclass(frozen=True)
class Columns:
    """What is kept of the N events of one process.

    Attributes:
        energies: `met`, `ht`, `meff`, each (N,), GeV.
        counts: Number of objects of each kind (N, 7), in the order of `KINDS`.
        generated: Name of the generated process of each event (N,).
        weights: Smallest and largest event weight.
        failed: Number of events that fail each cut of the channel's selection.
        outside: Number of events that fail any of them.
    """

    energies: Mapping[str, NDArray[np.float32]]
    counts: NDArray[np.int16]
    generated: pd.Categorical
    weights: tuple[float, float]
    failed: Mapping[str, int]
    outside: int


@dataclass(frozen=True)
class Summary:
    """What a dataset holds.

    Attributes:
        processes: One row per channel and process: `events`, the mean number of objects of each
            kind (`j`, `b`, ...) and of all, medians `met`, `ht`, `meff` in GeV, the range of
            `weight`, and `outside_selection`, the number of events that the channel's selection
            would not pass.
        composition: The same of every generated process inside each background, with its
            `fraction` of the background's events, the largest first.
        cuts: How many events of each process fail each cut of their channel's selection.
        published: The counts beside the challenge's: `found` and `published` events; a process
            that only one of them has is missing in the other. Empty for the bundled sample and
            where no process is one of the challenge's.
        files: Each file's source, and the sha256 of both.
        columns: (channel, process) -> what the figures are made of.
    """

    processes: pd.DataFrame
    composition: pd.DataFrame
    cuts: pd.DataFrame
    published: pd.DataFrame
    files: pd.DataFrame
    columns: Mapping[tuple[str, str], Columns]


def inspect(dataset: Dataset) -> pd.DataFrame:
    """`Summary.processes` of a dataset."""
    return summarise(dataset).processes


def summarise(dataset: Dataset) -> Summary:
    """Read every event of a dataset once, in pieces, and count."""
    columns = {(channel, process): _columns(channel, pieces(dataset, channel, process))
               for channel in dataset.channels for process in processes(dataset, channel)}
    keys = ("channel", "process")
    rows = [dict(zip(keys, key, strict=True)) | _row(found) for key, found in columns.items()]
    cuts = [dict(zip(keys, key, strict=True))
            | {"cut": cut, "failing": failing, "events": len(found.counts)}
            for key, found in columns.items() for cut, failing in found.failed.items()]
    composition = [row for (channel, process), found in columns.items() if process == BACKGROUND
                   for row in _composition(channel, found)]
    return Summary(pd.DataFrame(rows), pd.DataFrame(composition), pd.DataFrame(cuts),
                   _published(dataset, columns), _files(dataset), columns)


def pieces(dataset: Dataset, channel: str, process: str) -> Iterator[Events]:
    """The events of one process in order, a part of them at a time, in bounded memory.

    Raises:
        DataError: The file is damaged.
    """
    path, words = dataset.path / parquet_name(channel, process), ["process", "event_id"]
    try:
        with pq.ParquetFile(path, read_dictionary=words) as file:
            for batch in file.iter_batches(PIECE_EVENTS):
                yield from_table(pa.Table.from_batches([batch]))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a readable Parquet file ({error}); import the dataset again"
                        ) from error


def _columns(channel: str, parts: Iterator[Events]) -> Columns:
    energies: dict[str, list[NDArray[np.float32]]] = {name: [] for name in ENERGIES}
    counts, generated, weights, outside = [], [], [], 0
    failed: dict[str, int] = {}
    for events in parts:
        for name, energy in ENERGIES.items():
            energies[name].append(energy(events))
        counts.append(multiplicity(events).astype(np.int16))
        generated.append(pd.Categorical(events.process))
        weights += [float(events.weight.min()), float(events.weight.max())]
        cuts = failed_cuts(channel, events)
        failed = {cut: failed.get(cut, 0) + int(fails.sum()) for cut, fails in cuts.items()}
        outside += int(np.any(list(cuts.values()), axis=0).sum()) if cuts else 0
    return Columns({name: np.concatenate(found) for name, found in energies.items()},
                   np.concatenate(counts), pd.api.types.union_categoricals(generated),
                   (min(weights), max(weights)), failed, outside)


def _row(found: Columns) -> dict[str, int | float]:
    return {**_figures(found, slice(None)), "weight_min": found.weights[0],
            "weight_max": found.weights[1], "outside_selection": found.outside}


def _figures(found: Columns, chosen: slice | NDArray[np.bool_]) -> dict[str, int | float]:
    """Number of events, mean multiplicities and median energies of some of the events."""
    counts = found.counts[chosen]
    means = dict(zip(KINDS, counts.mean(axis=0, dtype=float).tolist(), strict=True))
    medians = {name: float(np.median(values[chosen])) for name, values in found.energies.items()}
    objects = float(counts.sum(axis=1).mean(dtype=float))
    return {"events": len(counts), **means, "objects": objects, **medians}


def _composition(channel: str, found: Columns) -> list[dict[str, str | int | float]]:
    rows: list[dict[str, str | int | float]] = []
    for code, name in enumerate(found.generated.categories):
        chosen = found.generated.codes == code
        rows.append({"channel": channel, "process": str(name), "fraction": float(chosen.mean()),
                     **_figures(found, chosen)})
    return sorted(rows, key=lambda row: (-float(row["fraction"]), str(row["process"])))


def _published(dataset: Dataset, columns: Mapping[tuple[str, str], Columns]) -> pd.DataFrame:
    """Found and published counts of the channels that the dataset has."""
    known = {(channel, process) for channel in COUNTS for process in COUNTS[channel]}
    names = ["channel", "process", "found", "published"]
    if dataset.path == SAMPLE or not known & columns.keys():
        return pd.DataFrame(columns=names)
    keys = [*columns, *sorted(key for key in known - columns.keys() if key[0] in dataset.channels)]
    rows = [(channel, process,
             len(columns[channel, process].counts) if (channel, process) in columns else None,
             COUNTS.get(channel, {}).get(process)) for channel, process in keys]
    table = pd.DataFrame(rows, columns=names)
    table = table.astype({"found": "Int64", "published": "Int64"})
    table = table.assign(difference=table["found"] - table["published"]).astype(object)
    return table.where(table.notna(), None)


def _files(dataset: Dataset) -> pd.DataFrame:
    entries = read_index(dataset.path)["files"]
    return pd.DataFrame([
        {"file": file, "events": entry.get("events"), "sha256": entry["sha256"],
         "source": entry.get("source"), "source_sha256": entry.get("source_sha256")}
        for file, entry in entries.items()])
