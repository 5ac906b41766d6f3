"""Arrays in files that all processes of a machine map, so that they share the pages.

A folder of arrays is made once, by one process while the others wait, and has its name when it is
complete. Folders that were not used for longest are removed when new ones need their room; any of
them can be deleted at any time, and is made again where it is needed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.datasets.files import data_root

Floats = NDArray[np.float32]
Make = Callable[[str, tuple[int, ...]], Floats]
ROOM_BYTES = 64e9


def cache_root(root: Path | None = None) -> Path:
    """The folder of all mapped arrays, inside the folder of datasets."""
    return data_root(root) / ".cache"


def in_memory(_: str, shape: tuple[int, ...]) -> Floats:
    """An array that no other process sees."""
    return np.zeros(shape, np.float32)


def in_files(folder: Path) -> Make:
    """Arrays that are files in `folder`, with their room on the disk taken at once."""

    def make(name: str, shape: tuple[int, ...]) -> Floats:
        if 0 in shape:  # no file can be mapped that has no content
            return in_memory(name, shape)
        path = folder / f"{name}.npy"
        array: Floats = np.lib.format.open_memmap(path, "w+", np.dtype(np.float32), shape)
        with path.open("rb+") as file:  # else a full disk would end the process at a later write
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return array

    return make


def open_array(folder: Path, name: str, width: int) -> Floats:
    """An array of `folder`, mapped; writes to it stay in this process. (width, 0) without file."""
    path = folder / f"{name}.npy"
    if not path.is_file():
        return np.zeros((width, 0), np.float32)
    array: Floats = np.load(path, mmap_mode="c")
    return array


def write_small(folder: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays that every process reads whole."""
    np.savez(folder / "small.npz", allow_pickle=False, **arrays)


def read_small(folder: Path) -> dict[str, NDArray[Any]]:
    """What `write_small` wrote."""
    with np.load(folder / "small.npz") as file:
        return dict(file)


def make_once(folder: Path, build: Callable[[Path], None]) -> bool:
    """Have the complete `folder`, made by `build` if need be, by one process at a time.

    Returns:
        Whether it is there; false where the disk is full or cannot be written.
    """
    if _used(folder):
        return True
    unfinished = folder.with_name(f".{folder.name}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(unfinished.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o644)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a dead process does not hold it
        if not _used(folder):
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            build(unfinished)
            unfinished.replace(folder)
            _make_room(folder)
    except OSError:
        return False
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        os.close(lock)
    return True


def _used(folder: Path) -> bool:
    """Whether the folder is there; if so, it counts as used now."""
    with suppress(OSError):  # of a folder that can only be read
        os.utime(folder)
    return folder.is_dir()


def _make_room(newest: Path) -> None:
    """Remove the folders used longest ago; processes that have mapped them keep what they have."""
    folders = sorted((path for path in newest.parent.glob("[!.]*") if path.is_dir()),
                     key=lambda path: path.stat().st_mtime, reverse=True)
    taken = 0
    for folder in folders:
        taken += sum(path.stat().st_size for path in folder.iterdir())
        if taken > ROOM_BYTES and folder != newest:
            shutil.rmtree(folder, ignore_errors=True)
