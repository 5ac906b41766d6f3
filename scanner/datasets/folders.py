"""Files and folders that are complete when they have their name."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from scanner.errors import DataError, DiskError


def listed(folder: Path) -> list[Path]:
    """What a folder holds, by name; nothing of a file.

    Raises:
        DataError: It is not there, or cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except NotADirectoryError:
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error


def check_readable(file: Path) -> None:
    """Open a file once.

    Raises:
        DataError: It cannot be read.
    """
    try:
        file.open("rb").close()
    except OSError as error:
        raise _unreadable(file, error) from error


@contextmanager
def complete(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`: synced and renamed at the end, removed on an error."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def resuming(target: Path, kept: Collection[Path] = ()) -> Iterator[Path]:
    """A folder beside `target` that takes its place at the end.

    It stays for the next call after an interruption; after an error only if files in it are
    finished, which their records ``chan*/*.json`` say.

    Args:
        target: Its place.
        kept: Files inside it that may be there from a call before; all others are removed.

    Raises:
        DataError: Another living process holds it.
        DiskError: The disk refuses.
    """
    folder, old = (target.with_name(f".{target.name}.{word}") for word in ("import", "old"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"{folder}: {error.strerror}; choose another folder of datasets, with "
                        "--data or SCANNER_DATA. Nothing was imported") from error
    with _held(folder):
        if old.exists() and not target.exists():  # killed between the two renames below
            old.replace(target)
        try:
            _clear(folder, {folder / path for path in kept})
            yield folder
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)
                target.replace(old)
            folder.replace(target)
        except DataError:
            _remove_unless_begun(folder)
            raise
        except OSError as error:
            _remove_unless_begun(folder)
            raise DiskError(f"{error.filename or folder}: {error.strerror or error}; make room, or "
                            "choose another folder of datasets, with --data or SCANNER_DATA. "
                            "Nothing was imported") from error
        finally:
            if old.exists() and not target.exists():
                old.replace(target)
            shutil.rmtree(old, ignore_errors=True)


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: {error.strerror}; give files and folders that are there and that "
                     "you may read. Nothing was imported")


def _clear(folder: Path, kept: Collection[Path]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):  # what a folder holds, then the folder
        if not path.is_dir():
            if path not in kept:
                path.unlink()
        elif not any(path.iterdir()):
            path.rmdir()


def _remove_unless_begun(folder: Path) -> None:
    if not any(folder.glob("chan*/*.json")):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder; a dead process does not hold it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DataError(f"{folder}: another import of this dataset is running; wait for it, or "
                        "choose another --name") from None
    finally:
        os.close(handle)
