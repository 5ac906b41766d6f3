"""What a plan will cost: measured rates times the events of every channel, as pure arithmetic."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from scanner.plan import Plan
from scanner.study import Study
from scanner.trial import Trial

START_S = 15.0  # Ray's start and end and a worker's imports, on two cores
PER_PACK_S = 0.03  # what Tune takes for a pack besides the work
NAMED = 40
Job: TypeAlias = tuple[Trial, int]  # a pack or a search: one of its trials, and how many trainings


@dataclass(frozen=True)
class Events:
    """Events of one channel: background for training and validation, and all that are scored."""

    train: int
    validation: int
    scored: int


@dataclass(frozen=True)
class Rate:
    """How fast one kind of trial runs on one machine.

    Attributes:
        pack: Members of the pack that was timed.
        train: Training events per second, summed over the pack, validation and all else included.
        score_s: Seconds per scored event of one trial: scores, metrics and files.
        trial_s: Seconds per trial besides.
    """

    pack: int
    train: float
    score_s: float
    trial_s: float


@dataclass(frozen=True)
class Rates:
    """What a pilot measured.

    Attributes:
        host: The machine.
        device: `cpu` or `cuda`.
        torch: Version of torch.
        commit: Commit of scanner.
        time: When it ended, UTC.
        load_s: Seconds to read, encode and scale one event.
        kinds: Kind of trial -> its rate.
    """

    host: str
    device: str
    torch: str
    commit: str
    time: str
    load_s: float
    kinds: Mapping[str, Rate]


@dataclass(frozen=True)
class Line:
    """One kind of trial in an estimate; hours are of one worker, one pack after the other."""

    kind: str
    measured: str
    trials: int
    train: float
    train_h: float
    score_h: float


@dataclass(frozen=True)
class Estimate:
    """What a scan takes at most, if every trial trains for all its epochs.

    Attributes:
        rates: What it rests on.
        lines: One per kind of trial.
        load_h: Hours of reading data, over all workers.
        workers: Packs that run at a time.
        wall_s: Seconds from start to end.
        device_h: Hours of CPUs, or of GPUs, that packs take, one after the other.
        epochs: The epochs that are assumed.
    """

    rates: Rates
    lines: tuple[Line, ...]
    load_h: float
    workers: int
    wall_s: float
    device_h: float
    epochs: int

    @property
    def text(self) -> str:
        """The estimate as a table."""
        rates, unit = self.rates, "GPU" if self.rates.device == "cuda" else "CPU"
        head = f"estimate from rates of {rates.host} ({rates.device}, torch {rates.torch}, scanner "
        rows = [("kind", "trials", "events/s", "train h", "score h")]
        rows += [
            (line.kind + ("" if line.kind == line.measured else " *"), str(line.trials),
             f"{line.train:,.0f}", f"{line.train_h:.3g}", f"{line.score_h:.3g}")
            for line in sorted(self.lines, key=lambda line: -line.train_h)[:NAMED]
        ]  # fmt: skip
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"{head}{rates.commit}), measured {rates.time}"]
        lines += ["  ".join([f"{a:{widths[0]}}", *(c.rjust(w) for c, w in zip(
            rest, widths[1:], strict=True))]) for a, *rest in rows]  # fmt: skip
        if len(self.lines) > NAMED:
            lines.append(f"... and {len(self.lines) - NAMED} more kinds")
        if guessed := sum(line.kind != line.measured for line in self.lines):
            lines.append(f"* not measured: {guessed} of {len(self.lines)} kinds, taken to be as "
                         "slow as the slowest measured one that is alike")
        workers = f"{self.workers} {'pack' if self.workers == 1 else 'packs'} at a time"
        lines.append(f"at most {self.device_h:.3g} {unit} hours and {_duration(self.wall_s)} with "
                     f"{workers}: all {self.epochs} epochs, without early stopping")
        return "\n".join(lines)


def kind_of(trial: Trial) -> str:
    """What decides the speed of a trial, besides its device and pack."""
    parts = [trial.architecture.label, trial.flow.label, trial.representation.label,
             "hlf" if trial.hlf else "nohlf", f"batch{trial.training.batch_size}"]
    return " ".join(parts)


def jobs_of(planned: Plan) -> list[Job]:
    """What runs as one: every pack, or every search, with its number of trainings."""
    if planned.studies:
        return [(study.trial, study.trials) for study in planned.studies]
    return [(pack[0], len(pack)) for pack in planned.packs]


def estimate(
    planned: Plan,
    rates: Rates,
    events: Mapping[str, Events],
    *,
    workers: int,
    gpus_per_trial: float = 0.0,
) -> Estimate:
    """Time and device hours of a whole plan.

    Packs that share one GPU are counted one after the other: what sharing gains is not known.

    Args:
        planned: The plan.
        rates: At least one measured kind.
        events: Channel -> its events.
        workers: Packs that run at a time.
        gpus_per_trial: GPUs of one pack.
    """
    jobs = jobs_of(planned)
    chosen = {kind: nearest(kind, rates.kinds) for kind in sorted({kind_of(t) for t, _ in jobs})}
    train_s, score_s = defaultdict[str, float](float), defaultdict[str, float](float)
    trials = Counter[str]()
    lengths = []
    for trial, members in jobs:
        kind = kind_of(trial)
        rate, counts = rates.kinds[chosen[kind]], events[trial.channel]
        trained = members * trial.training.max_epochs * counts.train / rate.train
        scored = members * (rate.trial_s + rate.score_s * counts.scored)
        train_s[kind] += trained
        score_s[kind] += scored
        trials[kind] += members
        lengths.append(trained + scored + PER_PACK_S)
    loads = _load_s(jobs, events, rates.load_s, workers)
    wall_s = START_S + makespan(lengths, workers) + loads / max(1, workers)
    lines = (
        Line(kind, measured, trials[kind], rates.kinds[measured].train,
             train_s[kind] / 3600, score_s[kind] / 3600)
        for kind, measured in chosen.items()
    )  # fmt: skip
    return Estimate(
        rates=rates,
        lines=tuple(lines),
        load_h=loads / 3600,
        workers=workers,
        wall_s=wall_s,
        device_h=(sum(lengths) + loads) * max(1.0, gpus_per_trial) / 3600,
        epochs=max((trial.training.max_epochs for trial, _ in jobs), default=0),
    )


def nearest(kind: str, known: Mapping[str, Rate]) -> str:
    """The measured kind that is most like one that may not be: the slowest of those alike.

    Architecture and flow, the first two words, count for more than the others.
    """
    def unlike(other: str) -> tuple[int, int, float]:
        pairs = [a != b for a, b in zip(kind.split(), other.split(), strict=True)]
        return sum(pairs[:2]), sum(pairs), known[other].train

    return min(known, key=unlike)


def makespan(lengths: Sequence[float], workers: int) -> float:
    """When the last job ends, if each in turn goes to the worker that is free first."""
    free = [0.0] * max(1, workers)
    for length in lengths:
        heapq.heapreplace(free, free[0] + length)
    return max(free)


def _load_s(
    jobs: Sequence[Job], events: Mapping[str, Events], load_s: float, workers: int
) -> float:
    """Seconds of reading: each worker that meets a channel in a representation reads it once."""
    packs = Counter((t.channel, t.representation, t.hlf) for t, _ in jobs)
    total = 0.0
    for (channel, _, _), count in packs.items():
        counts = events[channel]
        total += min(count, workers) * load_s * (counts.train + counts.validation + counts.scored)
    return total


def planned_kinds(planned: Plan) -> dict[str, tuple[Trial, ...]]:
    """Every kind with a pack to time it by, those with the most trainings first."""
    packs: dict[str, tuple[Trial, ...]] = {}
    weight = Counter[str]()
    for unit in planned.studies or planned.packs:
        pack = _first_batch(unit) if isinstance(unit, Study) else unit
        kind = kind_of(pack[0])
        packs.setdefault(kind, pack)
        weight[kind] += len(pack)
    return {kind: packs[kind] for kind, _ in weight.most_common()}


def _first_batch(study: Study) -> tuple[Trial, ...]:
    return (study.trial,) * min(study.batch, study.trials)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
