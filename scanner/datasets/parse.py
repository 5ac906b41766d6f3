"""The Dark Machines text format (arXiv:2105.14027): whole blocks of lines to events, and back.

One event per line: ``event ID;process ID;weight;MET;METphi;`` and then ``code,E,pT,eta,phi;`` for
each object, MeV and radians. Header and object both have five tokens, so a block of lines is a
matrix of tokens with five columns, and its separators alone decide whether it is well formed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scanner.events import KIND_CODE, Events, Words, sort_objects

CODES = KIND_CODE | {"mu+": KIND_CODE["m+"], "mu-": KIND_CODE["m-"], "a": KIND_CODE["g"]}
MEV_PER_GEV = 1000.0
HEADER = "event ID;process ID;weight;MET;METphi"
OBJECT = "code,E,pT,eta,phi"
COMMA, SEMICOLON, LINE_FEED = b",;\n"
STRIDE = 1 << 19  # what is compared byte by byte stays in a core's caches
_CODE_WORDS = pa.array(list(CODES))
_CODE_NUMBERS = np.array(list(CODES.values()), np.int8)
_PAIR_LENGTH, _PAIR_NUMBER = np.full((2, 1 << 16), -1, np.int8)  # by a code's first two bytes
for _word, _number in CODES.items():
    if len(_word) <= 2:
        _pair = int.from_bytes((_word + ",")[:2].encode(), "little")
        _PAIR_LENGTH[_pair], _PAIR_NUMBER[_pair] = len(_word), _number


def parse(text: bytes) -> Events:
    """The events of whole lines, objects sorted, MeV converted to GeV.

    Numbers are rounded correctly: text to float64, divided in float64, then float32.

    Raises:
        ValueError: A line is malformed; `bad_lines` finds which and `diagnose` says why.
    """
    return parse_words(text)[0]


def parse_words(text: bytes) -> tuple[Events, Words]:
    """What `parse` returns, and the words as an event table has them."""
    if not text.isascii():
        text.decode()
    if not text.endswith(b"\n"):
        raise ValueError("no line end")
    stops, ends = _separators(text)
    if len(ends) != line_ends(text):  # the last `;` of a line is optional
        text = re.sub(rb"(?<!;)\n", b";\n", text)
        stops, ends = _separators(text)
    header = _layout(text, stops, ends)
    rows, body = np.flatnonzero(header), np.flatnonzero(~header)
    values, words = _tokens(text, stops, rows)
    weight, met, met_phi = (values[rows, column] for column in (2, 3, 4))
    energy, pt, eta, phi = (values[:, column][body] for column in (1, 2, 3, 4))
    process, event_id = encoded = _words(text, stops, 5 * rows)
    events = sort_objects(Events(
        _objects(process), _objects(event_id), _weight(weight), _magnitude(met), _single(met_phi),
        np.append(rows, len(header)) - np.arange(len(rows) + 1),
        _kinds(text, stops, 5 * body, words),
        _magnitude(energy), _magnitude(pt), _single(eta), _single(phi)))
    return events, encoded


def line_ends(text: bytes) -> int:
    """The number of line ends, which numpy counts several times faster than `bytes.count`."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == LINE_FEED))


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


