"""Scans through real Ray: complete, resumed after any death, the same bytes in the ranking."""

from __future__ import annotations

import ipaddress
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

import scanner
from scanner import store
from scanner.collected import metrics
from scanner.errors import DataError, ResultError, ScannerError
from scanner.launch import _place, _record, load_grid
from scanner.pending import pending_jobs
from scanner.plan import plan
from scanner.schema import Resources
from scanner.stopping import Stop

GRID = """\
name: small
dataset: sample
channels: ["3"]
grid:
  representation: [all]
  architecture: [gcn_vae]
  hlf: [false]
  beta: [0.5]
  score: [reconstruction, kl, rz]
  flow: [none, planar]
  seed: [0, 1, 2]
training: {max_epochs: 1, learning_rate: 1.0e-3}
resources: {pack: 1}
"""
TRIALS = 6
COMMAND = [sys.executable, "-m", "scanner", "launch", "grid.yaml", "--cpus", "2"]


def write_grid(folder, text=GRID):
    path = folder / "grid.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("gpus", "share"), [(0.25, 0.25), (1, 1.0), (2, 1.0)])
def test_workers_on_one_gpu_know_their_share_of_it(tmp_path, gpus, share):
    place = _place(tmp_path, None, Resources(gpus_per_trial=gpus), Stop(tmp_path))
    assert (place.device, place.gpu_share) == ("cuda", share)


def ranking(results, out):
    scanner.report([results], out)
    return (out / "ranking.csv").read_bytes()


def listening():
    """Addresses on which this process and its children listen."""
    tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
    found = set()
    for process in tree:
        try:
            connections = process.net_connections(kind="inet")
        except psutil.Error:
            continue
        found |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    return {ipaddress.ip_address(text.removeprefix("::ffff:")) for text in found}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    grid, seen, lock = write_grid(folder), [], threading.RLock()

    def progress(*said):
        with lock:  # as a progress bar has, which cannot be pickled
            seen.append((*said, listening()))

    outcome = scanner.launch(grid, folder / "results", cpus=2, progress=progress)
    return folder, outcome, seen


@pytest.mark.ray
def test_a_scan_runs_every_trial_once(undisturbed):
    folder, outcome, seen = undisturbed
    ids = {trial.id for trial in plan(load_grid(folder / "grid.yaml")).trials}
    assert set(outcome.done) == ids == store.done(folder / "results")
    assert (outcome.ran, outcome.failed, outcome.pending) == (TRIALS, (), ())
    assert [(done, planned) for done, planned, *_ in seen][-1] == (TRIALS, TRIALS)
    for part in ("trials", "scores", "history"):
        assert ids <= {path.stem for path in (folder / "results" / part).glob("*.parquet")}
    assert not (folder / "results" / "lock").exists()


@pytest.mark.ray
def test_a_local_ray_listens_on_loopback_alone(undisturbed):
    addresses = set().union(*(said[-1] for said in undisturbed[2]))
    assert addresses
    assert all(address.is_loopback for address in addresses)


def test_what_is_done_is_not_run_again(undisturbed):
    folder, *_ = undisturbed
    before = {p: p.stat().st_mtime_ns for p in (folder / "results" / "trials").iterdir()}
    outcome = scanner.launch(folder / "grid.yaml", folder / "results", cpus=2)
    assert outcome.ran == 0
    assert len(outcome.done) == TRIALS
    assert before == {p: p.stat().st_mtime_ns for p in (folder / "results" / "trials").iterdir()}


@pytest.mark.ray
def test_growing_runs_the_new_and_shrinking_hides(undisturbed, tmp_path):
    folder, *_ = undisturbed
    results = tmp_path / "results"
    results.symlink_to(folder / "results")
    grown = write_grid(tmp_path, GRID.replace("seed: [0, 1, 2]", "seed: [0, 1, 2, 3]"))
    try:
        outcome = scanner.launch(grown, results, cpus=2)
        assert (outcome.ran, len(outcome.done)) == (2, TRIALS + 2)
        shrunk = write_grid(tmp_path, GRID.replace("seed: [0, 1, 2]", "seed: [3]"))
        assert scanner.launch(shrunk, results, cpus=2).ran == 0
        trained = metrics(results).query("stage == 'trained'")
        assert set(trained["seed"]) == {3}
        assert len(store.done(results)) == TRIALS + 2
    finally:
        scanner.launch(folder / "grid.yaml", results, cpus=2)


