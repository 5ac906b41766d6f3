"""Events of one file: the same from text, gzip and Parquet, and every fault with its place."""

from __future__ import annotations

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scanner.datasets import open_dataset, read, read_file
from scanner.datasets.darkmachines import write_text
from scanner.datasets.files import SAMPLE
from scanner.errors import DataError
from scanner.events import Events

PARQUET = SAMPLE / "chan3" / "monotop_200_A.parquet"
LINE = "1;s;1;200000;0.5;j,300000,250000,0.1,0.2;\n"


@pytest.fixture(scope="module")
def events():
    return read(open_dataset("sample"), "3", "monotop_200_A")


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name))
               for name in Events.__dataclass_fields__)  # fmt: skip


def test_text_gzip_and_parquet_give_the_events_of_the_dataset(events, tmp_path):
    write_text(events, tmp_path / "new.csv")
    zipped = tmp_path / "new.csv.gz"
    zipped.write_bytes(gzip.compress((tmp_path / "new.csv").read_bytes()))
    for path in (PARQUET, tmp_path / "new.csv", zipped):
        assert same(read_file(path), events), path.name


def test_the_blocks_of_a_long_file_are_one(events, tmp_path, monkeypatch):
    write_text(events, tmp_path / "new.csv")
    monkeypatch.setattr("scanner.datasets.pieces.PIECE_BYTES", 20_000)
    assert same(read_file(tmp_path / "new.csv"), events)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.csv: no event in it; expected the challenge's text"),
        (LINE.encode() * 3 + b"1;s;1;200\n", r"x.csv:4: 4 fields where an event has 5.*correct"),
        (LINE.replace("j,3", "q,3").encode(), r"x.csv:1: object 1 has the unknown code 'q'"),
        (LINE.encode() + LINE.encode().replace(b"\n", b"\r\n"), r"x.csv:2: Windows line ends"),
        (LINE.encode() + b"\xff\xfe\x00\n", r"x.csv:2: byte 0xff in column 1"),
        (b"PAR1 and no more", "x.csv: not a readable Parquet file"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_error(tmp_path, content, message):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_file(tmp_path / "x.csv")
    assert "imported" not in str(caught.value)


def test_parquet_of_other_columns_is_named(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x.parquet: event table: schema version none"):
        read_file(tmp_path / "x.parquet")


@pytest.mark.parametrize("name", ["absent.csv", "."])
def test_no_file_is_named(tmp_path, name):
    with pytest.raises(DataError, match=r"(No such file|Is a directory).*; expected the challenge"):
        read_file(tmp_path / name)
