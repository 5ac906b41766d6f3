"""Keep the training of a pack, so that a worker that dies or is stopped loses minutes of it.

A checkpoint is a line of JSON (whose training, where it stands, what made it, a digest) and what
`torch.save` writes. One that is damaged, or made by other code, is removed: a training that goes on
gives the same numbers to the last bit as one that was never disturbed.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from scanner import store
from scanner.atomic import write_atomic
from scanner.errors import Interrupted, ResultError
from scanner.place import Place
from scanner.provenance import commit
from scanner.stopping import is_asked
from scanner.trial import Trial

LOOK_S = 2.0  # between looks at the clock and for a wish to stop
WRITING_SHARE = 0.05  # of the time, at most
NOTES = "logs/workers.log"
Record = dict[str, Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was read: ids of its trials, and what `fit` had to say of them."""

    trials: tuple[str, ...]
    record: Record


class Keeper:
    """Writes a training's checkpoint when it is due, and ends it when a stop is asked for."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._pack: Sequence[Trial] = ()
        self._take: Callable[[], Record] | None = None
        self._next_look = 0.0
        self._next_write = time.monotonic() + place.checkpoint_s

    def follow(self, pack: Sequence[Trial], take: Callable[[], Record]) -> None:
        """From now on keep this pack, whose state `take` gives: epoch, steps and all it needs."""
        self._pack, self._take = pack, take

    def let_go(self) -> None:
        """Keep nothing more of that pack, nor what its state takes of memory."""
        self._take = None

    def look(self) -> None:
        """Called after every few steps; most calls only read a clock.

        Raises:
            Interrupted: A stop is asked for; what there is was written.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_S
        asked = is_asked(self._place.marker)
        if asked or now >= self._next_write:
            self._write()
        if asked:
            raise Interrupted(f"asked to stop by {self._place.marker}")

    def find(self, pack: Sequence[Trial]) -> Saved | None:
        """The furthest valid checkpoint that holds the first trial of a pack."""
        found = [(header["at"], path) for path, header in self._family(pack[0])
                 if pack[0].id in header["trials"]]  # fmt: skip
        for _, path in sorted(found, reverse=True):
            try:
                return _read(path)
            except ValueError as error:
                _remove(path, str(error))
        return None

    def forget(self, pack: Sequence[Trial]) -> None:
        """Remove the checkpoints all of whose trials are done, as those of this pack now are."""
        self.let_go()
        ended = store.done(self._place.results) | {trial.id for trial in pack}
        for path, header in self._family(pack[0]):
            if ended >= set(header["trials"]):
                path.unlink(missing_ok=True)

    def _write(self) -> None:
        if self._take is None:
            return
        started = time.monotonic()
        record = self._take()
        trials = [trial.id for trial in self._pack]
        at = [record["epoch"], record["steps"]]
        try:
            path = store.checkpoint_path(self._place.results, self._pack[0])
            write(path, record, {"trials": trials, "at": at, **_maker(self._place)})
        except ResultError as error:  # the training goes on all the same
            log.warning("no checkpoint: %s", error)
        taken = time.monotonic() - started
        self._next_write = time.monotonic() + max(self._place.checkpoint_s, taken / WRITING_SHARE)

    def _family(self, trial: Trial) -> Iterator[tuple[Path, Record]]:
        """The checkpoints that a trial may be in, with their headers; others' are removed."""
        folder = self._place.results / "checkpoints"
        for path in sorted(folder.glob(f"{store.checkpoint_family(trial)}*.pt")):
            try:
                header = _header(path)
                strange = {k: v for k, v in _maker(self._place).items() if header[k] != v}
            except FileNotFoundError:  # its training has just ended
                continue
            except (OSError, ValueError, KeyError, TypeError) as error:
                _remove(path, f"unreadable ({error})")
                continue
            if strange:
                _remove(path, f"made with another {' and '.join(strange)}")
            else:
                yield path, header


def write(path: Path, record: Record, header: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically.

    Raises:
        ResultError: The disk refuses.
    """
    body = io.BytesIO()
    torch.save(record, body)
    digest = hashlib.sha256(body.getbuffer()).hexdigest()
    line = json.dumps({**header, "digest": digest}).encode() + b"\n"
    write_atomic(path, lambda temporary: temporary.write_bytes(line + body.getvalue()))


def _read(path: Path) -> Saved:
    with path.open("rb") as file:
        header, body = json.loads(file.readline()), file.read()
    if hashlib.sha256(body).hexdigest() != header["digest"]:
        raise ValueError("cut off or damaged")
    record = torch.load(io.BytesIO(body), weights_only=True)
    log.info("%s: goes on from epoch %d, step %d", path, *header["at"])
    return Saved(tuple(header["trials"]), record)


def _header(path: Path) -> Record:
    with path.open("rb") as file:
        header: Record = json.loads(file.readline(1 << 20))
    return {"trials": header["trials"], "at": header["at"], **header}


def _maker(place: Place) -> dict[str, str]:
    """What decides the last bit of a number."""
    return {"code": commit(), "torch": torch.__version__, "device": place.device}


def _remove(path: Path, why: str) -> None:
    """Remove a checkpoint with a word in the scan's own log: nobody sees a worker's."""
    text = f"{path}: {why}; removed, its training begins anew"
    log.warning(text)
    notes = path.parents[1] / NOTES
    with suppress(OSError):  # no room, which the next file will say
        notes.parent.mkdir(exist_ok=True)
        with notes.open("a") as file:
            file.write(f"{datetime.now(UTC):%F %T} {text}\n")
    path.unlink(missing_ok=True)
