"""The ragged event table in memory: N events, M objects, GeV and radians.

The objects of event i are ``offsets[i]:offsets[i + 1]`` of the object columns, sorted by kind (in
the order of `KINDS`) and by falling pT inside each kind. Arrow tables with `EVENT_SCHEMA` hold the
same columns; reading and writing files is left to `scanner.datasets`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scanner.errors import DataError

KINDS = ("j", "b", "m+", "m-", "e+", "e-", "g")
KIND_CODE = {kind: code for code, kind in enumerate(KINDS, 1)}
SCHEMA_VERSION = "1"

Float32s = NDArray[np.float32]
Ints = NDArray[np.int64]
OBJECT_COLUMNS = {"kind": pa.int8(), "energy": pa.float32(), "pt": pa.float32(),
                  "eta": pa.float32(), "phi": pa.float32()}
_COLUMN_NAMES = {"energy": "object_e"} | {k: f"object_{k}" for k in ("kind", "pt", "eta", "phi")}
Words = tuple[pa.DictionaryArray, pa.DictionaryArray]  # process and event ID
_WORD = pa.dictionary(pa.int32(), pa.string())

EVENT_SCHEMA = pa.schema(
    [("process", _WORD), ("event_id", _WORD), ("weight", pa.float64()),
     ("met", pa.float32()), ("met_phi", pa.float32())]
    + [(_COLUMN_NAMES[name], pa.list_(kind)) for name, kind in OBJECT_COLUMNS.items()],
    metadata={"scanner.schema_version": SCHEMA_VERSION, "scanner.kinds": ",".join(KINDS),
              "scanner.units": "E, pT, MET: GeV; phi: radians; kind: 1-7 in the order of kinds"},
)


@dataclass(frozen=True, eq=False)
class Events:
    """Events as ragged columns.

    Attributes:
        process: Name of the generated process (N,), a label that training never sees.
        event_id: Tag of the generation run (N,); not unique, never a key.
        weight: Event weight (N,), kept as it was read.
        met: Missing transverse momentum (N,), GeV.
        met_phi: Its azimuth (N,), radians.
        offsets: First object of each event, and M at the end (N + 1,).
        kind: Type code 1-7 of each object (M,), in the order of `KINDS`.
        energy: Energy (M,), GeV.
        pt: Transverse momentum (M,), GeV.
        eta: Pseudorapidity (M,).
        phi: Azimuth (M,), radians.
    """

    process: NDArray[np.object_]
    event_id: NDArray[np.object_]
    weight: NDArray[np.float64]
    met: Float32s
    met_phi: Float32s
    offsets: Ints
    kind: NDArray[np.int8]
    energy: Float32s
    pt: Float32s
    eta: Float32s
    phi: Float32s

    def __len__(self) -> int:
        return len(self.met)

    def take(self, index: NDArray[Any] | slice) -> Events:
        """The events at `index` (integers, booleans or a slice), in that order."""
        counts, starts = np.diff(self.offsets)[index], self.offsets[:-1][index]
        offsets = _offsets(counts)
        objects = np.repeat(starts - offsets[:-1], counts) + np.arange(offsets[-1])
        columns = {name: getattr(self, name)[objects] for name in OBJECT_COLUMNS}
        return Events(self.process[index], self.event_id[index], self.weight[index],
                      self.met[index], self.met_phi[index], offsets, **columns)


def sort_objects(events: Events) -> Events:
    """The same events with objects sorted by kind, then by falling pT; ties keep their order."""
    group = _event_of_object(events) * 8 + events.kind
    falling = -np.abs(events.pt).view(np.int32)  # the bits of floats >= 0 are ordered as they are
    order = np.argsort((group << 32) + falling, kind="stable")
    return replace(events, **{name: getattr(events, name)[order] for name in OBJECT_COLUMNS})


def to_table(events: Events, words: Words | None = None) -> pa.Table:
    """The events as an Arrow table with `EVENT_SCHEMA`; `words` where they are at hand."""
    offsets = pa.array(events.offsets, pa.int32())
    lists = [pa.ListArray.from_arrays(offsets, pa.array(getattr(events, name), kind))
             for name, kind in OBJECT_COLUMNS.items()]
    words = words or tuple(pa.array(column, pa.string()).dictionary_encode()
                           for column in (events.process, events.event_id))
    numbers = [pa.array(column) for column in (events.weight, events.met, events.met_phi)]
    return pa.Table.from_arrays([*words, *numbers, *lists], schema=EVENT_SCHEMA)


def from_table(table: pa.Table) -> Events:
    """The events of an Arrow table.

    Raises:
        DataError: The schema is not `EVENT_SCHEMA`, or the object lists differ in length.
    """
    _check_schema(table.schema)
    table = table.unify_dictionaries().combine_chunks()
    lists = {name: _only(table[column]) for name, column in _COLUMN_NAMES.items()}
    counts = {name: np.asarray(column.value_lengths()) for name, column in lists.items()}
    if any((count != counts["kind"]).any() for count in counts.values()):
        raise DataError("event table: the object lists of an event differ in length; import again")
    objects = {name: _numpy(column.flatten()) for name, column in lists.items()}
    scalars = {name: _numpy(_only(table[name])) for name in ("weight", "met", "met_phi")}
    return Events(process=_words(table["process"]), event_id=_words(table["event_id"]),
                  offsets=_offsets(counts["kind"]), **scalars, **objects)


def met(events: Events) -> Float32s:
    """Missing transverse momentum (N,), GeV."""
    return events.met


def ht(events: Events) -> Float32s:
    """Scalar sum of pT over all stored jets and b-jets (N,), GeV; no cut on eta."""
    hadronic = events.kind <= KIND_CODE["b"]
    total = np.bincount(_event_of_object(events)[hadronic], events.pt[hadronic], len(events))
    return total.astype(np.float32)


def meff(events: Events) -> Float32s:
    """Effective mass HT + MET (N,), GeV."""
    return ht(events) + met(events)


def multiplicity(events: Events) -> Ints:
    """Number of objects of each kind (N, 7), in the order of `KINDS`."""
    cell = _event_of_object(events) * len(KINDS) + events.kind - 1
    return np.bincount(cell, minlength=len(events) * len(KINDS)).reshape(-1, len(KINDS))


def _event_of_object(events: Events) -> Ints:
    return np.repeat(np.arange(len(events)), np.diff(events.offsets))


def _offsets(counts: NDArray[Any]) -> Ints:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _check_schema(schema: pa.Schema) -> None:
    version = (schema.metadata or {}).get(b"scanner.schema_version", b"none").decode()
    if version != SCHEMA_VERSION:
        raise DataError(f"event table: schema version {version}, this release reads "
                        f"{SCHEMA_VERSION}; import the dataset again")
    if not schema.equals(EVENT_SCHEMA):
        raise DataError(f"event table: columns {', '.join(schema.names)} are not those of "
                        f"schema version {SCHEMA_VERSION}; import the dataset again")


def _only(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _numpy(array: pa.Array) -> NDArray[Any]:
    values: NDArray[Any] = array.to_numpy(zero_copy_only=True)
    return values


def _words(column: pa.ChunkedArray) -> NDArray[np.object_]:
    encoded = _only(column)
    distinct: NDArray[np.object_] = np.array(encoded.dictionary.to_pylist(), object)
    indices: Ints = np.asarray(encoded.indices)
    return distinct[indices]
