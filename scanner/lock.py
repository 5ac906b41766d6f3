"""One driver per scan: a lock file that names its owner and that a dead owner does not hold.

Where nothing better tells whether an owner elsewhere lives, its heartbeat does: a file that changes
every few seconds. It is watched changing, against a clock that cannot be set, and no clock times of
two machines are ever compared. Nothing relies on locks of the file system.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from scanner import batch
from scanner.errors import ResultError

BEAT_S = 10.0
SILENT_S = 60.0  # after which an owner elsewhere is dead; file systems delay what others see
POLL_S = 0.5
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)  # of file systems without hard links


@dataclass(frozen=True)
class Owner:
    """A driver.

    Attributes:
        host: Its host.
        machine: Boot and process namespace, within which a process number means one process.
        pid: Its process number.
        started: When that process started, in ticks since the boot.
        job: Id of its batch job, empty outside one.
        restarts: How often that job was requeued.
    """

    host: str = "another host"
    machine: str = ""
    pid: int = 0
    started: int = 0
    job: str = ""
    restarts: int = 0

    def __str__(self) -> str:
        text = f"{self.host}, process {self.pid}"
        return f"{text}, batch job {self.job}" if self.job else text


class Lock:
    """A lock that is held, and the thread that keeps its heart beating.

    Attributes:
        taken_by: Who took it over, if somebody held its owner for dead.
        on_loss: Called then, from that thread.
    """

    def __init__(self, path: Path, owner: Owner) -> None:
        self.taken_by: Owner | None = None
        self.on_loss: Callable[[], None] = lambda: None
        self._path, self._owner = path, owner
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Stop the heart and remove the lock, if it is still ours."""
        self._over.set()
        self._thread.join()
        if self.taken_by is None and _names(self._path, self._owner):
            self._path.unlink(missing_ok=True)
            _beat_path(self._path).unlink(missing_ok=True)

    def _beat(self) -> None:
        while True:
            with suppress(OSError):  # a full disk, or a network's hiccup, does not stop a driver
                holder = _read(self._path)
                if holder not in (self._owner, None):
                    self.taken_by = holder
                    self.on_loss()
                    return
                _write(_beat_path(self._path), secrets.token_hex(8))
            if self._over.wait(BEAT_S):
                return


@contextmanager
def scan_lock(results: Path, tell: Callable[[str], None] = lambda text: None) -> Iterator[Lock]:
    """Hold the scan's lock while the driver runs.

    Args:
        results: The result folder.
        tell: Called with a text while an owner elsewhere is watched, or when it is found dead.

    Raises:
        ResultError: If a living driver holds it; the text names its host and process.
    """
    path, owner = results / "lock", _self()
    try:
        results.mkdir(parents=True, exist_ok=True)
        _acquire(path, owner, tell)
    except OSError as error:
        text = f"{results}: cannot be written ({error.strerror}); choose --results DIR"
        raise ResultError(text) from error
    lock = Lock(path, owner)
    try:
        yield lock
    finally:
        lock.release()


def sign(path: Path) -> None:
    """Write this process's name into a file, for `died_here`."""
    path.write_text(json.dumps(asdict(_self())))


def died_here(path: Path) -> bool:
    """Whether a file names a process of this machine that lives no more."""
    owner = _read(path)
    if owner is None or owner.machine != _machine():
        return False
    return _started(owner.pid) != owner.started


def _acquire(path: Path, owner: Owner, tell: Callable[[str], None]) -> None:
    """Create the lock, complete from its first moment: a hard link fails where one exists."""
    own = path.with_name(f".lock.{secrets.token_hex(8)}")
    try:
        own.write_text(json.dumps(asdict(owner)))
        for _ in range(2):
            try:
                _link(own, path)
                return
            except FileExistsError:
                _take_away(path, _refuse_if_alive(path, tell))
        raise ResultError(f"{path}: taken by another driver just now; wait for it")
    finally:
        own.unlink(missing_ok=True)


def _take_away(path: Path, dead: Owner | None) -> None:
    """Remove a dead owner's lock, but not the one that somebody else has put there meanwhile."""
    aside = path.with_name(f".lock.{secrets.token_hex(8)}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        if not _names(aside, dead):
            with suppress(FileExistsError):
                _link(aside, path)
        aside.unlink()


def _link(own: Path, path: Path) -> None:
    """Give a complete file a second name, or a copy where the file system has no hard links.

    Raises:
        FileExistsError: The name is taken, and not by this file: a network file system may lose the
            answer to a request that it has met, and then refuse its repetition.
    """
    try:
        os.link(own, path)
    except FileExistsError:
        if own.stat().st_nlink != 2:
            raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with path.open("x") as file:
            file.write(own.read_text())


def _refuse_if_alive(path: Path, tell: Callable[[str], None]) -> Owner | None:
    """The dead owner of a lock; None where it names none."""
    holder = _read(path)
    if holder is None:
        return None
    requeued = holder.job == batch.job() and holder.restarts < batch.restarts()
    if holder.machine and holder.machine == _machine():
        alive = _started(holder.pid) == holder.started
    elif holder.job and (requeued or batch.is_running(holder.job) is False):
        alive = False
    else:
        alive = _heart_beats(path, holder, tell)
    if alive:
        raise ResultError(f"{path}: this scan is being run by {holder}; wait for it or stop it")
    tell(f"the driver on {holder} is dead: its lock is taken over")
    return holder


def _heart_beats(path: Path, holder: Owner, tell: Callable[[str], None]) -> bool:
    beat, end = _text(_beat_path(path)), time.monotonic() + SILENT_S
    tell(f"locked by {holder}: watching its heartbeat for at most {SILENT_S:.0f} s")
    while time.monotonic() < end:
        time.sleep(POLL_S)
        if _text(_beat_path(path)) != beat:
            return True
    return False


def _self() -> Owner:
    pid = os.getpid()
    return Owner(platform.node(), _machine(), pid, _started(pid) or 0, batch.job(),
                 batch.restarts())  # fmt: skip


def _machine() -> str:
    boot = _text(Path("/proc/sys/kernel/random/boot_id")).strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"


def _started(pid: int) -> int | None:
    """When a process started, in ticks since the boot; None if it does not live.

    The time of day of the start, as most tools give it, changes when the clock is set.
    """
    state = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return int(state[19]) if state and state[0] not in "ZX" else None


def _beat_path(path: Path) -> Path:
    return path.with_name("lock.beat")


def _read(path: Path) -> Owner | None:
    """The owner that a lock names; None where there is no lock, or a torn one.

    Raises:
        OSError: It cannot be read, which says nothing of its owner.
    """
    try:
        raw = json.loads(path.read_text())
        return Owner(**{key: raw[key] for key in asdict(Owner()) if key in raw})
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _names(path: Path, owner: Owner | None) -> bool:
    """Whether a lock names this owner; not where it cannot be read."""
    try:
        return _read(path) == owner
    except OSError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
