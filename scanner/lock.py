"""One driver per scan: a lock file that names its owner and that a dead owner does not hold."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from scanner.errors import ResultError


@contextmanager
def scan_lock(results: Path) -> Iterator[None]:
    """Hold the scan's lock while the driver runs.

    Raises:
        ResultError: If a living driver holds it, here or on another host (which cannot be asked).
    """
    path = results / "lock"
    try:
        results.mkdir(parents=True, exist_ok=True)
        _acquire(path)
    except OSError as error:
        text = f"{results}: cannot be written ({error.strerror}); choose --results DIR"
        raise ResultError(text) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _acquire(path: Path) -> None:
    """Create the lock, complete from its first moment: a hard link fails where one exists."""
    own = path.with_name(f".lock.{platform.node()}.{os.getpid()}")
    own.write_text(json.dumps(_owner(os.getpid())))
    try:
        for _ in range(2):
            try:
                os.link(own, path)
                return
            except FileExistsError:
                _refuse_if_alive(path)
                path.unlink(missing_ok=True)
        raise ResultError(f"{path}: taken by another driver just now; wait for it")
    finally:
        own.unlink()


def _owner(pid: int) -> dict[str, str | int | float]:
    return {"host": platform.node(), "pid": pid, "started": psutil.Process(pid).create_time()}


def _refuse_if_alive(path: Path) -> None:
    try:
        holder = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return
    who = f"{holder['host']}, process {holder['pid']}"
    if holder["host"] != platform.node():
        text = f"{path}: held by a driver on {who}; if it is dead, delete that file"
        raise ResultError(text)
    if psutil.pid_exists(holder["pid"]) and _owner(holder["pid"]) == holder:
        raise ResultError(f"{path}: this scan is being run by {who}; wait for it or stop it")
