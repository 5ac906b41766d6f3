"""What of a plan is done, what failed and what is left; reads files only.

What is done or fails as one is a unit: a trial, or a search with all its trainings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from scanner import store
from scanner.errors import ResultError
from scanner.plan import Plan
from scanner.study import Study
from scanner.trial import Trial

RETRIED = ("storage",)
Job: TypeAlias = tuple[Trial, ...] | Study  # what one worker runs at a time: a pack or a search


@dataclass(frozen=True)
class Unit:
    """A trial or a search of the plan.

    Attributes:
        id: Its id.
        trials: How many trainings it is.
        done: Ids of those that have a result.
        failed: Class of its failure, empty if there is none.
    """

    id: str
    trials: int
    done: tuple[str, ...]
    failed: str

    @property
    def left(self) -> int:
        """Trainings without a result."""
        return self.trials - len(self.done)


def units(planned: Plan, results: Path) -> list[Unit]:
    """The state of every unit, in the plan's order."""
    failed = {key: record["class"] for key, record in store.failures(results).items()}
    finished = store.done(results)
    if planned.studies:
        found = [(r.study.id, r.study.trials,
                  tuple(f.trial.id for f in r.found if f.trial.id in finished))
                 for r in store.read_studies(results, planned.studies)]  # fmt: skip
    else:
        ids = (trial.id for trial in planned.trials)
        found = [(key, 1, (key,) if key in finished else ()) for key in ids]
    return [Unit(key, n, done, failed.get(key, "") if len(done) < n else "")
            for key, n, done in found]  # fmt: skip


def pending_jobs(
    planned: Plan, results: Path, retry: Sequence[str] = (), only: Sequence[str] = ()
) -> list[Job]:
    """The plan's packs or searches without what is done, or failed in a way that stays."""
    known = units(planned, results)
    unknown = set(only) - {unit.id for unit in known}
    if unknown:
        kind = "search" if planned.studies else "trial"
        raise ResultError(f"--only {' '.join(sorted(unknown))}: no such {kind} in the grid")
    again = (*RETRIED, *retry, "")
    wanted = {
        unit.id for unit in known
        if unit.left and ("all" in retry or unit.failed in again)
        and (not only or unit.id in only)
    }  # fmt: skip
    packs = [tuple(trial for trial in pack if trial.id in wanted) for pack in planned.packs]
    return [
        *(study for study in planned.studies if study.id in wanted),
        *(pack for pack in packs if pack and not planned.studies),
    ]


def progress(planned: Plan, results: Path) -> tuple[int, int]:
    """Trainings done and planned."""
    known = units(planned, results)
    return sum(len(unit.done) for unit in known), planned.n_trials


def describe(job: Job) -> str:
    """A few words on a job for a progress line."""
    trial = job.trial if isinstance(job, Study) else job[0]
    size = "search" if isinstance(job, Study) else f"x{len(job)}"
    return f"{trial.channel} {trial.architecture.label} {trial.flow.label} {size}"


def record_loss(results: Path, job: Job, record: Mapping[str, str]) -> None:
    """Write why a job failed for everything of it that has no result."""
    finished = store.done(results)
    for unit in (job,) if isinstance(job, Study) else job:
        if unit.id not in finished:
            store.write_failure(results, unit, record)


def progress_mark(results: Path, job: Job) -> str:
    """A text that changes whenever a job gets on: a trial is done, or a checkpoint written."""
    if isinstance(job, Study):
        own = store.checkpoint_path(results, job.trial)
        paths = [results / "studies" / f"{job.id}.json",
                 *sorted(own.parent.glob(f"{store.checkpoint_family(job.trial)}*"))]  # fmt: skip
    else:
        paths = [results / "trials" / f"{trial.id}.parquet" for trial in job]
        paths += [store.checkpoint_path(results, trial) for trial in job]
    return " ".join(map(_stamp, paths))


def _stamp(path: Path) -> str:
    try:
        return str(path.stat().st_mtime_ns)
    except OSError:
        return "-"
