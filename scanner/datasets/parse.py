"""The Dark Machines text format (arXiv:2105.14027): whole blocks of lines to events, and back.

One event per line: ``event ID;process ID;weight;MET;METphi;`` and then ``code,E,pT,eta,phi;`` for
each object, MeV and radians. Header and object both have five tokens, so a block of lines is a
matrix of tokens with five columns, and its separators alone decide whether it is well formed.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scanner.errors import DataError
from scanner.events import KIND_CODE, Events, sort_objects

BLOCK_BYTES = 8 << 20
CODES = KIND_CODE | {"mu+": KIND_CODE["m+"], "mu-": KIND_CODE["m-"], "a": KIND_CODE["g"]}
MEV_PER_GEV = 1000.0
HEADER = "event ID;process ID;weight;MET;METphi"
OBJECT = "code,E,pT,eta,phi"
COMMA, SEMICOLON, LINE_FEED = b",;\n"
_CODE_WORDS = pa.array(list(CODES))
_CODE_NUMBERS = np.array(list(CODES.values()), np.int8)


class Block(NamedTuple):
    """Whole lines of a file.

    Attributes:
        first_line: Number of the first line, from 1.
        text: The lines; only the last line of a file can lack its line end.
        position: Bytes of the file read so far (compressed bytes of a ``.gz``).
    """

    first_line: int
    text: bytes
    position: int


def blocks(path: Path) -> Iterator[Block]:
    """A ``.csv`` or ``.csv.gz`` file in blocks of whole lines, in constant memory.

    Raises:
        DataError: The gzip stream is damaged or ends early, or a line is longer than a block.
    """
    line, pending = 1, bytearray()
    with path.open("rb") as raw:
        stream = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        try:
            while piece := stream.read1(BLOCK_BYTES):
                pending += piece
                if len(pending) >= BLOCK_BYTES:
                    block = Block(line, _cut(pending, path, line), raw.tell())
                    yield block
                    line += block.text.count(b"\n")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            line += pending.count(b"\n")
            raise DataError(f"{path}:{line}: the gzip stream is damaged or ends early ({error}); "
                            "fetch the file again. Nothing was imported") from error
    if pending:
        yield Block(line, bytes(pending), path.stat().st_size)


def parse(text: bytes) -> Events:
    """The events of whole lines, objects sorted, MeV converted to GeV.

    Numbers are rounded correctly: text to float64, divided in float64, then float32.

    Raises:
        ValueError: A line is malformed; `bad_lines` finds which and `diagnose` says why.
    """
    if not text.isascii():
        text.decode()
    stops, header = _layout(text)
    values, words = _tokens(text, stops, header)
    objects = values[~header, 1:]
    kind = pc.index_in(words.take(pa.array(np.flatnonzero(~header) * 5)), _CODE_WORDS)
    if kind.null_count:
        raise ValueError("unknown object code")
    weight, met, met_phi = values[header, 2:].T
    energy, pt, eta, phi = objects.T
    rows = np.flatnonzero(header)
    offsets = np.append(rows, len(header)) - np.arange(len(rows) + 1)
    return sort_objects(Events(
        _words(words, rows * 5 + 1), _words(words, rows * 5), _weight(weight),
        _magnitude(met), _single(met_phi), offsets, _CODE_NUMBERS[np.asarray(kind)],
        _magnitude(energy), _magnitude(pt), _single(eta), _single(phi)))


def bad_lines(lines: list[bytes], first: int = 0) -> Iterator[int]:
    """Index of each line that `parse` refuses, in order, found by halving."""
    try:
        parse(b"".join(lines))
    except ValueError:
        if len(lines) == 1:
            yield first
            return
        half = len(lines) // 2
        yield from bad_lines(lines[:half], first)
        yield from bad_lines(lines[half:], first + half)


def diagnose(line: bytes) -> str:
    """Why `parse` refuses a line, in words."""
    if not line.endswith(b"\n"):
        return "the file ends inside this line (if it is complete, add a line end)"
    try:
        text = line.decode().removesuffix("\n").removesuffix(";")
    except UnicodeDecodeError as error:
        return f"byte 0x{line[error.start]:02x} in column {error.start + 1} is not UTF-8 text"
    fields = text.split(";")
    if not text:
        return "the line is empty"
    if len(fields) < 5:
        return f"{len(fields)} fields where an event has 5 ({HEADER}) and its objects"
    if len(fields) == 5:
        return "the event has no object"
    faults = [_header_fault(fields[:5])]
    faults += [_object_fault(number, field) for number, field in enumerate(fields[5:], 1)]
    return next(filter(None, faults), "the line cannot be read as an event")


def _cut(pending: bytearray, path: Path, line: int) -> bytes:
    """The whole lines of `pending`, which keeps the rest."""
    cut = pending.rfind(b"\n") + 1
    if not cut:
        raise DataError(f"{path}:{line}: no line end in {len(pending)} bytes; this is not a file "
                        f"of events ({HEADER};{OBJECT};...). Nothing was imported")
    text = bytes(pending[:cut])
    del pending[:cut]
    return text


def _layout(text: bytes) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Token boundaries in the text without separators (T + 1,); which rows are headers (T / 5,)."""
    characters = np.frombuffer(text, np.uint8)
    places = np.flatnonzero((characters == COMMA) | (characters == SEMICOLON)
                            | (characters == LINE_FEED))
    separators, stops = characters[places], places - np.arange(len(places))
    trailing = (separators[:-1] == SEMICOLON) & (separators[1:] == LINE_FEED) & (
        stops[:-1] == stops[1:])
    kept = np.append(~trailing, True)
    separators, stops = separators[kept], np.append(0, stops[kept]).astype(np.int32)
    if not text.endswith(b"\n") or len(separators) % 5:
        raise ValueError("token count")
    rows = separators.reshape(-1, 5)
    header = np.roll(rows[:, 4] == LINE_FEED, 1)
    if (rows[header] != SEMICOLON).any() or (rows[~header, :4] != COMMA).any() or (
            rows[:, 4] == COMMA).any():
        raise ValueError("token layout")
    return stops, header


