"""Datasets on disk: one folder each, with ``dataset.json`` and one Parquet file per process."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.datasets.published import CHANNELS
from scanner.errors import DataError
from scanner.events import SCHEMA_VERSION, Events, from_table

INDEX = "dataset.json"
SAMPLE = Path(__file__).parent / "sample"
BACKGROUND = "background"
WORDS = ["process", "event_id"]


@dataclass(frozen=True)
class Dataset:
    """An imported dataset.

    Attributes:
        name: Name of its folder.
        path: The folder.
        channels: Signal names of each channel, sorted by name.
        digest: sha256 over the sha256 of every file.
    """

    name: str
    path: Path
    channels: dict[str, tuple[str, ...]]
    digest: str

    @property
    def text(self) -> str:
        """The channels and how many signals each has."""
        return ", ".join(f"{channel}: {len(signals)} signals"
                         for channel, signals in self.channels.items())


@dataclass(frozen=True)
class Damaged:
    """A dataset that cannot be opened.

    Attributes:
        name: Name of its folder.
        path: The folder.
        error: Why, and what to do.
    """

    name: str
    path: Path
    error: str

    @property
    def text(self) -> str:
        """What is wrong, in place of the channels."""
        return f"DAMAGED: {self.error}"


class Channels(Mapping[str, tuple[str, ...]]):
    """Name of each dataset -> its channels; a dataset is opened when it is asked for."""

    def __init__(self, root: Path | None = None) -> None:
        self._root = root
        self._datasets = _names(root)

    def __getitem__(self, name: str) -> tuple[str, ...]:
        if name not in self._datasets:
            raise KeyError(name)
        return tuple(open_dataset(name, self._root).channels)

    def __contains__(self, name: object) -> bool:
        return name in self._datasets

    def __iter__(self) -> Iterator[str]:
        return iter(self._datasets)

    def __len__(self) -> int:
        return len(self._datasets)


def data_root(root: Path | None = None) -> Path:
    """The folder of imported datasets: `root`, else $SCANNER_DATA, else ``./data``."""
    return root if root is not None else Path(os.environ.get("SCANNER_DATA", "data"))


def open_dataset(name: str, root: Path | None = None) -> Dataset:
    """The dataset `name`; ``sample`` is always the bundled one.

    Every file's presence and size is checked; `verify` checks the content.

    Raises:
        DataError: No such dataset, or its files are not what `dataset.json` says.
    """
    path = _folder(name, root)
    if not (path / INDEX).is_file():
        raise DataError(f"dataset {name!r}: not in {data_root(root)}; there is "
                        f"{', '.join(_names(root))}. Import it: scanner data import FOLDER "
                        f"--name {name} (another root: set SCANNER_DATA)")
    index = read_index(path)
    for file, entry in index["files"].items():
        _check_size(path / file, entry["bytes"], name)
    return Dataset(name, path, _channels(index), _digest(index))


def list_datasets(root: Path | None = None) -> list[Dataset | Damaged]:
    """The bundled sample and every dataset of the data root, by name, damaged ones too."""
    return [_opened_or_damaged(name, root) for name in _names(root)]


def read(dataset: Dataset, channel: str, process: str) -> Events:
    """The events of one process of a channel: `background`, or a signal's name.

    Raises:
        DataError: No such channel or process, a damaged file, or one of another schema version.
    """
    with _readable(dataset, _file(dataset, channel, process)) as file:
        return from_table(pq.read_table(file, read_dictionary=WORDS))


def count(dataset: Dataset, channel: str, process: str) -> int:
    """The number of events that `read` reads."""
    with _readable(dataset, _file(dataset, channel, process)) as file:
        return int(pq.read_metadata(file).num_rows)


def chunks(dataset: Dataset, channel: str, process: str, events: int) -> Iterator[Events]:
    """What `read` reads, in order, some events at a time so that memory is bounded."""
    with (_readable(dataset, _file(dataset, channel, process)) as path,
          pq.ParquetFile(path, read_dictionary=WORDS) as file):
        for batch in file.iter_batches(events):
            yield from_table(pa.Table.from_batches([batch]))


def processes(dataset: Dataset, channel: str) -> list[str]:
    """What `read` accepts in a channel: the background, where there is one, and the signals."""
    background = (dataset.path / parquet_name(channel, BACKGROUND)).is_file()
    return [BACKGROUND] * background + list(dataset.channels[channel])


def verify(dataset: Dataset) -> None:
    """Compare the sha256 of every file with `dataset.json`.

    Raises:
        DataError: Some files changed; it names them all.
    """
    files = read_index(dataset.path)["files"]
    changed = [file for file, entry in files.items()
               if sha256(dataset.path / file) != entry["sha256"]]
    if changed:
        raise DataError(f"dataset {dataset.name!r}: changed since the import: {', '.join(changed)} "
                        f"in {dataset.path}; import the dataset again")


def parquet_name(channel: str, process: str) -> str:
    """File of a process, relative to the dataset's folder."""
    return f"chan{channel}/{process}.parquet"


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parquet_options() -> dict[str, Any]:
    """Compression of the event table: words by dictionary, floats byte-split, then zstd."""
    lists = [f"object_{name}.list.element" for name in ("e", "pt", "eta", "phi")]
    return {"compression": "zstd", "write_statistics": False, "write_batch_size": 1 << 16,
            "use_dictionary": ["process", "event_id", "weight"],
            "column_encoding": dict.fromkeys(["met", "met_phi", *lists], "BYTE_STREAM_SPLIT")}


