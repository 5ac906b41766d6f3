"""The Dark Machines anomaly score challenge (arXiv:2105.14027): import and export of its files."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

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
from scanner.datasets.parse import MEV_PER_GEV, Block, bad_lines, blocks, diagnose, parse
from scanner.datasets.published import COUNTS, ROUNDING, outside_selection
from scanner.errors import DataError
from scanner.events import EVENT_SCHEMA, KINDS, Events, multiplicity, to_table

Progress = Callable[[str], None]
BACKGROUND_NAME = re.compile(r"background_chan(1|2a|2b|3)(?:_.*)?\.csv(?:\.gz)?")
SIGNAL_NAME = re.compile(r"(.+)_chan(1|2a|2b|3)\.csv(?:\.gz)?")
UNTOUCHED = "Nothing was imported"
UNUSUAL = ("events miss the channel's MET, HT selection",
           "background events have a weight other than 1 (kept, and not used in training)",
           "objects have E below pT", "azimuths lie outside (-pi, pi]")
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

    @property
    def text(self) -> str:
        """One line, and one more for each warning and each skipped line."""
        counts = ", ".join(f"{kind} {count}" for kind, count in self.objects.items() if count)
        head = (f"channel {self.channel}, {self.process}: {self.events} events ({counts}), "
                f"{self.bytes / 1e6:.1f} MB, {self.mb_per_s:.0f} MB/s")
        notes = [*(f"  warning: {text}" for text in self.warnings),
                 *(f"  left out: {text}" for text in self.skipped)]
        return "\n".join([head, *notes])


@dataclass(frozen=True)
class ImportReport:
    """What an import did: the dataset, one report per file, and notes on the whole."""

    dataset: Dataset
    files: tuple[FileReport, ...]
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """What to tell the user."""
        events = sum(file.events for file in self.files)
        notes = (f"note: {note}" for note in self.notes)
        return "\n".join([*(file.text for file in self.files), *notes,
                          f"dataset {self.dataset.name}: {events} events in {self.dataset.path}"])


def import_folder(source: Path, name: str, root: Path | None = None, *, skip_bad: int = 0,
                  progress: Progress | None = None) -> ImportReport:
    """Import text files as the dataset `name`; on an error nothing is written or replaced.

    Args:
        source: Folder with `chan1`, `chan2a`, `chan2b`, `chan3` (or the files themselves) holding
            `background_<chan>_*.csv` and `<signal>_<chan>.csv`, plain or `.gz`; or one such file.
        name: Name of the dataset; one of this name is replaced.
        root: Folder of the datasets, see `data_root`.
        skip_bad: Bad lines per file that are left out, and listed, instead of being an error.
        progress: Called with a line of text before each file.

    Raises:
        DataError: No file found, ambiguous names, or a malformed line, with file and line number.
    """
    target = check_name(name, root)
    found, notes = discover(source)
    reports = []
    with replacing(target) as folder:
        for item in found:
            if progress:
                progress(f"reading {item.path} ({item.path.stat().st_size / 1e6:.1f} MB)")
            reports.append(_import_file(item, folder, skip_bad))
        write_index(folder, source.resolve().name, {
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
    if match := BACKGROUND_NAME.fullmatch(path.name):
        channel, process = match[1], BACKGROUND
    elif match := SIGNAL_NAME.fullmatch(path.name):
        process, channel = match.groups()
    else:
        return None
    folder = path.parent.name
    if folder.startswith("chan") and folder != f"chan{channel}":
        raise DataError(f"{path}: the name says channel {channel}, the folder {folder}; move or "
                        "rename it")
    return SourceFile(path, channel, process)


def _import_file(item: SourceFile, folder: Path, skip_bad: int) -> FileReport:
    start, size, count, skipped = time.perf_counter(), 0, 0, list[str]()
    objects, unusual = np.zeros(len(KINDS), int), np.zeros(len(UNUSUAL), int)
    target = folder / parquet_name(item.channel, item.process)
    target.parent.mkdir(exist_ok=True)
    with pq.ParquetWriter(target, EVENT_SCHEMA, **parquet_options()) as writer:
        for block in blocks(item.path):
            size += len(block.text)
            if events := _events(item.path, block, skip_bad, skipped):
                writer.write_table(to_table(events))
                count += len(events)
                objects += multiplicity(events).sum(axis=0)
                unusual += _unusual(item, events)
    if not count:
        raise DataError(f"{item.path}: no event in it; fetch the file again. {UNTOUCHED}")
    return FileReport(
        item.path, item.channel, item.process, count,
        dict(zip(KINDS, objects.tolist(), strict=True)), size, time.perf_counter() - start,
        tuple(skipped), _warnings(item, count, unusual))


def _events(path: Path, block: Block, skip_bad: int, skipped: list[str]) -> Events | None:
    """The events of a block; bad lines are added to `skipped`, which holds `skip_bad` at most."""
    if b"\r" in block.text:
        line = block.first_line + block.text.count(b"\n", 0, block.text.index(b"\r"))
        raise DataError(f"{path}:{line}: Windows line ends (CR LF), where the format has LF; "
                        f"convert the file, for instance with dos2unix. {UNTOUCHED}")
    try:
        return parse(block.text)
    except ValueError:
        lines = block.text.splitlines(keepends=True)
    for index in bad_lines(lines):
        fault = f"{path}:{block.first_line + index}: {diagnose(lines[index])}"
        if len(skipped) == skip_bad:
            before = f" ({skip_bad} bad lines before it were left out)" if skip_bad else ""
            raise DataError(f"{fault}{before}. {UNTOUCHED}; correct the line, or leave out up to N "
                            "bad lines per file with --skip-bad N")
        skipped.append(fault)
        lines[index] = b""
    return parse(b"".join(lines)) if any(lines) else None


def _unusual(item: SourceFile, events: Events) -> NDArray[np.int64]:
    """Counts of what `UNUSUAL` names."""
    weighted = (events.weight != 1.0) & (item.process == BACKGROUND)
    return np.array([
        outside_selection(item.channel, events).sum(), weighted.sum(),
        (events.energy < events.pt * (1.0 - ROUNDING)).sum(),
        (np.abs(np.append(events.phi, events.met_phi)) > np.pi + ROUNDING).sum()])


def _warnings(item: SourceFile, count: int, unusual: NDArray[np.int64]) -> tuple[str, ...]:
    published = COUNTS[item.channel].get(item.process)
    found = [f"{number} {text}" for number, text in zip(unusual, UNUSUAL, strict=True) if number]
    if published is None:
        found.append("not one of the published signals of this channel")
    elif count != published:
        found.append(f"{count} events, the published file has {published}")
    return tuple(found)


def _facts(report: FileReport) -> dict[str, Any]:
    return {"channel": report.channel, "process": report.process, "events": report.events,
            "objects": report.objects, "source": report.source.name,
            "skipped": [fault.rpartition("/")[2] for fault in report.skipped],
            "warnings": list(report.warnings)}
