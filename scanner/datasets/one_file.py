"""Events of one file that is no dataset: the challenge's text, or Parquet with the event schema."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.datasets.parse import Block, bad_lines, blocks, diagnose, parse
from scanner.errors import DataError
from scanner.events import Events, from_table, to_table

PARQUET_MARK = b"PAR1"
EXPECTED = "expected the challenge's text (.csv, .csv.gz) or Parquet with the event schema"


def read_file(path: Path) -> Events:
    """The events of a file, in its order; nothing is left out, and nothing is imported.

    Raises:
        DataError: No such file, no event, a malformed line (with its number), or another schema.
    """
    try:
        with path.open("rb") as stream:
            mark = stream.read(len(PARQUET_MARK))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {EXPECTED}") from error
    tables = [_table(path)] if mark == PARQUET_MARK else [
        to_table(_parsed(path, block)) for block in blocks(path)]
    if not sum(table.num_rows for table in tables):
        raise DataError(f"{path}: no event in it; {EXPECTED}")
    try:
        return from_table(pa.concat_tables(tables))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, read_dictionary=["process", "event_id"])
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: not a readable Parquet file ({error}); {EXPECTED}") from error


def _parsed(path: Path, block: Block) -> Events:
    if b"\r" in block.text:
        line = block.first_line + block.text.count(b"\n", 0, block.text.index(b"\r"))
        raise DataError(f"{path}:{line}: Windows line ends (CR LF), where the format has LF; "
                        "convert the file, for instance with dos2unix")
    try:
        return parse(block.text)
    except ValueError:
        lines = block.text.splitlines(keepends=True)
    index = next(bad_lines(lines))
    raise DataError(f"{path}:{block.first_line + index}: {diagnose(lines[index])}; correct the "
                    "line or take it out")