def _tokens(text: bytes, stops: NDArray[np.int32], header: NDArray[np.bool_]
            ) -> tuple[NDArray[np.float64], pa.Array]:
    """Every number as (T / 5, 5) float64, undefined where the token is a word; tokens as text."""
    number = np.ones((len(header), 5), bool)
    number[:, 0] = False
    number[header, 1] = False
    tight = [pa.py_buffer(stops), pa.py_buffer(text.translate(None, b",;\n"))]
    valid = pa.py_buffer(np.packbits(number, bitorder="little"))
    words = pa.StringArray.from_buffers(number.size, *tight)
    numbers = pa.StringArray.from_buffers(number.size, *tight, valid).cast(pa.float64())
    return np.frombuffer(numbers.buffers()[1], np.float64, number.size).reshape(-1, 5), words


def _words(tokens: pa.Array, index: NDArray[np.int64]) -> NDArray[np.object_]:
    encoded = tokens.take(pa.array(index)).dictionary_encode()
    return np.array(encoded.dictionary.to_pylist(), object)[np.asarray(encoded.indices)]


def _single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if not np.isfinite(single).all():
        raise ValueError("not finite")
    return single


def _weight(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _single(values)
    return values


def _magnitude(values: NDArray[np.float64]) -> NDArray[np.float32]:
    if (values < 0).any():
        raise ValueError("negative")
    return _single(values / MEV_PER_GEV)


def _header_fault(fields: list[str]) -> str:
    for name, word in zip(("event ID", "process ID"), fields[:2], strict=True):
        if "," in word:
            return f"{name} {word!r} holds a comma"
    faults = [_number_fault(name, token) for name, token
              in zip(("weight", "MET", "METphi"), fields[2:], strict=True)]
    return next(filter(None, faults), "")


def _object_fault(number: int, field: str) -> str:
    code, *tokens = field.split(",")
    if len(tokens) != 4:
        return f"object {number} ({field!r}) has {len(tokens) + 1} tokens, not 5 ({OBJECT})"
    if code not in CODES:
        return f"object {number} has the unknown code {code!r}; known: {', '.join(CODES)}"
    faults = [_number_fault(f"{name} of object {number}", token)
              for name, token in zip(("E", "pT", "eta", "phi"), tokens, strict=True)]
    return next(filter(None, faults), "")


def _number_fault(name: str, token: str) -> str:
    try:
        value = pa.scalar(token).cast(pa.float64()).as_py()
    except pa.ArrowInvalid:
        return f"{name} is {token!r}, not a number"
    if not abs(value) <= np.finfo(np.float32).max:
        return f"{name} is {token}, not a finite number"
    if value < 0 and name.startswith(("MET", "E ", "pT")) and name != "METphi":
        return f"{name} is {token}, below zero"
    return ""
