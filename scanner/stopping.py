"""Stop a scan in order: the driver leaves a marker in the result folder, and workers look for it.

They save what they have and end; so a scan in a batch job loses nothing at its time limit.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from scanner.atomic import write_atomic
from scanner.batch import incarnation
from scanner.errors import ResultError


class Stop:
    """The wish of this driver to stop.

    Attributes:
        marker: The file that says so to the workers, named by this run of the driver, so that a
            later one is not stopped by it.
        requested: Whether the wish was uttered.
    """

    def __init__(self, results: Path) -> None:
        self.marker = results / "stop" / incarnation()
        self.marker.unlink(missing_ok=True)
        self.requested = False

    def request(self, signum: int = 0, frame: FrameType | None = None) -> None:
        """Leave the marker; as a signal handler it must not fail, whatever the disk says."""
        self.requested = True
        with suppress(ResultError):
            write_atomic(self.marker, Path.touch)

    def install(self) -> None:
        """SIGUSR1 requests a stop, SIGTERM ends like Ctrl-C; in the main thread only.

        To be called again when something else has put its own handlers there: `ray.init` does for
        SIGTERM, and a Tune run for SIGUSR1.
        """
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGUSR1, self.request)
            signal.signal(signal.SIGTERM, _end)


@contextmanager
def stoppable(results: Path) -> Iterator[Stop]:
    """A scan that can be asked to stop; the process's own handlers are put back afterwards."""
    numbers = (signal.SIGUSR1, signal.SIGTERM)
    before = [(number, signal.getsignal(number)) for number in numbers]
    stop = Stop(results)
    stop.install()
    try:
        yield stop
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before:
                signal.signal(number, handler or signal.SIG_DFL)


def is_asked(marker: Path | None) -> bool:
    """Whether a marker is there; its folder is listed, since NFS remembers that a file was not."""
    if marker is None:
        return False
    try:
        return marker in marker.parent.iterdir()
    except OSError:
        return False


def _end(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
