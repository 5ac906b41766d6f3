"""Which jobs are handed out, and what follows from how they ended.

A cause that a second attempt mends is retried, one that will not mend itself is not, and one that
will spoil every other job too stops the scan.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from scanner import store
from scanner.pending import Job, progress_mark, record_loss
from scanner.study import Study

MOST_DEATHS = 8  # of a job's worker without any progress between them
MOST_IDENTICAL = 5  # jobs that fail with one and the same fault of the code


class Task(NamedTuple):
    """Trials `first` to `last` (exclusive) of a job: all of them, or a half after a halving."""

    job: int
    first: int
    last: int


@dataclass(frozen=True)
class _Past:
    """What a task has been through: deaths since it last got on, and where it stood then."""

    deaths: int = 0
    mark: str = ""


class Backlog:
    """The jobs of a launch that wait, and those that run.

    Attributes:
        jobs: Those of the launch; a task names one of them, or a part of it.
        stopped: Why no more are handed out; empty while they are.
    """

    def __init__(self, jobs: Sequence[Job], results: Path) -> None:
        self.stopped = ""
        self.jobs, self._results = list(jobs), results
        self._waiting = deque(Task(k, 0, _size(job)) for k, job in enumerate(jobs))
        self._running: dict[str, Task] = {}
        self._past: dict[Task, _Past] = {}
        self._faults: Counter[str] = Counter()

    @property
    def finished(self) -> bool:
        """Whether nothing runs and nothing will be handed out."""
        return not self._running and (bool(self.stopped) or not self._waiting)

    @property
    def left(self) -> int:
        """Jobs that were not handed out, or have to be again."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Jobs that were handed out and have not ended."""
        return len(self._running)

    def hand_out(self, name: str) -> Task | None:
        """The next task, which runs as `name` from now on; None where there is none to start."""
        if self.stopped or not self._waiting:
            return None
        self._running[name] = self._waiting.popleft()
        return self._running[name]

    def job(self, task: Task) -> Job:
        """The job, or the part of a pack, that a task is."""
        return part_of(self.jobs[task.job], task)

    def ended(self, name: str, outcome: Mapping[str, str]) -> None:
        """A worker said how its task ended: trial or search id -> status or class of failure."""
        task = self._running.pop(name)
        kinds = set(outcome.values())
        if "interrupted" in kinds:
            self._waiting.append(task)
        elif "storage" in kinds:
            key = next(key for key, kind in outcome.items() if kind == "storage")
            record = store.failures(self._results).get(key)  # none where nothing could be written
            why = f": {record['exception']}" if record else ""
            self.stop(f"{self._results}: a worker could not write there{why}; make room or mend it")
        elif kinds & {"data", "bug"}:
            self._failed(next(key for key, kind in outcome.items() if kind in ("data", "bug")))

    def failed(self, name: str, record: Mapping[str, str]) -> None:
        """A task ended in an exception that its worker did not record."""
        job = self.job(self._running.pop(name))
        record_loss(self._results, job, record)
        self._failed(job.id if isinstance(job, Study) else job[0].id)

    def node_lost(self, name: str) -> None:
        """The node of a task's worker is gone: the task waits again."""
        self._waiting.append(self._running.pop(name))

    def died(self, name: str, text: str, *, memory: bool = False) -> None:
        """A task's worker died on a living node, for want of memory or for no reason known.

        That may be want of memory too, for which a batch job's limit kills without a word: from the
        second death on it is tried in halves, which count on.
        """
        task = self._running.pop(name)
        past, mark = self._past.get(task, _Past()), progress_mark(self._results, self.job(task))
        deaths = past.deaths + 1 if mark == past.mark else 1
        self._past[task] = replace(past, deaths=deaths, mark=mark)
        if deaths < (2 if memory else MOST_DEATHS):
            self._again(task, halve=memory or deaths > 1)
        else:
            kind = "out_of_memory" if memory else "crashed"
            record = {"class": kind, "exception": text, "frame": "", "traceback": text}
            record_loss(self._results, self.job(task), record)

    def stop(self, why: str) -> None:
        """Hand out nothing more; the first reason stands."""
        self.stopped = self.stopped or why

    def _again(self, task: Task, *, halve: bool) -> None:
        middle = (task.first + task.last) // 2
        if not halve or task.first == middle or isinstance(self.jobs[task.job], Study):
            self._waiting.append(task)
            return
        for half in (Task(task.job, task.first, middle), Task(task.job, middle, task.last)):
            mark = progress_mark(self._results, self.job(half))
            self._past[half] = replace(self._past[task], mark=mark)
            self._waiting.append(half)

    def _failed(self, key: str) -> None:
        record = store.read_failure(self._results, key)
        kind, text = record["class"], record["exception"]
        fault = f"{text.partition('(')[0]} at {record['frame']}"
        self._faults[fault] += 1
        if kind == "data":
            self.stop(f"the data do not serve: {text}; mend them")
        elif self._faults[fault] == MOST_IDENTICAL:
            where = f"{record['frame']}; see {self._results / 'failures' / f'{key}.json'}"
            self.stop(f"{MOST_IDENTICAL} jobs failed alike: {text} at {where}")


def part_of(job: Job, task: Task) -> Job:
    """The part of a job that a task names."""
    return job if isinstance(job, Study) else job[task.first : task.last]


def _size(job: Job) -> int:
    return 1 if isinstance(job, Study) else len(job)
