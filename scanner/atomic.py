"""Files that are complete or absent, whatever dies, and however many write them at once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from scanner.errors import ResultError


def write_atomic(path: Path, write: Callable[[Path], object], *, keep: bool = False) -> bool:
    """Write a file under a temporary name of its own in the same folder, sync it, and rename it.

    Args:
        path: Its place.
        write: Writes a file of the name that it is given.
        keep: Whether a file that is there already stays.

    Returns:
        Whether the file there is the one that was written.

    Raises:
        ResultError: If the disk refuses (full, read-only, quota); nothing is left behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise ResultError(_refused(path, error)) from error
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        if keep:
            return _placed(temporary, path)
        temporary.replace(path)
    except OSError as error:
        raise ResultError(_refused(path, error)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _placed(temporary: Path, path: Path) -> bool:
    """Give a file its name unless that is taken; a hard link decides between two at once."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if path.exists():
            return False
        temporary.replace(path)
    return True


def write_text(path: Path, text: str) -> None:
    """Write text atomically."""
    write_atomic(path, lambda temporary: temporary.write_text(text))


def _refused(path: Path, error: OSError) -> str:
    text = f"{path}: cannot be written ({error.strerror or error})"
    return f"{text}; make room or name another folder (--results, --out)"
