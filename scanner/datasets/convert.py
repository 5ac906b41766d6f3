"""From text to Parquet: the pieces of all files, parsed by one process or several, in order."""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scanner.datasets.files import BACKGROUND
from scanner.datasets.parse import bad_lines, diagnose, line_ends, parse_words
from scanner.datasets.pieces import EndlessLine, Fault, Piece, blocks, pieces
from scanner.datasets.published import ROUNDING, outside_selection
from scanner.errors import DataError
from scanner.events import KINDS, Events, Words, multiplicity, to_table

UNUSUAL = ("events miss the channel's MET, HT selection",
           "background events have a weight other than 1 (kept, and not used in training)",
           "objects have E below pT", "azimuths lie outside (-pi, pi]")
HASH_BYTES = 1 << 20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, KEPT_BYTES = -1, -3, 64 << 20
Task = TypeVar("Task")
Made = TypeVar("Made")


class SourceFile(NamedTuple):
    """A text file, its channel and its process (`background` or a signal's name)."""

    path: Path
    channel: str
    process: str


class Part(NamedTuple):
    """What became of a piece of a file.

    Attributes:
        piece: The piece, without its text.
        table: The events with `EVENT_SCHEMA`, or nothing where there is none.
        lines: Number of lines, the bad ones too.
        text_bytes: Bytes of text, uncompressed.
        objects: Number of objects of each kind (7,).
        unusual: Counts of what `UNUSUAL` names.
        faults: The first bad lines, one more than may be left out at most.
    """

    piece: Piece
    table: pa.Table | None
    lines: int
    text_bytes: int
    objects: NDArray[np.int64]
    unusual: NDArray[np.int64]
    faults: tuple[Fault, ...]


def parts(files: Iterable[SourceFile], skip_bad: int, cpus: int) -> Generator[Part]:
    """All pieces of all files, converted, in order; they are the same whatever `cpus` is.

    Args:
        files: The text files.
        skip_bad: Bad lines of a piece that are left out.
        cpus: Processes that parse; with 1 it is this one.

    Raises:
        DataError: A process was killed.
    """
    tasks = ((file, piece, skip_bad) for file in files for piece in pieces(file.path))
    return _in_order(convert, tasks, cpus)


def convert(task: tuple[SourceFile, Piece, int]) -> Part:
    """The events of one piece of a file."""
    file, piece, skip_bad = task
    faults, tables, lines, size = list[Fault](), list[pa.Table](), 0, 0
    objects, unusual = np.zeros(len(KINDS), np.int64), np.zeros(len(UNUSUAL), np.int64)
    try:
        for block in blocks(piece):
            parsed = _events(block, lines, skip_bad - len(faults), faults)
            if len(faults) > skip_bad or (faults and faults[-1].fatal):
                break
            lines, size = lines + line_ends(block), size + len(block)
            if parsed:
                tables.append(to_table(*parsed))
                objects += multiplicity(parsed[0]).sum(axis=0)
                unusual += _unusual(file, parsed[0])
        else:
            faults += [piece.fault] if piece.fault else []
    except EndlessLine as error:
        faults.append(Fault(lines, str(error), fatal=True))
    table = pa.concat_tables(tables).unify_dictionaries().combine_chunks() if tables else None
    bare = piece._replace(text=None)
    return Part(bare, table, lines, size, objects, unusual, tuple(faults))


class SourceHash:
    """sha256 of a file, read as far as its pieces have been taken."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("rb")
        self._sha256 = hashlib.sha256()

    def __enter__(self) -> SourceHash:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def read_to(self, stop: int) -> None:
        """Take in the bytes up to `stop`."""
        while text := self._stream.read(min(stop - self._stream.tell(), HASH_BYTES)):
            self._sha256.update(text)

    @property
    def sha256(self) -> str:
        """The sha256 of all that was read, hexadecimal."""
        return self._sha256.hexdigest()


def _events(block: bytes, first: int, skip_bad: int, faults: list[Fault]
            ) -> tuple[Events, Words] | None:
    """The events of whole lines; bad lines are added to `faults`, `skip_bad` + 1 at most."""
    if b"\r" in block:
        reason = ("Windows line ends (CR LF), where the format has LF; convert the file, for "
                  "instance with dos2unix")
        line = block.count(b"\n", 0, block.index(b"\r"))
        faults.append(Fault(first + line, reason, fatal=True))
        return None
    try:
        return parse_words(block)
    except ValueError:
        lines = block.splitlines(keepends=True)
    for count, index in enumerate(bad_lines(lines)):
        faults.append(Fault(first + index, diagnose(lines[index])))
        if count == skip_bad:
            return None
        lines[index] = b""
    return parse_words(b"".join(lines)) if any(lines) else None


def _unusual(file: SourceFile, events: Events) -> NDArray[np.int64]:
    """Counts of what `UNUSUAL` names."""
    weighted = (events.weight != 1.0) & (file.process == BACKGROUND)
    return np.array([
        outside_selection(file.channel, events).sum(), weighted.sum(),
        (events.energy < events.pt * (1.0 - ROUNDING)).sum(),
        (np.abs(np.append(events.phi, events.met_phi)) > np.pi + ROUNDING).sum()])


def _in_order(function: Callable[[Task], Made], tasks: Iterable[Task], cpus: int
              ) -> Generator[Made]:
    """`function` of each task, in order, with few tasks in flight so that memory is bounded."""
    if cpus == 1:
        _keep_freed_memory()
        yield from map(function, tasks)
        return
    waiting: deque[Future[Made]] = deque()
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(cpus, spawn, _end_with_parent) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(function, task))
                if len(waiting) > 2 * cpus:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise DataError("a process of the import was killed, by a lack of memory perhaps; "
                            "import again with fewer --cpus. Nothing was imported") from error
        finally:
            for future in waiting:
                future.cancel()


def _end_with_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it ends, even if it is killed."""
    _keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_wait_and_kill, args=(parent.sentinel,), daemon=True).start()


def _keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next block, or the kernel clears every page anew."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(parameter, KEPT_BYTES)


def _wait_and_kill(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
