"""Run jobs through Ray Tune: it finds the workers, the backlog says what they run.

Tune keeps no state that is needed again: workers write results themselves, and it only hears how
a job ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.search import Searcher

from scanner.backlog import Backlog, Task
from scanner.cluster import refuse_small_nodes
from scanner.stopping import Stop

STAGED = 16  # jobs that Tune holds ready for workers that become free
DEADLINE_S = 200.0  # for workers to save and end, once a stop was requested
NODE_GONE = ("node has died", "node was terminated")
Work = Callable[[Task], dict[str, str]]
Hear = Callable[[Task], None]


def run_jobs(
    backlog: Backlog, work: Work, slot: dict[str, float], scratch: Path, stop: Stop, hear: Hear
) -> None:
    """Hand out the backlog's tasks until it is finished or a stop is requested.

    Args:
        backlog: The jobs.
        work: Runs a task in a worker; gives trial id -> how it ended.
        slot: What every worker takes of its node: `cpu`, and `gpu`, whole or a share of one.
        scratch: Folder for what Tune writes.
        stop: Looked at before a job is handed out; its signal handlers are installed again.
        hear: Called with a task whenever it ended or got on.

    Raises:
        ClusterError: No node has room for a worker.
    """
    refuse_small_nodes(slot, ray.nodes)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(STAGED)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(_trainable, work=work, gpus=slot["gpu"]), dict(slot)
        ),
        tune_config=tune.TuneConfig(
            search_alg=_HandOut(backlog, stop), num_samples=-1, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name="scan",
            storage_path=str(scratch),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),  # retries are the backlog's
            callbacks=[_Ears(backlog, stop, hear)],
            stop=_Deadline(backlog, stop),
        ),
    )
    tuner.fit()


def got_on(count: int) -> None:
    """Tell the driver, from inside a worker, that a search has so many trainings."""
    tune.report({"found": count})


def _trainable(config: dict[str, int], work: Work, gpus: float) -> dict[str, Any]:
    """What Tune runs in a worker."""
    if not gpus:  # Ray hides no GPU from a worker that asked for none
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return {"outcome": work(Task(**config))}


class _HandOut(Searcher):
    """Tune's source of trials: the backlog."""

    def __init__(self, backlog: Backlog, stop: Stop) -> None:
        super().__init__()
        self._backlog, self._stop = backlog, stop

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it, for a resumption that is not used

    def suggest(self, trial_id: str) -> Any:  # noqa: ANN401 - as Tune has it
        task = None if self._stop.requested else self._backlog.hand_out(trial_id)
        if task is not None:
            return task._asdict()
        over = self._backlog.finished or (self._stop.requested and not self._backlog.running)
        return Searcher.FINISHED if over else None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        pass  # `_Ears` hears more

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class _Ears(tune.Callback):
    """Tells the backlog how every task ended."""

    def __init__(self, backlog: Backlog, stop: Stop, hear: Hear) -> None:
        self._backlog, self._stop, self._hear = backlog, stop, hear
        self._outcomes: dict[str, dict[str, str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def setup(self, *args: Any, **info: Any) -> None:  # noqa: ANN401 - of ray
        self._stop.install()  # Tune has just put its own handlers there

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any  # noqa: ANN401
    ) -> None:
        if "outcome" in result:
            self._outcomes[trial.trial_id] = result["outcome"]
        else:
            self._hear(Task(**trial.config))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # noqa: ANN401
        outcome = self._outcomes.pop(trial.trial_id, {})
        self._backlog.ended(trial.trial_id, outcome)
        self._hear(Task(**trial.config))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # noqa: ANN401
        error = _error_of(trial)
        text = str(error)
        if isinstance(error, OutOfMemoryError) or "low on memory" in text:
            self._backlog.died(trial.trial_id, text, memory=True)
        elif not isinstance(error, RayActorError):
            record = {"class": "bug", "exception": repr(error), "frame": "", "traceback": text}
            self._backlog.failed(trial.trial_id, record)
        elif error.preempted or any(words in text for words in NODE_GONE):
            self._backlog.node_lost(trial.trial_id)
        else:
            self._backlog.died(trial.trial_id, text)
        self._hear(Task(**trial.config))


def _error_of(trial: Any) -> Any:  # noqa: ANN401 - of ray
    """A trial's error from where Tune has just written it; its own reader looks at a later copy."""
    path = trial.pickled_error_file
    return cloudpickle.loads(Path(path).read_bytes()) if path else None


class _Deadline(tune.Stopper):
    """Ends the run when workers have not ended in time after a stop was requested."""

    def __init__(self, backlog: Backlog, stop: Stop) -> None:
        self._stop = stop
        self._since: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if not self._stop.requested:
            return False
        self._since = self._since or time.monotonic()
        return time.monotonic() - self._since > DEADLINE_S
