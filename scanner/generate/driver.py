"""Generate a dataset: chunks in several processes, then mixtures and signals, then the files."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scanner.datasets.files import BACKGROUND, Dataset, check_name, data_root, open_dataset
from scanner.errors import DataError, ScannerError
from scanner.events import Events, from_table, to_table
from scanner.generate.chunk import Job, Summary, generate_chunk, read_chunk, summary
from scanner.generate.mixture import chunks_needed, mix, total
from scanner.generate.processes import Process
from scanner.generate.recipe import Recipe, parse
from scanner.generate.write import Made, write

Progress = Callable[[int, int, str], None]
EXTRA = ("pythia8mc", "fastjet", "awkward")
CHUNKS = ".generated"
HOPELESS = 30  # chunks of a signal without a selected event


@dataclass(frozen=True)
class Generated:
    """What was generated: the dataset, and the lines that describe it."""

    dataset: Dataset
    text: str


def generate(recipe: Path | str, root: Path | None = None, *, name: str | None = None,
             csv: Path | None = None, cpus: int | None = None,
             progress: Progress | None = None) -> Generated:
    """Generate the dataset of a recipe; the same recipe gives the same events.

    Finished chunks are kept in `.generated` inside the root, so that the same call goes on after
    an interruption, and a recipe that asks for more events only adds to them. A script needs
    ``if __name__ == "__main__":`` around the call, since every process imports the script anew.

    Args:
        recipe: YAML file.
        root: Folder of the datasets, see `data_root`.
        name: Name of the dataset, in place of the recipe's.
        csv: Folder for the same events as text files in the challenge's format.
        cpus: Processes at once; all cores if None.
        progress: Called with finished chunks, known chunks, and what was done last.

    Raises:
        ScannerError: The extra `generate` is not installed, the recipe has mistakes, or a channel
            selects nothing of a signal.
    """
    check_extra()
    made = load_recipe(recipe)
    made = replace(made, name=name or made.name)
    check_name(made.name, root)
    found = _collect(made, data_root(root) / CHUNKS, cpus or os.cpu_count() or 1,
                     progress or (lambda done, planned, text: None))
    text = write(made, found, root, csv)
    return Generated(open_dataset(made.name, root), text)


def check_extra() -> None:
    """Refuse to start without PYTHIA and FastJet.

    Raises:
        ScannerError: With what to install.
    """
    if missing := [package for package in EXTRA if find_spec(package) is None]:
        raise ScannerError(f"generating events needs {', '.join(missing)}, which is not installed; "
                           "pip install 'scanner[generate]'")


def load_recipe(path: Path | str) -> Recipe:
    """The recipe in a file.

    Raises:
        ScannerError: The file cannot be read, or has mistakes.
    """
    path = Path(path)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ScannerError(f"{path}: cannot be read ({error}); give the path of a recipe"
                           ) from error
    return parse(text, str(path))


def _collect(recipe: Recipe, folder: Path, cpus: int, progress: Progress) -> list[Made]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cpus, context, initializer=_silent) as pool:
        try:
            return [made for channel in recipe.channels
                    for made in _channel(_Work(recipe, channel, folder, pool, progress))]
        except BrokenProcessPool as error:
            raise ScannerError("a process of the generator was ended from outside (no memory?); "
                               "the same command goes on from the finished chunks") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _silent() -> None:
    """Let FastJet's banner go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@dataclass(frozen=True)
class _Work:
    recipe: Recipe
    channel: str
    folder: Path
    pool: ProcessPoolExecutor
    progress: Progress

    def job(self, process: Process, number: int) -> Job:
        return Job(process, self.channel, self.recipe.seed, number)

    def run(self, wanted: Mapping[Process, int]) -> dict[Process, list[Summary]]:
        """The summaries of so many chunks of each process; those that miss are made."""
        jobs = sorted((number / count, process.name, self.job(process, number))
                      for process, count in wanted.items() for number in range(count))
        missing = [job for *_, job in jobs if not job.file(self.folder).exists()]
        self._make(missing, len(jobs))
        return {process: [summary(self.job(process, number).file(self.folder))
                          for number in range(count)] for process, count in wanted.items()}

    def _make(self, missing: list[Job], planned: int) -> None:
        done = planned - len(missing)
        futures = {self.pool.submit(generate_chunk, job, self.folder): job for job in missing}
        for future in as_completed(futures):
            job, made, done = futures[future], future.result(), done + 1
            self.progress(done, planned, f"channel {self.channel}, {job.process.name} "
                          f"{job.number}: {made.selected} of {made.generated} selected")


def _channel(work: _Work) -> Iterable[Made]:
    for process in work.recipe.signals(work.channel):
        yield _signal(work, process)
    if processes := work.recipe.backgrounds(work.channel):
        yield _background(work, processes)


def _signal(work: _Work, process: Process) -> Made:
    """The first events of a signal, weighted by its cross section behind the selection."""
    events, chunks = work.recipe.channels[work.channel].signal_events, 1
    while True:
        found = total(work.run({process: chunks})[process])
        if found.selected >= events:
            break
        if chunks >= HOPELESS and not found.selected:
            raise DataError(f"channel {work.channel}, signal {process.name}: none of "
                            f"{found.generated} events is selected; leave it out of the recipe")
        share = max(found.selected, 1) / chunks
        chunks = max(chunks + 1, min(math.ceil(1.05 * events / share), 8 * chunks))
    taken = _events(work, process, chunks).take(slice(0, events))
    weight = found.cross_section_pb * found.selected / found.generated / events
    return Made(work.channel, process.name, _weighted(taken, weight), {process.name: found})


def _background(work: _Work, processes: tuple[Process, ...]) -> Made:
    """The unweighted mixture of the background processes."""
    events = work.recipe.channels[work.channel].background
    goal, wanted = events, dict.fromkeys(processes, 1)
    sizes = {process.name: process.chunk for process in processes}
    while True:
        found = {process.name: total(chunks) for process, chunks in work.run(wanted).items()}
        needed = chunks_needed(found, sizes, goal)
        if needed == {process.name: wanted[process] for process in processes}:
            if mixed := mix(_moments(work, wanted), [y.luminosity for y in found.values()], events):
                break
            goal = math.ceil(1.02 * goal)
            continue
        wanted = {process: needed[process.name] for process in processes}
    chosen, luminosity = mixed
    every = _concatenated(_events(work, process, count) for process, count in wanted.items())
    return Made(work.channel, BACKGROUND, every.take(chosen), found, luminosity)


def _moments(work: _Work, wanted: Mapping[Process, int]) -> list[NDArray[np.float64]]:
    return [np.concatenate([
        job.moments(summary(job.file(work.folder)).selected)
        for number in range(count) for job in [work.job(process, number)]])
        for process, count in wanted.items()]


def _events(work: _Work, process: Process, chunks: int) -> Events:
    return _concatenated(read_chunk(work.job(process, number).file(work.folder))
                         for number in range(chunks))


def _concatenated(parts: Iterable[Events]) -> Events:
    return from_table(pa.concat_tables([to_table(part) for part in parts]))


def _weighted(events: Events, weight: float) -> Events:
    """One weight for all, with the six digits of the text format."""
    return replace(events, weight=np.full(len(events), float(f"{weight:g}")))


