"""Unpacking an archive from the network: nothing of it can leave its folder or fill the disk."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from scanner.errors import DataError, DiskError

MOST_MEMBERS = 1000
MOST_BYTES = 20 << 30
WANTED = (".csv", ".csv.gz")
DAMAGED = (tarfile.TarError, EOFError, zlib.error, OSError)


@contextmanager
def unpacked(archive: Path, folder: Path) -> Iterator[Path]:
    """The text files of a tar archive, below `folder`, until the end of the block.

    Every member is checked before the first is written; other than text files, none is written.

    Raises:
        DataError: The archive is damaged, holds anything but files and folders, a path outside
            itself, or too much.
        DiskError: There is no room for its content.
    """
    try:
        with tarfile.open(archive) as tar:
            members = list(_checked(archive, tar))
    except DAMAGED as error:
        reason = str(error).partition("\n")[0].rstrip(":")  # without what each format says
        raise DataError(f"{archive.name}: not a readable tar archive ({reason})") from error
    need_space(folder, 2 * sum(member.size for member in members), f"unpack {archive.name}")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _extract(archive, members, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def need_space(folder: Path, size: int, purpose: str) -> None:
    """Refuse a task that the disk of `folder` has no room for.

    Args:
        folder: Where the bytes will go; it need not exist.
        size: Bytes.
        purpose: What they are for.

    Raises:
        DiskError: Fewer are free.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        raise DiskError(f"{folder}: {free / 1e9:.1f} GB are free, {size / 1e9:.1f} GB are needed "
                        f"to {purpose}; make room, or set SCANNER_DATA to a folder on another disk")


def _extract(archive: Path, members: list[tarfile.TarInfo], folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, members, filter="data")
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno:
            raise DiskError(f"{folder}: cannot be written ({error.strerror}); make room, or set "
                            "SCANNER_DATA to a folder on another disk") from error
        raise DataError(f"{archive.name}: cannot be unpacked ({error})") from error


def _checked(archive: Path, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members to write, after every member was looked at."""
    total = 0
    for count, member in enumerate(tar, 1):
        total += member.size
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            fault = f"{member.name!r} would be written outside its folder"
        elif not (member.isreg() or member.isdir()) or member.issparse():
            fault = f"{member.name!r} is {_kind(member)}, not a file or a folder"
        elif count > MOST_MEMBERS or total > MOST_BYTES:
            fault = f"more than {MOST_MEMBERS} members or {MOST_BYTES >> 30} GiB"
        else:
            if member.isreg() and path.name.endswith(WANTED) and not path.name.startswith("."):
                yield member
            continue
        raise DataError(f"{archive.name}: refused, and nothing of it was written: {fault}")


def _kind(member: tarfile.TarInfo) -> str:
    kinds = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link",
             tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a pipe"}
    return kinds.get(member.type, "of a special type")
