"""Text files in pieces of whole lines, so that memory is bounded and processes can share a file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from scanner.datasets.parse import HEADER, OBJECT

PIECE_BYTES = 8 << 20
BLOCK_BYTES = 1 << 20  # what is parsed at once stays in a core's caches


class Fault(NamedTuple):
    """What is wrong with a line.

    Attributes:
        line: Its number inside the piece, from 0.
        reason: What is wrong, in words.
        fatal: Whether it cannot be left out.
    """

    line: int
    reason: str
    fatal: bool = False


class Piece(NamedTuple):
    """Consecutive whole lines of a file; all pieces of a file hold all its lines, in order.

    Attributes:
        path: The file.
        start: First byte of the file that this piece stands for.
        stop: The byte after; a plain file's piece holds the lines that begin between the two.
        last: Whether it is the file's last piece.
        text: The lines, where they cannot be read from the file by their place.
        fault: Why the file cannot be read on after these lines.
    """

    path: Path
    start: int
    stop: int
    last: bool
    text: bytes | None = None
    fault: Fault | None = None


class EndlessLine(Exception):
    """A line that is longer than any event is."""

    def __init__(self, size: int) -> None:
        super().__init__(f"no line end in {size} bytes; this is not a file of events "
                         f"({HEADER};{OBJECT};...)")


def pieces(path: Path) -> Iterator[Piece]:
    """A ``.csv`` file cut at multiples of `PIECE_BYTES`, or the text of a ``.csv.gz`` file."""
    if path.suffix == ".gz":
        yield from _unpacked(path)
        return
    size = path.stat().st_size
    for start in range(0, max(size, 1), PIECE_BYTES):
        stop = min(start + PIECE_BYTES, size)
        yield Piece(path, start, stop, stop == size)


def blocks(piece: Piece) -> Iterator[bytes]:
    """The lines of a piece in blocks of about `BLOCK_BYTES`; each ends with a line end.

    Only the last line of a file can lack it.

    Raises:
        EndlessLine: A line is longer than `PIECE_BYTES`.
    """
    stream, stop = _lines(piece)
    with stream:
        while block := stream.read(max(0, min(stop - stream.tell(), BLOCK_BYTES))):
            if not block.endswith(b"\n"):
                rest = stream.readline(PIECE_BYTES)
                if len(rest) == PIECE_BYTES and not rest.endswith(b"\n"):
                    raise EndlessLine(len(block) - block.rfind(b"\n") - 1 + len(rest))
                block += rest
            yield block


def _lines(piece: Piece) -> tuple[BinaryIO, int]:
    """The text of a piece from its first line on, and where its last line begins at the latest."""
    if piece.text is not None:
        return BytesIO(piece.text), len(piece.text)
    stream = piece.path.open("rb")
    if piece.start:  # a line begins behind a line end
        stream.seek(piece.start - 1)
        stream.readline(piece.stop - piece.start + 1)
    return stream, piece.stop


def _unpacked(path: Path) -> Iterator[Piece]:
    start, pending = 0, bytearray()
    with path.open("rb") as raw:
        stream, fault = gzip.GzipFile(fileobj=raw), None
        while True:
            try:
                part = stream.read1(PIECE_BYTES)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                reason = f"the gzip stream is damaged or ends early ({error}); fetch the file again"
                part, fault = b"", Fault(pending.count(b"\n"), reason, fatal=True)
            if not part:
                break
            pending += part
            if len(pending) >= PIECE_BYTES:
                cut = pending.rfind(b"\n") + 1
                if not cut:
                    fault = Fault(0, str(EndlessLine(len(pending))), fatal=True)
                    break
                yield Piece(path, start, raw.tell(), False, bytes(pending[:cut]))
                start, pending = raw.tell(), pending[cut:]
    if fault:
        del pending[pending.rfind(b"\n") + 1:]
    yield Piece(path, start, path.stat().st_size, True, bytes(pending), fault)
