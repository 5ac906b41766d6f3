"""The published datasets from Zenodo: download, check, unpack, import."""

from __future__ import annotations

import fcntl
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from scanner.datasets.darkmachines import import_folder
from scanner.datasets.download import Progress, Refused, Resumable, Unreachable, get_json
from scanner.datasets.files import Dataset, check_name, data_root, open_dataset
from scanner.datasets.import_report import ImportReport
from scanner.datasets.published import CHANNEL_FOLDERS
from scanner.datasets.unpack import need_space, unpacked
from scanner.errors import DataError, DiskError

ZENODO = "https://zenodo.org"
NOT_PUBLISHED = "none published"


class Record(NamedTuple):
    """A record of Zenodo, its archive of text files, and the folder that holds them inside."""

    number: int
    archive: str
    folder: str


RECORDS = {
    "darkmachines": Record(3961917, "training_files.tar", "training_files"),
    "darkmachines-secret": Record(4443151, "secret_data.tar", "."),
}


class Published(NamedTuple):
    """What the record says of its archive."""

    size: int | None
    checksum: str | None


@dataclass(frozen=True)
class Fetched:
    """What a fetch did.

    Attributes:
        dataset: The dataset, ready to use.
        imported: The report of its import; None if it was there already.
        origin: Where it came from, as `dataset.json` holds it.
    """

    dataset: Dataset
    imported: ImportReport | None
    origin: Mapping[str, str | int]

    @property
    def text(self) -> str:
        """What to tell the user."""
        if self.imported is None:
            return (f"dataset {self.dataset.name}: there already, in {self.dataset.path}; to fetch "
                    "it again, delete that folder")
        checked = self.origin["published_checksum"]
        seal = (f"not checked: the record publishes no checksum. sha256: {self.origin['sha256']}"
                if checked == NOT_PUBLISHED else f"agrees with the published checksum {checked}")
        return (f"{self.imported.text}\n{self.origin['archive']}: {self.origin['bytes']} bytes, "
                f"{seal}\nCite {self.origin['doi']} and arXiv:2105.14027")


def fetch(name: str, root: Path | None = None, *, server: str = ZENODO, cpus: int = 1,
          progress: Progress | None = None) -> Fetched:
    """Bring a published dataset; after any interruption the same call goes on.

    Args:
        name: Key of `RECORDS`, which is the dataset's name too.
        root: Folder of the datasets, see `data_root`. The download lies in ``.<name>.fetch`` there.
        server: Zenodo, or a mirror with the same paths.
        cpus: Processes that read the texts.
        progress: Called with the bytes done, the bytes in all (0 if unknown) and what is done.

    Raises:
        DataError: No such dataset; no network; no room on the disk; a download that is broken or
            not what was published; an archive that is not safe to unpack; or a malformed text.
    """
    if name not in RECORDS:
        raise DataError(f"dataset {name!r}: cannot be fetched; what can: {', '.join(RECORDS)}")
    check_name(name, root)
    if dataset := _there(name, root):
        return Fetched(dataset, None, {})
    record, folder = RECORDS[name], data_root(root) / f".{name}.fetch"
    tell = progress or (lambda done, size, text: None)
    try:
        with _alone(folder):
            archive, origin = _download(name, record, folder, server, tell)
            imported = _import(name, root, archive, origin, cpus, tell)
            shutil.rmtree(folder)
    except OSError as error:
        raise DiskError(f"{folder}: cannot be written ({error.strerror}); make room, or set "
                        "SCANNER_DATA to a folder on another disk") from error
    return Fetched(imported.dataset, imported, origin)


def _there(name: str, root: Path | None) -> Dataset | None:
    try:
        return open_dataset(name, root)
    except DataError:  # absent, or damaged and to be fetched again
        return None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder of a download; a killed process lets go of it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"{folder}: another process is fetching this dataset; wait for it or "
                            "stop it") from error
        yield


def _download(name: str, record: Record, folder: Path, server: str,
              tell: Progress) -> tuple[Path, dict[str, str | int]]:
    """The archive, whose checksum agrees with the published one where there is one."""
    import pooch

    pooch.get_logger().setLevel("ERROR")  # it would print on its own
    url = f"{server}/record/{record.number}/files/{record.archive}?download=1"
    part = folder / f"{record.archive}.part"
    try:
        published = _published(f"{server}/api/records/{record.number}", record.archive)
        if published.size and not (folder / record.archive).is_file():
            had = part.stat().st_size if part.is_file() else 0
            need_space(folder, 3 * published.size - had, f"download, unpack and import {name}")
        archive = Path(pooch.retrieve(
            url, published.checksum, record.archive, folder,
            downloader=Resumable(part, published.size, tell)))
    except (Refused, Unreachable) as error:
        raise DataError(f"{error}. {_by_hand(name, record, url)}") from error
    except ValueError as error:  # of pooch: the checksum differs
        raise DataError(f"{url}: the bytes that came are not the published ones "
                        f"({published.checksum}); nothing is kept. The same command tries again"
                        ) from error
    return archive, {
        "doi": f"10.5281/zenodo.{record.number}", "url": url, "archive": record.archive,
        "bytes": archive.stat().st_size, "sha256": pooch.file_hash(str(archive), "sha256"),
        "published_checksum": published.checksum or NOT_PUBLISHED}


def _by_hand(name: str, record: Record, url: str) -> str:
    return (f"By hand: fetch {url} where there is a network, bring {record.archive} here, then: "
            f"mkdir texts && tar -xf {record.archive} -C texts && "
            f"scanner data import texts/{record.folder} --name {name}")


def _published(url: str, archive: str) -> Published:
    """Size and checksum from the record's description, where it has them."""
    answer: Any = get_json(url)
    files = answer.get("files", []) if isinstance(answer, dict) else []
    for entry in files if isinstance(files, list) else []:
        if isinstance(entry, dict) and archive in (entry.get("key"), entry.get("filename")):
            size = entry.get("size", entry.get("filesize"))
            algorithm, _, digest = str(entry.get("checksum", "")).rpartition(":")
            known = re.fullmatch(r"[0-9a-f]{32,128}", digest)
            return Published(size if isinstance(size, int) else None,
                             f"{algorithm or 'md5'}:{digest}" if known else None)
    return Published(None, None)


def _import(name: str, root: Path | None, archive: Path, origin: dict[str, str | int],
            cpus: int, tell: Progress) -> ImportReport:
    """Unpack and import; an archive that cannot be used goes, unless it is the published one."""
    try:
        with unpacked(archive, archive.parent / "unpacked") as texts:
            return import_folder(_with_channels(texts), name, root, cpus=cpus, progress=tell,
                                 origin=origin)
    except DiskError as error:
        raise DiskError(f"{error}. The download is kept: {archive}") from error
    except DataError as error:
        if origin["published_checksum"] == NOT_PUBLISHED:
            archive.unlink()
            shutil.rmtree(archive.parent.with_name(f".{name}.import"), ignore_errors=True)
            raise DataError(f"{error}. The download is deleted, because no published checksum "
                            "vouches for it; the same command fetches it again") from error
        raise DataError(f"{error}. The download agrees with its published checksum and is kept: "
                        f"{archive}") from error


def _with_channels(folder: Path) -> Path:
    """The folder that holds the channels: it may lie in another one."""
    inside = [path for path in folder.iterdir() if path.is_dir()]
    if len(inside) == 1 and inside[0].name not in CHANNEL_FOLDERS:
        return inside[0]
    return folder