@pytest.mark.ray
@pytest.mark.parametrize(
    ("death", "code"),
    [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGUSR1, 75)],
)
def test_a_driver_that_dies_or_stops_is_resumed(undisturbed, tmp_path, death, code):
    folder, *_ = undisturbed
    write_grid(tmp_path)
    children = []
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a background job ignores it
    with subprocess.Popen(
        COMMAND, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    ) as driver:
        for line in driver.stderr:
            if re.search(f"[1-9] of {TRIALS} trials done", line):  # two can end before one is told
                os.kill(driver.pid, signal.SIGSTOP)  # so that it starts no further process
                children = psutil.Process(driver.pid).children(recursive=True)
                os.kill(driver.pid, death)
                os.kill(driver.pid, signal.SIGCONT)
                break
        said = driver.stderr.read()
    assert driver.returncode == code
    if death != signal.SIGKILL:
        assert "goes on from here" in said
        assert "Traceback" not in said
    for process in children:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(children)
    results = tmp_path / "results" / "small"
    finished = {p: p.stat().st_mtime_ns for p in (results / "trials").glob("*.parquet")}
    assert 1 <= len(finished) < TRIALS
    outcome = scanner.launch(tmp_path / "grid.yaml", results, cpus=2)
    assert len(outcome.done) == TRIALS
    assert outcome.ran == TRIALS - len(finished)
    assert all(p.stat().st_mtime_ns == time for p, time in finished.items())
    assert ranking(results, tmp_path / "a") == ranking(folder / "results", tmp_path / "b")


def test_failures_stay_until_they_are_asked_for(tmp_path):
    planned = plan(load_grid(write_grid(tmp_path)))
    bug, lost, *_ = planned.trials
    store.write_failure(tmp_path, bug, {"class": "bug"})
    store.write_failure(tmp_path, lost, {"class": "storage"})

    def ids(**options):
        return {t.id for pack in pending_jobs(planned, tmp_path, **options) for t in pack}

    everything = {trial.id for trial in planned.trials}
    assert ids() == everything - {bug.id}
    assert ids(retry=["bug"]) == ids(retry=["all"]) == everything
    assert ids(only=[lost.id]) == {lost.id}
    with pytest.raises(ResultError, match="no such trial"):
        ids(only=["nonsense"])


def test_another_dataset_of_the_same_name_is_refused(tmp_path):
    scan = store.Scan("grid.yaml", GRID, "sample", "another digest", {})
    store.write_scan(tmp_path / "results", scan)
    with pytest.raises(DataError, match="begun with dataset sample"):
        scanner.launch(write_grid(tmp_path), tmp_path / "results", cpus=1)


@pytest.mark.parametrize("damage", ["", '{"grid_path": "gr', "[]"])
def test_a_scan_whose_record_is_damaged_goes_on(tmp_path, damage):
    path, said = write_grid(tmp_path), []
    (tmp_path / "scan.json").write_text(damage)
    with pytest.raises(ResultError, match="run the same `scanner launch` again"):
        store.read_scan(tmp_path)
    _record(tmp_path, path, load_grid(path), None, said.append)
    assert store.read_scan(tmp_path).grid_text == GRID
    assert len(said) == 1
    assert "scan.json: unreadable" in said[0]


def test_a_missing_grid_is_one_error(tmp_path):
    with pytest.raises(ScannerError, match=r"none\.yaml"):
        load_grid(tmp_path / "none.yaml")


def test_a_dry_run_imports_neither_torch_nor_ray(tmp_path):
    write_grid(tmp_path)
    code = (
        "import sys; from click.testing import CliRunner; from scanner.cli import cli\n"
        "made = CliRunner().invoke(cli, ['launch', 'grid.yaml', '--dry-run'])\n"
        "assert made.exit_code == 0, made.output\n"
        "assert not {'torch', 'ray', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert not Path(tmp_path, "results").exists()
