"""Events of one file that is no dataset: the challenge's text, or Parquet with the event schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.datasets.convert import SourceFile, parts
from scanner.datasets.published import CHANNELS
from scanner.errors import DataError
from scanner.events import Events, from_table

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
    tables = [_table(path)] if mark == PARQUET_MARK else list(_text_tables(path))
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


def _text_tables(path: Path) -> Iterator[pa.Table]:
    lines, no_channel = 0, SourceFile(path, CHANNELS[0], "")  # its selection is not looked at
    for part in parts([no_channel], skip_bad=0, cpus=1):
        for fault in part.faults:
            advice = "" if fault.fatal else "; correct the line or take it out"
            raise DataError(f"{path}:{lines + fault.line + 1}: {fault.reason}{advice}")
        lines += part.lines
        if part.table:
            yield part.table