def _separators(text: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Place of every separator (T,), and which of them end a line (N,)."""
    characters = np.frombuffer(text, np.uint8)
    parts = [characters[start:start + STRIDE] for start in range(0, len(text), STRIDE)]
    stops = np.concatenate([STRIDE * number + np.flatnonzero((part == COMMA) | (part == SEMICOLON))
                            for number, part in enumerate(parts)])
    return stops, np.flatnonzero(characters[stops + 1] == LINE_FEED)


def _layout(text: bytes, stops: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each row of five tokens is a header (T / 5,); the others are objects."""
    if (ends % 5 != 4).any():
        raise ValueError("number of tokens")
    header = np.zeros(len(stops) // 5, bool)
    header[0] = True
    header[ends[:-1] // 5 + 1] = True
    comma = (np.frombuffer(text, np.uint8)[stops] == COMMA).reshape(-1, 5)
    ordered = all((column != header).all() for column in comma.T[:4])
    if not ordered or comma[:, 4].any() or header[ends // 5].any():
        raise ValueError("order of separators")
    return header


def _tokens(text: bytes, stops: NDArray[np.int64], rows: NDArray[np.int64]
            ) -> tuple[NDArray[np.float64], pa.Array]:
    """Numbers as (T / 5, 5) float64, undefined where the token is a word, and all text (2 T,).

    Tokens and separators alternate in the text, so that Arrow reads it in place; `rows` are those
    that are headers.
    """
    bounds = np.empty(2 * len(stops) + 1, np.int32)
    bounds[0], bounds[1::2] = 0, stops
    np.add(bounds[1::2], 1, out=bounds[2::2])
    bounds[10 * rows[1:]] += 1  # the line feed
    number = np.zeros((len(stops) // 5, 10), bool)
    for column in (2, 4, 6, 8):
        number[:, column] = True
    number[rows, 2] = False
    valid = pa.py_buffer(np.packbits(number, bitorder="little"))
    buffers = [pa.py_buffer(bounds), pa.py_buffer(text)]
    words = pa.StringArray.from_buffers(number.size, *buffers)
    numbers = pa.StringArray.from_buffers(number.size, *buffers, valid).cast(pa.float64())
    values = np.frombuffer(numbers.buffers()[1], np.float64, number.size)
    return values.reshape(-1, 5, 2)[:, :, 0], words


def _words(text: bytes, stops: NDArray[np.int64], first: NDArray[np.int64]) -> Words:
    """Process ID and event ID of each line, from the numbers of their first separators.

    A line is four words to Arrow, which reads the text in place: the event ID, a separator, the
    process ID and the rest; the second and the last count as missing.
    """
    bounds = np.full(4 * len(first) + 1, len(text), np.int32)
    bounds[0:-1:4] = stops[first - 1] + 2
    bounds[0] = 0
    bounds[1::4], bounds[2::4], bounds[3::4] = stops[first], stops[first] + 1, stops[first + 1]
    wanted = pa.py_buffer(b"\x55" * (len(first) // 2 + 1))
    encoded = pa.StringArray.from_buffers(
        4 * len(first), pa.py_buffer(bounds), pa.py_buffer(text), wanted).dictionary_encode()
    numbers = np.frombuffer(encoded.indices.buffers()[1], np.int32, 4 * len(first))
    return (_dictionary(numbers[2::4], encoded.dictionary),
            _dictionary(numbers[0::4], encoded.dictionary))


def _dictionary(numbers: NDArray[np.int32], words: pa.StringArray) -> pa.DictionaryArray:
    """A column of words, without the words that are not in it."""
    used = np.zeros(len(words), bool)
    used[numbers] = True
    renumbered = (np.cumsum(used, dtype=np.int32) - 1)[numbers]
    return pa.DictionaryArray.from_arrays(renumbered, words.filter(pa.array(used)))


def _objects(words: pa.DictionaryArray) -> NDArray[np.object_]:
    distinct: NDArray[np.object_] = np.array(words.dictionary.to_pylist(), object)
    numbers: NDArray[np.int32] = np.asarray(words.indices)
    return distinct[numbers]


def _kinds(text: bytes, stops: NDArray[np.int64], first: NDArray[np.int64], words: pa.Array
           ) -> NDArray[np.int8]:
    """Kind of each object, from the numbers of their first separators."""
    characters, start = np.frombuffer(text, np.uint8), stops[first - 1] + 1
    pair = characters[start] + (characters[start + 1].astype(np.uint16) << 8)
    if (stops[first] - start == _PAIR_LENGTH[pair]).all():
        kinds: NDArray[np.int8] = _PAIR_NUMBER[pair]
        return kinds
    known = pc.index_in(words.take(pa.array(2 * first)), _CODE_WORDS)
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
