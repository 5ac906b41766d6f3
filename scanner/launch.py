"""Run a scan: what is planned and not done goes to Ray Tune, one pack per Tune trial."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from scanner import store
from scanner.datasets import Channels, open_dataset
from scanner.errors import DataError, ScannerError
from scanner.grid import Grid, parse
from scanner.lock import scan_lock
from scanner.pending import Job, describe, pending_jobs, record_loss, units
from scanner.pending import progress as counted
from scanner.plan import AUTOMATIC_PACK, Plan, plan
from scanner.provenance import provenance
from scanner.study import Study

OBJECT_STORE_BYTES = 200_000_000
ATTEMPTS = 3
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Outcome:
    """What a launch left: ids by state, of all trials (or searches) that the grid plans.

    Attributes:
        results: The result folder.
        done: What is complete.
        failed: What failed and is not tried again unasked.
        pending: The others.
        ran: Trainings that this launch added.
    """

    results: Path
    done: tuple[str, ...]
    failed: tuple[str, ...]
    pending: tuple[str, ...]
    ran: int


@dataclass(frozen=True)
class Work:
    """Everything that workers need besides their job; absolute paths."""

    results: Path
    data_root: Path | None
    device: str
    pack: int


def load_grid(path: Path | str, data_root: Path | None = None, dataset: str | None = None) -> Grid:
    """A grid file, checked against the datasets at hand.

    Args:
        path: The YAML file.
        data_root: Folder of imported datasets; `SCANNER_DATA` or `./data` if None.
        dataset: Use this dataset in place of the grid's.

    Raises:
        GridError: With every fault of the file at once.
        DataError: The dataset that it names is damaged.
    """
    path = Path(path)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ScannerError(f"{path}: cannot be read ({error}); give the path of a grid") from error
    return parse(text, str(path), Channels(data_root), dataset=dataset)


def launch(
    grid: Path | str,
    results: Path | None = None,
    *,
    data_root: Path | None = None,
    dataset: str | None = None,
    address: str | None = None,
    cpus: int | None = None,
    retry: Sequence[str] = (),
    only: Sequence[str] = (),
    progress: Progress | None = None,
) -> Outcome:
    """Run every planned trial that is not done; the same call again goes on where it stopped.

    Args:
        grid: The grid file.
        results: The scan's folder; `results/<name>` if None.
        data_root: Folder of imported datasets.
        dataset: Use this dataset in place of the grid's.
        address: A running Ray cluster; a local one is started if None.
        cpus: CPUs of the local Ray; all that this process may use if None.
        retry: Failure classes to run again (`all` for every class).
        only: Trial ids (search ids for a grid with a search) to run; all if empty.
        progress: Called with done, planned and a text whenever a pack, or a search's batch, ends.

    Raises:
        ScannerError: For a wrong grid, a missing dataset, a scan that another driver runs.
    """
    parsed = load_grid(grid, data_root, dataset)
    planned = plan(parsed)
    folder = (results or Path("results") / parsed.name).absolute()
    with scan_lock(folder):
        _record(folder, Path(grid), parsed, data_root)
        before, _ = counted(planned, folder)
        jobs = pending_jobs(planned, folder, retry, only)
        if jobs:
            root = data_root.absolute() if data_root else None
            device = "cuda" if parsed.resources.gpus_per_trial > 0 else "cpu"
            pack = parsed.resources.pack
            work = Work(folder, root, device, AUTOMATIC_PACK if pack == "auto" else int(pack))
            _run_on_ray(jobs, work, parsed, planned, address, cpus, progress)
        return _outcome(planned, folder, before)


def _record(results: Path, path: Path, grid: Grid, data_root: Path | None) -> None:
    """Write `scan.json`, unless the dataset is not the one the scan was begun with."""
    digest = open_dataset(grid.dataset, data_root).digest
    if (results / "scan.json").exists():
        before = store.read_scan(results)
        if (before.dataset, before.dataset_digest) != (grid.dataset, digest):
            text = f"{results}: begun with dataset {before.dataset} ({before.dataset_digest[:12]})"
            text += f", which is now {grid.dataset} ({digest[:12]})"
            raise DataError(f"{text}; give the scan another name or --results DIR")
    made = provenance("driver")
    scan = store.Scan(str(path), path.read_text(), grid.dataset, digest, made, grid.channels)
    store.write_scan(results, scan)


def _run_on_ray(
    jobs: list[Job],
    work: Work,
    grid: Grid,
    planned: Plan,
    address: str | None,
    cpus: int | None,
    progress: Progress | None,
) -> None:
    with _ray(address, cpus, grid.resources.gpus_per_trial) as scratch:
        from ray import tune

        trainable = tune.with_parameters(_tune_job, jobs=jobs, work=work)
        resources = {"cpu": grid.resources.cpus_per_trial, "gpu": grid.resources.gpus_per_trial}
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            param_space={"job": tune.grid_search(list(range(len(jobs))))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                name="scan",
                storage_path=str(scratch),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
                callbacks=[_callback(work.results, planned, jobs, progress)],
            ),
        )
        ended = tuner.fit()
        for result in (ended[i] for i in range(len(ended))):
            if result.error is not None and result.config is not None:
                record_loss(work.results, jobs[result.config["job"]], result.error)


def _tune_job(config: dict[str, int], jobs: list[Job], work: Work) -> dict[str, Any]:
    """The Tune trainable: one job; its results are in the files, Tune only hears the outcome."""
    from ray import tune

    from scanner.run import run_pack
    from scanner.search import Place, run_study

    job = jobs[config["job"]]
    if not isinstance(job, Study):
        return {"outcome": run_pack(job, work.results, work.data_root, work.device)}
    place = Place(work.results, work.data_root, work.device, work.pack)
    return {"outcome": run_study(job, place, lambda found: tune.report({"found": found}))}


def _callback(results: Path, planned: Plan, jobs: list[Job], progress: Progress | None) -> Any:  # noqa: ANN401 - a class of ray, which is imported late
    """Tell `progress` of every pack and batch; Tune pickles a callback, but not its `tell`."""
    from ray import tune

    class Report(tune.Callback):
        tell: Progress | None = None

        def __getstate__(self) -> dict[str, Any]:
            return {}

        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any  # noqa: ANN401
        ) -> None:
            job = jobs[trial.config["job"]]
            if self.tell and ("found" in result or not isinstance(job, Study)):
                self.tell(*counted(planned, results), describe(job))

    report = Report()
    report.tell = progress
    return report


def _outcome(planned: Plan, results: Path, before: int) -> Outcome:
    known = units(planned, results)
    return Outcome(
        results,
        tuple(unit.id for unit in known if not unit.left),
        tuple(unit.id for unit in known if unit.failed),
        tuple(unit.id for unit in known if unit.left and not unit.failed),
        sum(len(unit.done) for unit in known) - before,
    )


@contextmanager
def _ray(address: str | None, cpus: int | None, gpus: float) -> Iterator[Path]:
    """A connected Ray and a scratch folder; both are gone afterwards."""
    scratch = Path(tempfile.mkdtemp(prefix="scanner-", dir="/tmp"))
    os.environ |= _environment(scratch, local=address is None)
    import ray

    try:
        if address is None:
            available = cpus or len(os.sched_getaffinity(0))
            ray.init(
                num_cpus=available,
                num_gpus=0 if gpus == 0 else None,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        yield scratch
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def _environment(scratch: Path, *, local: bool) -> dict[str, str]:
    """Ray's settings, to be set before it is imported: token, loopback, silence, no files."""
    shared = {
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "OMP_NUM_THREADS": "1",
    }
    if not local:
        return shared
    token = scratch / "token"
    token.touch(mode=0o600)
    token.write_text(_token())
    return shared | {
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_TMPDIR": str(scratch),
    }


@lru_cache(maxsize=1)
def _token() -> str:
    """One secret per process: Ray reads it once and keeps it for every later cluster."""
    return secrets.token_hex(32)
