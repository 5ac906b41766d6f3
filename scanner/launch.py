"""Run a scan: what is planned and not done goes to Ray Tune, one pack per Tune trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scanner import store, upkeep
from scanner.backlog import Backlog, Task, part_of
from scanner.cluster import Site, connected
from scanner.datasets import Channels, open_dataset
from scanner.errors import DataError, ResultError, ScannerError
from scanner.grid import Grid, parse
from scanner.lock import scan_lock
from scanner.pending import Job, describe, pending_jobs, units
from scanner.pending import progress as counted
from scanner.place import Place
from scanner.plan import AUTOMATIC_PACK, Plan, plan
from scanner.provenance import provenance
from scanner.schema import Resources
from scanner.stopping import Stop, stoppable
from scanner.study import Study

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
        interrupted: Whether it was asked to stop before all was done.
        stopped: Why it handed out no more jobs, if something will not mend itself.
    """

    results: Path
    done: tuple[str, ...]
    failed: tuple[str, ...]
    pending: tuple[str, ...]
    ran: int
    interrupted: bool = False
    stopped: str = ""


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
    nodes: int = 1,
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
        address: HOST:PORT of a running Ray cluster, whose token is in `RAY_AUTH_TOKEN`; a local
            Ray is started if None.
        nodes: Nodes of that cluster to wait for.
        cpus: CPUs of the local Ray; all that this process may use if None.
        retry: Failure classes to run again (`all` for every class).
        only: Trial ids (search ids for a grid with a search) to run; all if empty.
        progress: Called with done, planned and a text whenever a pack, or a search's batch, ends.

    Raises:
        ScannerError: For a wrong grid, a missing dataset, a scan that another driver runs, a
            cluster without its nodes.
    """
    parsed = load_grid(grid, data_root, dataset)
    planned = plan(parsed)
    folder = (results or Path("results") / parsed.name).absolute()

    def tell(text: str) -> None:
        if progress:
            progress(*counted(planned, folder), text)

    with scan_lock(folder, tell) as lock, stoppable(folder) as stop:
        lock.on_loss = stop.request
        _record(folder, Path(grid), parsed, data_root, tell)
        upkeep.sweep(folder)
        _set_aside_damaged(planned, folder, tell)
        before, _ = counted(planned, folder)
        backlog = Backlog(pending_jobs(planned, folder, retry, only), folder)
        if backlog.left:
            place = _place(folder, data_root, parsed.resources, stop)
            site = Site(address, nodes, cpus)
            _run_on_ray(backlog, place, parsed.resources, site, stop, tell)
        if lock.taken_by:
            raise ResultError(f"{folder}: taken over by {lock.taken_by}; this driver has ended")
        return _outcome(planned, folder, before, backlog)


def _set_aside_damaged(planned: Plan, results: Path, tell: Callable[[str], None]) -> None:
    """Trials whose files cannot be used are not done."""
    ids = [key for unit in units(planned, results) for key in unit.done]
    for key, why in upkeep.damaged(results, ids).items():
        upkeep.set_aside(results, key)
        tell(f"{why}: set aside, to be trained again")


def _record(
    results: Path, path: Path, grid: Grid, data_root: Path | None, tell: Callable[[str], None]
) -> None:
    """Write `scan.json`, unless the dataset is not the one the scan was begun with."""
    digest = open_dataset(grid.dataset, data_root).digest
    before = _before(results, tell)
    if before and (before.dataset, before.dataset_digest) != (grid.dataset, digest):
        text = f"{results}: begun with dataset {before.dataset} ({before.dataset_digest[:12]})"
        text += f", which is now {grid.dataset} ({digest[:12]})"
        raise DataError(f"{text}; give the scan another name or --results DIR")
    made = provenance("driver")
    scan = store.Scan(str(path), path.read_text(), grid.dataset, digest, made, grid.channels)
    store.write_scan(results, scan)


def _before(results: Path, tell: Callable[[str], None]) -> store.Scan | None:
    """The scan as it was last launched; None for a new one, or where nobody can read it."""
    if not (results / "scan.json").exists():
        return None
    try:
        return store.read_scan(results)
    except ResultError as error:
        tell(f"{str(error).partition(';')[0]}: written again")
        return None


def _place(results: Path, data_root: Path | None, resources: Resources, stop: Stop) -> Place:
    return Place(
        results=results,
        data_root=data_root.absolute() if data_root else None,
        device=resources.device,
        gpu_share=min(1.0, resources.gpus_per_trial),
        pack=AUTOMATIC_PACK[resources.device] if resources.pack == "auto" else resources.pack,
        automatic=resources.pack == "auto",
        marker=stop.marker,
        checkpoint_s=resources.checkpoint_s,
    )


def _run_on_ray(
    backlog: Backlog,
    place: Place,
    resources: Resources,
    site: Site,
    stop: Stop,
    tell: Callable[[str], None],
) -> None:
    with connected(site, resources.gpus_per_trial, tell) as scratch:
        from scanner.tuning import run_jobs

        stop.install()  # ray.init has put its own handler of SIGTERM there
        slot = {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
        work = partial(run_task, jobs=backlog.jobs, place=place)
        run_jobs(backlog, work, slot, scratch, stop, lambda task: tell(describe(backlog.job(task))))


def run_task(task: Task, jobs: Sequence[Job], place: Place) -> dict[str, str]:
    """What a worker does with a task: results are in the files, and it tells how they ended."""
    from scanner.run import run_pack
    from scanner.search import run_study

    job = part_of(jobs[task.job], task)
    if isinstance(job, Study):
        from scanner.tuning import got_on

        return run_study(job, place, got_on)
    return run_pack(job, place)


def _outcome(planned: Plan, results: Path, before: int, backlog: Backlog) -> Outcome:
    known = units(planned, results)
    return Outcome(
        results,
        tuple(unit.id for unit in known if not unit.left),
        tuple(unit.id for unit in known if unit.failed),
        tuple(unit.id for unit in known if unit.left and not unit.failed),
        sum(len(unit.done) for unit in known) - before,
        interrupted=bool(backlog.left) and not backlog.stopped,
        stopped=backlog.stopped,
    )
