"""The Dark Machines text format (arXiv:2105.14027): whole blocks of lines to events, and back.

One event per line: ``event ID;process ID;weight;MET;METphi;`` and then ``code,E,pT,eta,phi;`` for
each object, MeV and radians. Header and object both have five tokens, so a block of lines is a
matrix of tokens with five columns, and its separators alone decide whether it is well formed.
"""

from __future__ import annotations

import gzip
import re
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
    """

    first_line: int
    text: bytes


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
                    rest = _rest(pending, path, line)
                    yield Block(line, bytes(pending))
                    line += _line_ends(pending)
                    pending = rest
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            line += _line_ends(pending)
            raise DataError(f"{path}:{line}: the gzip stream is damaged or ends early ({error}); "
                            "fetch the file again") from error
    if pending:
        yield Block(line, bytes(pending))


def parse(text: bytes) -> Events:
    """The events of whole lines, objects sorted, MeV converted to GeV.

    Numbers are rounded correctly: text to float64, divided in float64, then float32.

    Raises:
        ValueError: A line is malformed; `bad_lines` finds which and `diagnose` says why.
    """
    if not text.isascii():
        text.decode()
    if not text.endswith(b"\n"):
        raise ValueError("no line end")
    stops, ends = _separators(text)
    if len(ends) != _line_ends(text):  # the last `;` of a line is optional
        text = re.sub(rb"(?<!;)\n", b";\n", text)
        stops, ends = _separators(text)
    header = _layout(text, stops, ends)
    values, words = _tokens(text, stops, header)
    rows, objects = np.flatnonzero(header), values[~header, 1:].T
    weight, met, met_phi = values[header, 2:].T
    return sort_objects(Events(
        _words(words, rows * 5 + 1), _words(words, rows * 5), _weight(weight),
        _magnitude(met), _single(met_phi),
        np.append(rows, len(header)) - np.arange(len(rows) + 1),
        _kinds(words, np.flatnonzero(~header) * 5),
        *(_magnitude(column) for column in objects[:2]), *map(_single, objects[2:])))


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


def _line_ends(text: bytes | bytearray) -> int:
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == LINE_FEED))


def _rest(pending: bytearray, path: Path, line: int) -> bytearray:
    """What follows the last line end of `pending`, which loses it."""
    cut = pending.rfind(b"\n") + 1
    if not cut:
        raise DataError(f"{path}:{line}: no line end in {len(pending)} bytes; this is not a file "
                        f"of events ({HEADER};{OBJECT};...)")
    rest = pending[cut:]
    del pending[cut:]
    return rest


def _separators(text: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Place of every separator (T,), and which of them end a line (N,)."""
    characters = np.frombuffer(text, np.uint8)
    stops = np.flatnonzero((characters == COMMA) | (characters == SEMICOLON))
    return stops, np.flatnonzero(characters[stops + 1] == LINE_FEED)


def _layout(text: bytes, stops: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each row of five tokens is a header (T / 5,); the others are objects."""
    if (ends % 5 != 4).any():
        raise ValueError("number of tokens")
    header = np.zeros(len(stops) // 5, bool)
    header[0] = True
    header[ends[:-1] // 5 + 1] = True
    comma = (np.frombuffer(text, np.uint8)[stops] == COMMA).reshape(-1, 5)
    if (comma[:, :4] == header[:, None]).any() or comma[:, 4].any() or header[ends // 5].any():
        raise ValueError("order of separators")
    return header


def _tokens(text: bytes, stops: NDArray[np.int64], header: NDArray[np.bool_]
            ) -> tuple[NDArray[np.float64], pa.Array]:
    """Numbers as (T / 5, 5) float64, undefined where the token is a word, and all text (2 T,).

    Tokens and separators alternate in the text, so that Arrow reads it in place.
    """
    bounds = np.zeros(2 * len(stops) + 1, np.int32)
    bounds[1::2] = stops
    bounds[2::2] = stops + 1
    bounds[10 * np.flatnonzero(header)[1:]] += 1  # the line feed
    number = np.zeros((len(header), 5, 2), bool)
    number[:, 1:, 0] = True
    number[header, 1, 0] = False
    valid = pa.py_buffer(np.packbits(number, bitorder="little"))
    buffers = [pa.py_buffer(bounds), pa.py_buffer(text)]
    words = pa.StringArray.from_buffers(number.size, *buffers)
    numbers = pa.StringArray.from_buffers(number.size, *buffers, valid).cast(pa.float64())
    values = np.frombuffer(numbers.buffers()[1], np.float64, number.size)
    return values.reshape(-1, 5, 2)[:, :, 0], words


def _words(words: pa.Array, tokens: NDArray[np.int64]) -> NDArray[np.object_]:
    encoded = words.take(pa.array(2 * tokens)).dictionary_encode()
    distinct: NDArray[np.object_] = np.array(encoded.dictionary.to_pylist(), object)
    indices: NDArray[np.int32] = np.asarray(encoded.indices)
    return distinct[indices]


def _kinds(words: pa.Array, tokens: NDArray[np.int64]) -> NDArray[np.int8]:
    known = pc.index_in(words.take(pa.array(2 * tokens)), _CODE_WORDS)
    if known.null_count:
        raise ValueError("unknown object code")
    numbers: NDArray[np.int32] = np.asarray(known)
    return _CODE_NUMBERS[numbers]


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
    if not abs(value) <= float(np.finfo(np.float32).max):
        return f"{name} is {token}, not a finite number"
    if value < 0 and name.startswith(("MET", "E ", "pT")) and name != "METphi":
        return f"{name} is {token}, below zero"
    return ""