def write_index(folder: Path, source: str, files: dict[str, dict[str, Any]],
                origin: Mapping[str, str | int] | None = None) -> None:
    """Write `dataset.json`, which makes a folder a dataset.

    Args:
        folder: Folder that holds the files.
        source: Name of what was imported.
        files: Facts of each file, by `parquet_name`; size and sha256 are added here.
        origin: Where it was fetched from.
    """
    facts = {name: entry | {"bytes": (folder / name).stat().st_size,
                            "sha256": sha256(folder / name)} for name, entry in files.items()}
    index = {"schema_version": SCHEMA_VERSION, "source": source,
             "units": {"E, pT, MET": "GeV", "phi": "radians"},
             **({"origin": dict(origin)} if origin else {}), "files": facts}
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n")


def read_index(folder: Path) -> dict[str, Any]:
    """The content of `dataset.json`.

    Raises:
        DataError: It is not JSON, or of another schema version.
    """
    try:
        index: dict[str, Any] = json.loads((folder / INDEX).read_text())
        if (version := index["schema_version"]) != SCHEMA_VERSION:
            raise DataError(f"{folder / INDEX}: schema version {version}, this release reads "
                            f"{SCHEMA_VERSION}; import the dataset again")
        for entry in index["files"].values():
            _ = entry["channel"], entry["process"], entry["bytes"], entry["sha256"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{folder / INDEX}: not a dataset index ({error!r}); import the dataset "
                        "again") from error
    return index


def check_name(name: str, root: Path | None) -> Path:
    """The folder that a new dataset `name` may take; an older dataset there may be replaced.

    Raises:
        DataError: The name is reserved or no plain word, or the folder holds something else.
    """
    if name == SAMPLE.name:
        raise DataError("dataset name 'sample' is reserved for the bundled sample; choose another")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise DataError(f"dataset name {name!r}: use letters, digits, '.', '_' and '-', a letter "
                        "or digit first")
    folder = data_root(root) / name
    if folder.exists() and not (folder / INDEX).is_file():
        raise DataError(f"{folder}: exists and is not a dataset (no {INDEX}); choose another name "
                        "or move it away")
    return folder


def _opened_or_damaged(name: str, root: Path | None) -> Dataset | Damaged:
    try:
        return open_dataset(name, root)
    except DataError as error:
        return Damaged(name, _folder(name, root), str(error))


def _folder(name: str, root: Path | None) -> Path:
    return SAMPLE if name == SAMPLE.name else data_root(root) / name


def _names(root: Path | None) -> list[str]:
    found = (index.parent.name for index in data_root(root).glob(f"*/{INDEX}"))
    return sorted({SAMPLE.name, *(name for name in found if not name.startswith("."))})


def _file(dataset: Dataset, channel: str, process: str) -> Path:
    if channel not in dataset.channels:
        raise DataError(f"dataset {dataset.name!r}: no channel {channel!r}; it has "
                        f"{', '.join(dataset.channels)}")
    file = dataset.path / parquet_name(channel, process)
    if file.is_file():
        return file
    if process == BACKGROUND:
        raise DataError(f"dataset {dataset.name!r}: channel {channel} has no background; import a "
                        f"folder that holds chan{channel}/background_chan{channel}_*.csv")
    raise DataError(f"dataset {dataset.name!r}: channel {channel} has no signal {process!r}; it "
                    f"has {', '.join(dataset.channels[channel]) or 'none'}")


@contextmanager
def _readable(dataset: Dataset, file: Path) -> Iterator[Path]:
    """Say which file is damaged where Arrow cannot read it."""
    try:
        yield file
    except (OSError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise DataError(f"{file}: cannot be read ({reason}); import the dataset again (what else "
                        f"changed: scanner data inspect {dataset.name} --verify)") from error


def _check_size(file: Path, size: int, name: str) -> None:
    actual = file.stat().st_size if file.is_file() else None
    if actual != size:
        found = "missing" if actual is None else f"{actual} bytes, not {size}"
        raise DataError(f"dataset {name!r}: {file} is {found}; import the dataset again")


def _channels(index: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Signals by channel: the challenge's channels first, then others by name."""
    entries = index["files"].values()
    found = {entry["channel"] for entry in entries}
    return {channel: tuple(sorted(entry["process"] for entry in entries
                                  if entry["channel"] == channel
                                  and entry["process"] != BACKGROUND))
            for channel in sorted(found, key=lambda name: (name not in CHANNELS, name))}


def _digest(index: dict[str, Any]) -> str:
    lines = sorted(f"{file} {entry['sha256']}\n" for file, entry in index["files"].items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()
