"""The Dark Machines anomaly score challenge (arXiv:2105.14027): import and export of its files."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scanner.datasets.convert import UNUSUAL, Part, SourceFile, SourceHash, parts
from scanner.datasets.files import (
    BACKGROUND,
    check_name,
    open_dataset,
    parquet_name,
    parquet_options,
    sha256,
    write_index,
)
from scanner.datasets.folders import check_readable, complete, listed, resuming
from scanner.datasets.import_report import FileReport, ImportReport
from scanner.datasets.parse import MEV_PER_GEV
from scanner.datasets.published import CHANNEL_FOLDERS, COUNTS
from scanner.errors import DataError
from scanner.events import EVENT_SCHEMA, KINDS, Events

Progress = Callable[[int, int, str], None]
BACKGROUND_NAME = re.compile(r"background_chan(1|2a|2b|3)(?:_.*)?\.csv(?:\.gz)?")
SIGNAL_NAME = re.compile(r"(.+)_chan(1|2a|2b|3)\.csv(?:\.gz)?")
UNTOUCHED = "Nothing was imported"
TEXT_GROUP = {"j": 0, "b": 0, "e-": 1, "e+": 1, "m-": 2, "m+": 2, "g": 3}  # order inside a line


def import_folder(source: Path, name: str, root: Path | None = None, *, skip_bad: int = 0,
                  cpus: int = 1, origin: Mapping[str, str | int] | None = None,
                  progress: Progress | None = None) -> ImportReport:
    """Import text files as the dataset `name`; on an error no dataset is written or replaced.

    After an interruption or an error the same call takes over the files that were finished; until
    then they lie in ``.<name>.import`` beside the datasets. With more than one process a script
    needs ``if __name__ == "__main__":`` around the call, since each process imports the script.

    Args:
        source: Folder with `chan1`, `chan2a`, `chan2b`, `chan3` (or the files themselves) holding
            `background_<chan>_*.csv` and `<signal>_<chan>.csv`, plain or `.gz`; or one such file.
        name: Name of the dataset; one of this name is replaced.
        root: Folder of the datasets, see `data_root`.
        skip_bad: Bad lines per file that are left out, and listed, instead of being an error.
        cpus: Processes that read, also where there is one file; the result is the same.
        origin: Where the files were fetched from, to be kept in `dataset.json`.
        progress: Called with the bytes done, the bytes of all files, and the file being read.

    Raises:
        DataError: No file found, or one that cannot be read; ambiguous names; a malformed line,
            with file and line number; another import of this name is running; or the disk is full.
    """
    target = check_name(name, root)
    found, notes = discover(source)
    kept = {place(file, Path()) for file in found for place in (_record, _place)}
    with resuming(target, kept) as folder:
        finished = {file: report for file in found if (report := _finished(file, folder, skip_bad))}
        if finished:
            notes = [f"{len(finished)} files were finished by a call before this one", *notes]
        todo = [file for file in found if file not in finished]
        reports = finished | dict(zip(todo, _import_files(
            todo, folder, skip_bad, cpus, _counted(found, finished, progress)), strict=True))
        for file in found:
            _record(file, folder).unlink()
        write_index(folder, source.resolve().name, {
            parquet_name(file.channel, file.process): _facts(reports[file]) for file in found},
            origin)
    return ImportReport(open_dataset(name, root), tuple(reports[f] for f in found), tuple(notes))


def discover(source: Path) -> tuple[list[SourceFile], list[str]]:
    """The text files of a folder by channel and process, and notes on what it lacks.

    Raises:
        DataError: Nothing found, two files for one process, a file in another channel's folder, or
            one that cannot be read.
    """
    paths = _texts(source)
    named = [item for path in paths if (item := _named(path))]
    found = {(item.channel, item.process): item for item in named}
    for item in named:
        check_readable(item.path)
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


def _texts(source: Path) -> list[Path]:
    """The source if it is a file, else the text files in it and in its folders ``chan*``."""
    inside = listed(source)
    inside += [path for folder in inside if folder.name.startswith("chan")
               for path in listed(folder)]
    return [source] if source.is_file() else sorted(path for path in inside if ".csv" in path.name)


def _named(path: Path) -> SourceFile | None:
    if match := BACKGROUND_NAME.fullmatch(path.name):
        channel, process = match[1], BACKGROUND
    elif match := SIGNAL_NAME.fullmatch(path.name):
        process, channel = match.groups()
    else:
        return None
    folder = path.parent.name
    if folder in CHANNEL_FOLDERS and folder != f"chan{channel}":
        raise DataError(f"{path}: the name says channel {channel}, the folder {folder}; move or "
                        "rename it")
    return SourceFile(path, channel, process)


def _import_files(files: list[SourceFile], folder: Path, skip_bad: int, cpus: int,
                  progress: Callable[[int, str], None]) -> Iterator[FileReport]:
    with closing(parts(files, skip_bad, cpus)) as stream:
        for file in files:
            report = _import_file(file, stream, folder, skip_bad, progress)
            with complete(_record(file, folder)) as temporary:
                kept = asdict(report) | {"source": str(file.path), "skip_bad": skip_bad}
                temporary.write_text(json.dumps(kept))
            yield report


def _import_file(file: SourceFile, stream: Iterator[Part], folder: Path, skip_bad: int,
                 progress: Callable[[int, str], None]) -> FileReport:
    """Write the parts of one file, which come next in the stream, as one Parquet file."""
    start, size, count, lines, skipped = time.perf_counter(), 0, 0, 0, list[str]()
    objects, unusual = np.zeros(len(KINDS), int), np.zeros(len(UNUSUAL), int)
    source = SourceHash(file.path)
    with (source, complete(_place(file, folder)) as target,
          pq.ParquetWriter(target, EVENT_SCHEMA, **parquet_options()) as writer):
        for part in stream:
            _take_faults(file.path, part, lines, skip_bad, skipped)
            if part.table:
                writer.write_table(part.table)
                count += len(part.table)
            size, lines = size + part.text_bytes, lines + part.lines
            objects, unusual = objects + part.objects, unusual + part.unusual
            source.read_to(part.piece.stop)
            progress(part.piece.stop - part.piece.start, file.path.name)
            if part.piece.last:
                break
        if not count:
            raise DataError(f"{file.path}: no event in it; fetch the file again. {UNTOUCHED}")
    return FileReport(
        file.path, file.channel, file.process, count,
        dict(zip(KINDS, objects.tolist(), strict=True)), size, source.sha256,
        time.perf_counter() - start, tuple(skipped), _warnings(file, count, unusual))


def _take_faults(path: Path, part: Part, lines: int, skip_bad: int, skipped: list[str]) -> None:
    """Add the bad lines of a part to `skipped`, which holds `skip_bad` at most."""
    for fault in part.faults:
        text = f"{path}:{lines + fault.line + 1}: {fault.reason}"
        if fault.fatal:
            raise DataError(f"{text}. {UNTOUCHED}")
        if len(skipped) == skip_bad:
            before = f" ({skip_bad} bad lines before it were left out)" if skip_bad else ""
            raise DataError(f"{text}{before}. {UNTOUCHED}; correct the line, or leave out up to N "
                            "bad lines per file with --skip-bad N")
        skipped.append(text)


def _place(file: SourceFile, folder: Path) -> Path:
    return folder / parquet_name(file.channel, file.process)


def _record(file: SourceFile, folder: Path) -> Path:
    """The report of a finished file: it is there while the import goes on."""
    return _place(file, folder).with_suffix(".json")


def _finished(file: SourceFile, folder: Path, skip_bad: int) -> FileReport | None:
    """The report of a file that an interrupted import finished, if the file is still the same."""
    try:
        kept = json.loads(_record(file, folder).read_text())
    except FileNotFoundError:
        return None
    made_from = kept.pop("source"), kept.pop("skip_bad")
    if made_from != (str(file.path), skip_bad) or kept["sha256"] != sha256(file.path):
        return None
    return FileReport(**kept | {"source": file.path, "skipped": tuple(kept["skipped"]),
                                "warnings": tuple(kept["warnings"])})


def _counted(found: list[SourceFile], finished: dict[SourceFile, FileReport],
             progress: Progress | None) -> Callable[[int, str], None]:
    """`progress` with the bytes since its last call in place of the bytes done."""
    sizes = {file: file.path.stat().st_size for file in found}
    total, done = sum(sizes.values()), sum(sizes[file] for file in finished)

    def count(size: int, name: str) -> None:
        nonlocal done
        done += size
        if progress:
            progress(done, total, name)

    return count


def _warnings(file: SourceFile, count: int, unusual: NDArray[np.int64]) -> tuple[str, ...]:
    published = COUNTS[file.channel].get(file.process)
    found = [f"{number} {text}" for number, text in zip(unusual, UNUSUAL, strict=True) if number]
    if published is None:
        found.append("not one of the published signals of this channel")
    elif count != published:
        found.append(f"{count} events, the published file has {published}")
    return tuple(found)


def _facts(report: FileReport) -> dict[str, Any]:
    return {"channel": report.channel, "process": report.process, "events": report.events,
            "objects": report.objects, "source": report.source.name, "source_sha256": report.sha256,
            "skipped": [fault.rpartition("/")[2] for fault in report.skipped],
            "warnings": list(report.warnings)}
