"""The text parser against an independent slow one, on lines with every kind of damage.

`SCANNER_FUZZ_LINES=100000 pytest -s --hypothesis-seed=1 tests/test_parse.py` mutates as many lines
with this seed, and says how many of them were accepted; without, there are 3,000, new each time.
"""

import math
import os
import re
import struct
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scanner.datasets.convert import SourceFile, convert
from scanner.datasets.pieces import Piece
from scanner.events import from_table

LINES = int(os.environ.get("SCANNER_FUZZ_LINES", "3000"))
AT_ONCE = 20
SOURCE = [
    b"210;njets;1;231456;-0.87123;j,1.21003e+06,611204,1.30211,2.40711;b,404595,377216,-0.3,-0.7;",
    b"71;zw;1;64210.5;2.1;j,60058.6,41022.9,-0.9,0.2;e+,98502.6,71200.4,0.8,-1.7;e-,9,8,-0.09,1.3;",
    b"12;ttbarGam;2.44336e-05;118903;0.003;m+,52113.3,51277.2,0.18,-0.12;mu-,52113,5,0.1,-0.1;"
    b"g,66670.6,40210.7,-1.09211,2.66021;a,1,1,1,1",
    b"94;\xc3\xa9t;1;112288;1.74766;j,1,2,0,0;j,1,3,0,0;j,1,3,0.5,0;j,1,20,0,0;b,1,1,0,0;j,0,0,0,0;",
]
TOKENS = [b";", b",", b";;", b"\n", b"\r\n", b"-", b"+", b".", b"e", b"e5", b"E-3", b"e400",
          b"e-330", b"e38", b"nan", b"inf", b"-0", b"0x1", b"1_0", b" ", b"\t", b"\0", b"\xff",
          b"\xc3", b"j", b"mu+", b"a", b"m", b"e-", b"t", b"j,1,1,1,1;", b"1;p;1;1;1;",
          b"\xd9\xa1", b"9" * 40]
mutation = st.tuples(st.integers(0, 160), st.integers(0, 6),
                     st.one_of(st.sampled_from(TOKENS), st.binary(max_size=2)))
mutated_line = st.tuples(st.sampled_from(SOURCE), st.lists(mutation, max_size=3))
ending = st.sampled_from([b"\n", b"\n", b"\n", b""])

# The slow parser: plain Python, a line at a time, and nothing of the package

KIND = {"j": 1, "b": 2, "m+": 3, "mu+": 3, "m-": 4, "mu-": 4, "e+": 5, "e-": 6, "g": 7, "a": 7}
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def number(token, gev=False, magnitude=False):
    """A token in single precision; ValueError or OverflowError where it is no finite number."""
    if not NUMBER.fullmatch(token):
        raise ValueError(token)
    value = float(token)
    if math.isinf(value) or (magnitude and value < 0):
        raise ValueError(token)
    return struct.unpack("<f", struct.pack("<f", value / 1000 if gev else value))[0]


def read_object(text):
    code, energy, pt, eta, phi = text.split(",")
    return (KIND[code], number(energy, True, True), number(pt, True, True), number(eta),
            number(phi))


def slow(line):
    """Event ID, process, weight, MET, METphi and sorted objects of a line, or None."""
    try:
        text = line.decode()
        if not text.endswith("\n"):
            return None
        event_id, process, weight, met, met_phi, *objects = text[:-1].removesuffix(";").split(";")
        if "," in event_id + process or not objects:
            return None
        number(weight)
        made = sorted(map(read_object, objects), key=lambda o: (o[0], -o[2]))
        return (event_id, process, float(weight), number(met, True, True), number(met_phi), made)
    except (ValueError, KeyError, OverflowError):
        return None


def damaged(lines, last):
    """The bytes of mutated lines, the last of which may lack its end."""
    texts = []
    for base, edits in lines:
        text = bytearray(base)
        for start, length, noise in edits:
            text[start:start + length] = noise
        texts.append(bytes(text))
    return b"\n".join(texts) + last


def rows(table):
    """The events of a table in the slow parser's form."""
    if table is None:
        return []
    events = from_table(table)
    bounds = events.offsets.tolist()
    objects = list(zip(*(column.tolist() for column in (
        events.kind, events.energy, events.pt, events.eta, events.phi)), strict=True))
    return [(*scalars, objects[bounds[i]:bounds[i + 1]]) for i, scalars in enumerate(zip(
        events.event_id, events.process, events.weight.tolist(), events.met.tolist(),
        events.met_phi.tolist(), strict=True))]


def converted(text):
    """The whole import path of a text, with any number of bad lines left out."""
    piece = Piece(Path("x"), 0, 0, True, text)
    return convert((SourceFile(Path("x"), "3", "x"), piece, len(text)))


def check(text):
    """Compare both parsers on a text; the numbers of its lines and of the accepted ones."""
    lines = re.findall(rb"[^\n]*\n|[^\n]+", text)
    expected = [slow(line) for line in lines]
    good = [event for event in expected if event]
    part = converted(text)
    assert [fault.line for fault in part.faults] == [
        index for index, event in enumerate(expected) if event is None]
    assert rows(part.table) == good
    assert int(part.objects.sum()) == sum(len(event[-1]) for event in good)
    return len(lines), len(good)


def test_the_parser_agrees_with_a_slow_one_line_by_line():
    seen = []

    @settings(deadline=None, max_examples=max(1, LINES // AT_ONCE), database=None,
              suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(st.lists(mutated_line, min_size=AT_ONCE, max_size=AT_ONCE), ending)
    def fuzz(lines, last):
        text = damaged(lines, last)
        if b"\r" in text:
            fault = converted(text).faults[-1]
            assert (fault.line, fault.fatal) == (text[:text.index(b"\r")].count(b"\n"), True)
        seen.append(check(text.replace(b"\r", b"")))

    fuzz()
    lines, accepted = np.sum(seen, axis=0)
    assert lines >= 0.9 * LINES
    assert 0.1 < accepted / lines < 0.9  # damage that spares every line, or none, shows nothing
    print(f"{lines} lines, {accepted} of them accepted")


def test_the_slow_parser_reads_the_lines_it_mutates():
    assert all(slow(line + b"\n") for line in SOURCE)
    assert slow(SOURCE[3] + b"\n")[-1][0][2] == np.float32(0.02)
