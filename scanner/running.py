"""A training between two steps: what it consists of, as a record, and back from one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from scanner.checkpoint import Record, Saved
from scanner.members import Members, State, keep, stacked_buffers
from scanner.trial import Trial

Row = dict[str, float]
Step = Callable[[Tensor, Tensor], None]
Steps = Callable[[Sequence[tuple[Tensor, Tensor]]], None]


@dataclass
class Progress:
    """What one member has reached; kept after it stopped."""

    best: State
    best_loss: float = math.inf
    best_epoch: int = 0
    waited: int = 0
    diverged: bool = False
    history: list[Row] = field(default_factory=list)

    def status(self) -> str:
        return "diverged" if self.diverged else "done"


@dataclass
class Run:
    """A training between two steps.

    Attributes:
        pack: Its trials.
        progress: What each of them has reached.
        members: Those that still train.
        step: Trains them for a few steps.
        total: (P, 2) what the steps of the epoch have summed up.
        epoch: The epoch it is in, from 1.
        steps: Steps of this epoch that were taken.
        streams: (order, noise) where the members' streams stood before the epoch.
        began: When the epoch began, on the clock `time.perf_counter`.
        over: Whether nothing is left to train.
    """

    pack: Sequence[Trial]
    progress: list[Progress]
    members: Members
    step: Steps
    total: Tensor
    epoch: int = 1
    steps: int = 0
    streams: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    began: float = 0.0
    over: bool = False


def record_of(run: Run) -> Record:
    """Everything that the rest of a training follows from."""
    made = {
        "epoch": run.epoch,
        "steps": run.steps,
        "over": run.over,
        "progress": [dict(vars(progress)) for progress in run.progress],
    }
    if run.over:
        return made
    members = run.members
    tensors = {
        "flat": members.flat, "first": members.first, "second": members.second,
        "taken": members.taken, "total": run.total, **stacked_buffers(members),
    }  # fmt: skip
    return made | {
        "numbers": members.numbers,
        "spent_s": time.perf_counter() - run.began,
        "streams": run.streams if run.steps else stand(members),
        "tensors": {name: tensor.cpu() for name, tensor in tensors.items()},
    }


def go_on(
    run: Run, saved: Saved, stepper: Callable[[Members], tuple[Steps, Tensor]]
) -> None:
    """Bring a training to where a record of these trials, and perhaps of others, stands."""
    record = saved.record
    places = [saved.trials.index(trial.id) for trial in run.pack]
    for progress, place in zip(run.progress, places, strict=True):
        vars(progress).update(record["progress"][place])
    going = [] if record["over"] else [
        k for k, place in enumerate(places) if place in record["numbers"]
    ]  # fmt: skip
    run.epoch, run.steps, run.over = record["epoch"], record["steps"], not going
    if run.over:
        return
    if going != run.members.numbers:
        run.members = keep(run.members, going)
        run.step, run.total = stepper(run.members)
    rows = [record["numbers"].index(places[k]) for k in going]
    members = run.members
    own = {
        "flat": members.flat, "first": members.first, "second": members.second,
        "total": run.total, **stacked_buffers(members),
    }  # fmt: skip
    for name, tensor in own.items():
        tensor.copy_(record["tensors"][name][rows])
    members.taken.copy_(record["tensors"]["taken"])
    run.streams = [record["streams"][row] for row in rows]
    for streams, states in zip(members.streams, run.streams, strict=True):
        for generator, state in zip(streams, states, strict=True):
            generator.set_state(state)
    run.began = time.perf_counter() - record["spent_s"]


def stand(members: Members) -> list[tuple[Tensor, Tensor]]:
    """Where the members' random streams stand."""
    return [(order.get_state(), noise.get_state()) for order, noise in members.streams]
