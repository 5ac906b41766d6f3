"""The Dark Machines anomaly score challenge (arXiv:2105.14027): import and export of its files."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from scanner.datasets.files import (
    BACKGROUND,
    Dataset,
    check_name,
    open_dataset,
    parquet_name,
    parquet_options,
    replacing,
    write_index,
)
from scanner.datasets.parse import MEV_PER_GEV, bad_lines, blocks, diagnose, parse
from scanner.datasets.published import COUNTS, ROUNDING, outside_selection
from scanner.errors import DataError
from scanner.events import EVENT_SCHEMA, KIND_CODE, KINDS, Events, multiplicity, to_table

Progress = Callable[[Path, int, int], None]
FILE_NAME = re.compile(r"(?:background_chan(?P<of>1|2a|2b|3)(?:_.*)?|(?P<code>.+)_chan(?P<in>1|2a|2b|3))"
                       r"\.csv(?:\.gz)?")
TEXT_GROUP = {"j": 0, "b": 0, "e-": 1, "e+": 1, "m-": 2, "m+": 2, "g": 3}  # order inside a line


class SourceFile(NamedTuple):
    """A text file, its channel and its process (`background` or a signal's name)."""

    path: Path
    channel: str
    process: str


@dataclass(frozen=True)
class FileReport:
    """The import of one file.

    Attributes:
        source: The text file.
        channel: Its channel.
        process: `background`, or the signal's name.
        events: Number of events.
        objects: Number of objects of each kind.
        bytes: Bytes of text, uncompressed.
        seconds: Wall time.
        skipped: Bad lines that were left out, as `file:line: reason`.
        warnings: What is unusual about the file.
    """

    source: Path
    channel: str
    process: str
    events: int
    objects: dict[str, int]
    bytes: int
    seconds: float
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def mb_per_s(self) -> float:
        """Text read per second, MB/s."""
        return self.bytes / 1e6 / self.seconds


@dataclass(frozen=True)
class ImportReport:
    """What an import did: the dataset, one report per file, and notes on the whole."""

    dataset: Dataset
    files: tuple[FileReport, ...]
    notes: tuple[str, ...]


def import_folder(source: Path, name: str, root: Path | None = None, *, skip_bad: int = 0,
                  progress: Progress | None = None) -> ImportReport:
    """Import text files as the dataset `name`; on an error nothing is written or replaced.

    Args:
        source: Folder with `chan1`, `chan2a`, `chan2b`, `chan3` (or the files themselves) holding
            `background_<chan>_*.csv` and `<signal>_<chan>.csv`, plain or `.gz`; or one such file.
        name: Name of the dataset; one of this name is replaced.
        root: Folder of the datasets, see `data_root`.
        skip_bad: Bad lines per file that are left out, and listed, instead of being an error.
        progress: Called after each block with (file, bytes read, size of the file).

    Raises:
        DataError: No file found, ambiguous names, or a malformed line, with file and line number.
    """
    target = check_name(name, root)
    found, notes = discover(source)
    reports = []
    with replacing(target) as folder:
        for item in found:
            reports.append(_import_file(item, folder, skip_bad, progress))
        write_index(folder, source.name, {
            parquet_name(report.channel, report.process): _facts(report) for report in reports})
    return ImportReport(open_dataset(name, root), tuple(reports), tuple(notes))


def discover(source: Path) -> tuple[list[SourceFile], list[str]]:
    """The text files of a folder by channel and process, and notes on what it lacks.

    Raises:
        DataError: Nothing found, two files for one process, or a file in another channel's folder.
    """
    paths = [source] if source.is_file() else sorted(
        path for pattern in ("*.csv*", "chan*/*.csv*") for path in source.glob(pattern))
    named = [item for path in paths if (item := _named(path))]
    found = {(item.channel, item.process): item for item in named}
    for item in named:
        if (other := found[item.channel, item.process]) is not item:
            raise DataError(f"{item.path} and {other.path}: both are {item.process} of channel "
                            f"{item.channel}; keep one of them")
    if not found:
        raise DataError(f"{source}: no background_<chan>_*.csv and no <signal>_<chan>.csv (or "
                        ".csv.gz), with <chan> one of chan1, chan2a, chan2b, chan3, here or in "
                        "folders of these names; give the folder that holds them, or one file")
    ignored = sorted(set(paths) - {item.path for item in named})
    notes = [f"{path}: ignored, its name says no channel" for path in ignored]
    notes += [f"channel {channel} has no background: no model can be trained on it"
              for channel in sorted({item.channel for item in named})
              if (channel, BACKGROUND) not in found]
    return [found[key] for key in sorted(found)], notes


def write_text(events: Events, path: Path) -> None:
    """Write events in the text format: MeV, six significant digits.

    Each line holds jets and b-jets by falling pT, then electrons, muons and photons likewise.
    """
    group = np.array([0, *(TEXT_GROUP[kind] for kind in KINDS)])[events.kind]
    event = np.repeat(np.arange(len(events)), np.diff(events.offsets))
    order = np.lexsort((-events.pt, group, event))
    columns = _mev(events.energy), _mev(events.pt), events.eta, events.phi
    objects = [f"{KINDS[kind - 1]},{energy:g},{pt:g},{eta:g},{phi:g};"
               for kind, energy, pt, eta, phi
               in zip(events.kind[order], *(column[order] for column in columns), strict=True)]
    header = zip(events.event_id, events.process, events.weight, _mev(events.met), events.met_phi,
                 strict=True)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for index, (event_id, process, weight, met, met_phi) in enumerate(header):
            first, last = events.offsets[index:index + 2]
            stream.write(f"{event_id};{process};{weight:g};{met:g};{met_phi:g};"
                         + "".join(objects[first:last]) + "\n")


def _mev(gev: NDArray[np.float32]) -> NDArray[np.float64]:
    return gev.astype(np.float64) * MEV_PER_GEV


def _named(path: Path) -> SourceFile | None:
    match = FILE_NAME.fullmatch(path.name)
    if match is None:
        return None
    channel = match["channel"]
    if path.parent.name.startswith("chan") and path.parent.name != f"chan{channel}":
        raise DataError(f"{path}: its name says channel {channel}, its folder {path.parent.name}; "
                        "move or rename it")
    background = re.fullmatch(r"background(_.*)?", match["stem"]) or match["luminosity"]
    return SourceFile(path, channel, BACKGROUND if background else match["stem"])


def _import_file(item: SourceFile, folder: Path, skip_bad: int,
                 progress: Progress | None) -> FileReport:
    start, size, events_read = time.perf_counter(), 0, 0
    objects, unusual = np.zeros(len(KINDS), int), np.zeros(len(UNUSUAL), int)
    skipped: list[str] = []
    target = folder / parquet_name(item.channel, item.process)
    target.parent.mkdir(exist_ok=True)
    with pq.ParquetWriter(target, EVENT_SCHEMA, **parquet_options()) as writer:
        for text, position in _good_blocks(item.path, skip_bad, skipped):
            events = parse(text)
            writer.write_table(to_table(events))
            size, events_read = size + len(text), events_read + len(events)
            objects += multiplicity(events).sum(axis=0)
            unusual += _unusual(item, events)
            if progress:
                progress(item.path, position, item.path.stat().st_size)
    if not events_read:
        raise DataError(f"{item.path}: no event in it; fetch the file again. {UNTOUCHED}")
    return FileReport(
        item.path, item.channel, item.process, events_read,
        dict(zip(KINDS, objects.tolist(), strict=True)), size, time.perf_counter() - start,
        tuple(skipped), _warnings(item, events_read, unusual))
