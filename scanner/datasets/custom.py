"""Events of the user's own: from arrays or Parquet files to a dataset like any other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scanner.datasets.checks import check_events, which
from scanner.datasets.files import (
    BACKGROUND,
    Dataset,
    check_name,
    open_dataset,
    parquet_name,
    parquet_options,
    write_index,
)
from scanner.datasets.folders import complete, listed, resuming
from scanner.errors import DataError
from scanner.events import (
    EVENT_SCHEMA,
    KIND_CODE,
    KINDS,
    Events,
    from_table,
    multiplicity,
    sort_objects,
    to_table,
)

PIECE_EVENTS = 250_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
OPTIONAL: dict[str, str | float] = {"process": "", "event_id": "", "weight": 1.0}
Pieces = Iterator[Events]


def make_events(
    *, met: Sequence[float], met_phi: Sequence[float], kind: Sequence[Sequence[str | int]],
    energy: Sequence[Sequence[float]], pt: Sequence[Sequence[float]],
    eta: Sequence[Sequence[float]], phi: Sequence[Sequence[float]],
    process: Sequence[str] | str = "", weight: Sequence[float] | float = 1.0,
) -> Events:
    """Events from arrays: one entry per event, and per event one inner entry per object.

    Lists, NumPy arrays and awkward arrays will do. Objects may come in any order.

        >>> import scanner
        >>> events = scanner.make_events(
        ...     met=[80.0, 120.0], met_phi=[0.1, -2.0], kind=[["e-", "j", "j"], ["b"]],
        ...     energy=[[40.0, 30.0, 95.0], [310.0]], pt=[[38.0, 25.0, 90.0], [300.0]],
        ...     eta=[[0.3, 0.6, -0.3], [0.2]], phi=[[1.0, 2.0, -1.0], [3.0]], process="ttbar")
        >>> scanner.write_dataset("mine", {"leptons": {"background": events, "odd": events}}).text
        'leptons: 1 signals'

    Args:
        met: Missing transverse momentum, GeV.
        met_phi: Its azimuth, radians.
        kind: Kind of every object: a word of `KINDS` (`j`, `b`, `m+`, `m-`, `e+`, `e-`, `g`) or its
            number, 1 to 7.
        energy: Energy of every object, GeV.
        pt: Transverse momentum, GeV.
        eta: Pseudorapidity.
        phi: Azimuth, radians.
        process: Name of the generated process, one for all events or one each; only a label.
        weight: Event weight; not used in training.

    Raises:
        DataError: Lengths that differ, an unknown kind, or a number that is not one.
    """
    counts = [len(objects) for objects in kind]
    columns = {"energy": energy, "pt": pt, "eta": eta, "phi": phi}
    for name, column in columns.items():
        if [len(objects) for objects in column] != counts:
            raise DataError(f"{name}: not one entry per object, as in kind; give every event's "
                            "objects in each column")
    flat = {name: _numbers(name, [value for objects in column for value in objects])
            for name, column in columns.items()}
    words = [process] * len(counts) if isinstance(process, str) else process
    weights = np.full(len(counts), weight) if isinstance(weight, int | float) else weight
    for name, entries in (("met", met), ("met_phi", met_phi), ("process", words),
                          ("weight", weights)):
        if len(entries) != len(counts):
            raise DataError(f"{name}: {len(entries)} entries for {len(counts)} events; give one "
                            "each")
    return sort_objects(Events(
        np.array([str(word) for word in words], object), np.full(len(counts), "", object),
        np.asarray(weights, np.float64), _numbers("met", met),
        _numbers("met_phi", met_phi), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.array([_code(word) for objects in kind for word in objects], np.int8), **flat))


def write_dataset(name: str, channels: Mapping[str, Mapping[str, Events]],
                  root: Path | None = None) -> Dataset:
    """Write events as the dataset `name`; one of this name is replaced.

    Args:
        name: Name of the dataset.
        channels: Channel -> process -> events, where the process is `background` or a signal's
            name. Channels may have any name.
        root: Folder of the datasets, see `data_root`.

    Raises:
        DataError: A name that cannot be used, no events, a channel without a background, or events
            that are not well formed.
    """
    pieces = {(channel, process): iter([sort_objects(events)])
              for channel, processes in channels.items() for process, events in processes.items()}
    return _write(name, "arrays", pieces, root)


def add_dataset(source: Path, name: str, root: Path | None = None) -> Dataset:
    """Copy Parquet files with the columns of `EVENT_SCHEMA` into the dataset `name`.

    Objects are sorted, numbers converted to the schema's types, and everything is checked; the
    columns `process`, `event_id` and `weight` may be absent, others are left out.

    Args:
        source: Folder with ``chan<channel>/background.parquet`` and, beside it,
            ``<signal>.parquet``; channels may have any name.
        name: Name of the dataset; one of this name is replaced.
        root: Folder of the datasets, see `data_root`.

    Raises:
        DataError: No such files, or one of them is not what it should be; nothing is written.
    """
    files = [file for folder in listed(source) if folder.name.startswith("chan")
             for file in listed(folder) if file.suffix == ".parquet"]
    if not files:
        raise DataError(f"{source}: no chan<channel>/background.parquet and no "
                        "chan<channel>/<signal>.parquet in it; for the challenge's text files use "
                        "`scanner data import`")
    pieces = {(file.parent.name.removeprefix("chan"), file.stem): _read(file) for file in files}
    return _write(name, source.resolve().name, pieces, root)


def _write(name: str, source: str, pieces: Mapping[tuple[str, str], Pieces],
           root: Path | None) -> Dataset:
    target = check_name(name, root)
    for word in {word for key in pieces for word in key}:
        if not NAME.fullmatch(word):
            raise DataError(f"channel or process {word!r}: use letters, digits and . _ + -, a "
                            "letter or digit first")
    if not pieces:
        raise DataError(f"dataset {name!r}: no events; give at least one channel with a background")
    for channel in sorted({channel for channel, _ in pieces}):
        if (channel, BACKGROUND) not in pieces:
            raise DataError(f"channel {channel}: no {BACKGROUND} in it, on which models are "
                            f"trained; add {parquet_name(channel, BACKGROUND)}, or the process "
                            f"{BACKGROUND!r} to its events")
    with resuming(target) as folder:
        files = {parquet_name(*key): _write_file(folder, key, parts)
                 for key, parts in pieces.items()}
        write_index(folder, source, files)
    return open_dataset(name, root)


def _write_file(folder: Path, key: tuple[str, str], parts: Pieces) -> dict[str, Any]:
    """Write one process, and return its facts for the index."""
    channel, process = key
    path, count, objects = folder / parquet_name(channel, process), 0, np.zeros(len(KINDS), int)
    with complete(path) as target, pq.ParquetWriter(
            target, EVENT_SCHEMA, **parquet_options()) as writer:
        for events in parts:
            check_events(events, f"channel {channel}, {process}", count)
            writer.write_table(to_table(events))
            count += len(events)
            objects += multiplicity(events).sum(axis=0)
        if not count:
            raise DataError(f"channel {channel}, {process}: no event in it; leave it out")
    return {"channel": channel, "process": process, "events": count,
            "objects": dict(zip(KINDS, objects.tolist(), strict=True))}


def _read(file: Path) -> Pieces:
    """The events of a Parquet file, in pieces, converted to the schema."""
    try:
        with pq.ParquetFile(file) as opened:
            lacking = sorted({*EVENT_SCHEMA.names} - {*OPTIONAL, *opened.schema_arrow.names})
            if lacking:
                raise DataError(f"{file}: columns {', '.join(lacking)} are missing; it has "
                                f"{', '.join(opened.schema_arrow.names)}")
            first = 0
            for batch in opened.iter_batches(PIECE_EVENTS):
                yield sort_objects(_converted(file, pa.Table.from_batches([batch]), first))
                first += len(batch)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file}: not a readable Parquet file ({error})") from error


def _converted(file: Path, table: pa.Table, first: int) -> Events:
    """The events of a piece of a file that begins with event `first`."""
    for name, default in OPTIONAL.items():
        if name not in table.column_names:
            value = file.stem if name == "process" else default
            table = table.append_column(name, pa.array([value] * len(table)))
    columns = []
    for field in EVENT_SCHEMA:
        column = table[field.name]
        inner = column.combine_chunks()
        hidden = inner.flatten().null_count if _holds_lists(column) else 0
        if column.null_count or hidden:
            raise DataError(f"{file}: column {field.name} has missing values; fill them, or leave "
                            "these events out")
        try:
            columns.append(column.cast(field.type))
        except pa.ArrowException as error:
            raise DataError(f"{file}: column {field.name} is {column.type}, which cannot be read "
                            f"as {field.type} ({error})") from error
    made = pa.Table.from_arrays(columns, schema=EVENT_SCHEMA)
    _check_lengths(file, made, first)
    return from_table(made)


def _check_lengths(file: Path, table: pa.Table, first: int) -> None:
    lengths = {name: np.asarray(table[name].combine_chunks().value_lengths())
               for name in table.column_names if _holds_lists(table[name])}
    counts = lengths["object_kind"]
    for name, found in lengths.items():
        if (bad := found != counts).any():
            event = int(np.argmax(bad))
            raise DataError(f"{file}: {name} has {found[event]} entries where object_kind has "
                            f"{counts[event]}: {which(bad, first)}")


def _holds_lists(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
                or pa.types.is_fixed_size_list(column.type))


def _numbers(name: str, values: Sequence[float]) -> NDArray[np.float32]:
    try:
        return np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: not numbers ({error})") from error


def _code(word: str | int) -> int:
    code = KIND_CODE.get(word) if isinstance(word, str) else int(word)
    if code is None or not 1 <= code <= len(KINDS):
        raise DataError(f"kind: {word!r} is none of {', '.join(KINDS)}, nor 1 to {len(KINDS)}")
    return code
