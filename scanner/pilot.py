"""The pilot: time every kind of trial of a plan for a moment, on its own background events."""

from __future__ import annotations

import json
import math
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from scanner.channel import ChannelData, load_channel_of
from scanner.cost import Rate, Rates, planned_kinds
from scanner.errors import ScannerError
from scanner.plan import Plan
from scanner.provenance import commit
from scanner.representations import Inputs
from scanner.run import write_trial
from scanner.train import EAGER_STEPS, FitResult, fit
from scanner.trial import Trial

BUDGET_S = 20.0
LEAST_STEPS = {"cpu": 2, "cuda": EAGER_STEPS + 2}  # before those that are timed
TRAINING_SHARE = 0.6  # of the time of a kind; the rest is for scoring
FEW, MANY = 16, 512  # events per process in the two timings of scoring


def measure(
    planned: Plan, channel: str, data_root: Path | None, device: str, budget_s: float = BUDGET_S
) -> Rates:
    """Train and score a little of every kind of trial, in `budget_s` seconds in all.

    The kinds with the most trials come first, the first of them always; those for which no time
    is left are not measured.

    Args:
        planned: The plan.
        channel: Channel whose events are used: the rates do not depend on it.
        data_root: Folder of imported datasets.
        device: `cpu` or `cuda`.
        budget_s: Seconds.

    Raises:
        ScannerError: No GPU where one is wanted, or a plan of nothing.
        DataError: The channel has too few events.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ScannerError("the grid asks for GPUs and there is none here: run the pilot where the "
                           "scan is to run, or set `resources: {gpus_per_trial: 0}`")
    kinds = planned_kinds(planned)
    if not kinds:
        raise ScannerError("the grid plans no trial: there is nothing to measure")
    torch.set_num_threads(1)
    started, load_s, rates = time.perf_counter(), 0.0, dict[str, Rate]()
    for number, (kind, pack) in enumerate(kinds.items()):
        before = time.perf_counter()
        left_s = started + budget_s - before
        if rates and left_s <= 0:
            break
        members = tuple(replace(trial, channel=channel) for trial in pack)
        data = load_channel_of(members[0], data_root, device)
        load_s = max(load_s, (time.perf_counter() - before) / _count(data))
        rates[kind] = _rate(members, data, left_s / (len(kinds) - number))
    now = datetime.now(UTC).isoformat(timespec="minutes")
    return Rates(platform.node(), device, version("torch"), commit(), now, load_s, rates)


def _rate(pack: Sequence[Trial], data: ChannelData, share_s: float) -> Rate:
    started = time.perf_counter()
    least = _least_steps(data) * pack[0].training.batch_size
    seconds, result = _time_epoch(pack, data, least)
    spent_s = time.perf_counter() - started
    left_s = TRAINING_SHARE * share_s - spent_s - max(0.0, spent_s - 2 * seconds)
    events = min(int(least * left_s / (2 * seconds)), len(data.train.objects))
    if events > least:
        seconds, result = _time_epoch(pack, data, events)
    else:
        events = min(least, len(data.train.objects))
    score_s, trial_s = _time_scoring(result, data, started + share_s)
    return Rate(len(pack), events * len(pack) / seconds, score_s, trial_s)


def _time_epoch(pack: Sequence[Trial], data: ChannelData, events: int) -> tuple[float, FitResult]:
    """Seconds of the last epoch on so many events, with the split's share of validation.

    The epochs before it have the first steps, which on a GPU are not those that follow.
    """
    train = _first(data.train, events)
    steps = math.ceil(len(train.objects) / pack[0].training.batch_size)
    epochs = 1 + math.ceil(_least_steps(data) / steps)
    training = replace(pack[0].training, max_epochs=epochs, patience=epochs)
    members = [replace(trial, training=replace(
        training, learning_rate=trial.training.learning_rate)) for trial in pack]  # fmt: skip
    share = len(data.validation.objects) / len(data.train.objects)
    validation = _first(data.validation, max(1, round(share * len(train.objects))))
    ends: list[float] = []
    trained = fit(members, train, validation, lambda *_: ends.append(time.perf_counter()))
    if len(ends) < epochs:
        raise ScannerError("the pilot's training diverged in its first epochs; lower the grid's "
                           "learning_rate")
    return ends[-1] - ends[-2], trained[0]


def _least_steps(data: ChannelData) -> int:
    return LEAST_STEPS[data.train.objects.device.type]


def _time_scoring(result: FitResult, data: ChannelData, until: float) -> tuple[float, float]:
    """Seconds per scored event, and per trial besides, of scoring, measuring and writing."""
    metadata = {"trial": result.trial.to_json(), "provenance": json.dumps({})}

    def seconds(part: ChannelData) -> float:
        with tempfile.TemporaryDirectory() as scratch:
            before = time.perf_counter()
            write_trial(result, part, Path(scratch), metadata)
            return time.perf_counter() - before

    few = _part(data, FEW)
    seconds(few)  # the first time imports and compiles
    least_s = seconds(few)
    room = max(0.0, until - time.perf_counter()) / least_s
    many = _part(data, int(min(MANY, FEW * max(2.0, room))))
    per_event = max(0.0, seconds(many) - least_s) / max(1, _count(many) - _count(few))
    return per_event, max(0.0, least_s - per_event * _count(few))


def _part(data: ChannelData, events: int) -> ChannelData:
    """The channel with at most so many test events of every process."""
    return replace(
        data,
        test={name: _first(inputs, events) for name, inputs in data.test.items()},
        quantities={name: array[:events] for name, array in data.quantities.items()},
        events={name: numbers[:events] for name, numbers in data.events.items()},
    )


def _first(inputs: Inputs, events: int) -> Inputs:
    return Inputs(*(tensor[:events] for tensor in inputs))


def _count(data: ChannelData) -> int:
    """Test events of all processes."""
    return sum(len(numbers) for numbers in data.events.values())
