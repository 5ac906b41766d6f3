"""slurm/ray_cluster.sh on a real SLURM of two nodes: whatever dies, the scan comes out the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pyarrow.parquet as pq
import pytest
from local_slurm import SCRIPT, Job, local_slurm, wait_for

import scanner

GRID = """\
name: {name}
dataset: sample
channels: ["3"]
grid:
  representation: [all]
  architecture: [gcn_vae]
  hlf: [false]
  beta: [0.5]
  score: [reconstruction]
  flow: [none, planar]
  seed: [0, 1, 2, 3, 4, 5]
training: {{max_epochs: 1, learning_rate: 1.0e-3}}
resources: {{pack: 1}}
"""
TRIALS = 12
FIXED_PORTS = {6379, 8265, 10001, 52365}  # those Ray takes if it is not told otherwise
SMALL = ("--cpus-per-task=1", SCRIPT)
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def slurm():
    with ExitStack() as stack:
        try:
            running = stack.enter_context(local_slurm())
        except RuntimeError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"no SLURM here: {error}")
        yield running


def write_grid(folder, name):
    (folder / f"{name}.yaml").write_text(GRID.format(name=name))
    return f"{name}.yaml"


def ranking(results, out):
    scanner.report([results], out)
    return (out / "ranking.csv").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The ranking of the same grid on this machine alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    outcome = scanner.launch(folder / write_grid(folder, "scan"), folder / "results", cpus=2)
    assert len(outcome.done) == TRIALS
    return ranking(folder / "results", folder / "report")


def provenances(results):
    """Where every trial of a scan was trained."""
    tables = (results / "trials").glob("*.parquet")
    return [json.loads(pq.read_schema(table).metadata[b"provenance"]) for table in tables]


def done(results):
    return len(list((results / "trials").glob("*.parquet")))


@contextmanager
def versions(results) -> Iterator[dict[str, set[tuple[int, int]]]]:
    """Every file that a trial's result has ever been, seen ten times a second."""
    seen: dict[str, set[tuple[int, int]]] = {}
    ended = threading.Event()

    def look():
        while True:
            last = ended.is_set()
            for path in (results / "trials").glob("*.parquet"):
                stat = path.stat()
                seen.setdefault(path.stem, set()).add((stat.st_ino, stat.st_mtime_ns))
            if last:
                return
            ended.wait(0.1)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def assert_nothing_left(slurm, *jobs: Job):
    for job in jobs:
        assert [process.cmdline()[:3] for process in job.processes()] == []
        assert job.left() == []
    assert slurm.orphans == ""


def assert_same(results, seen, undisturbed, out):
    """The scan is whole, every trial was trained to its end once, and the ranking is the same."""
    assert len(seen) == done(results) == TRIALS
    assert {name: len(files) for name, files in seen.items()} == dict.fromkeys(seen, 1)
    assert ranking(results, out) == undisturbed


def listeners(job):
    """(program, address, port) of every socket on which a job listens."""
    programs = {process.pid: process.name() for process in job.processes()}
    return {
        (programs[c.pid], c.laddr.ip, c.laddr.port)
        for c in psutil.net_connections(kind="tcp")
        if c.status == psutil.CONN_LISTEN and c.pid in programs
    }


def connect(slurm, address, token):
    """What becomes of `ray.init` with a token, or with none."""
    mode = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {
        "RAY_AUTH_MODE": "disabled"}  # fmt: skip
    code = f"import ray; ray.init({address!r}, logging_level='ERROR'); print(len(ray.nodes()))"
    return subprocess.Popen(
        [sys.executable, "-c", code], env=slurm.environment | mode, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def token_of(job):
    environment = job.ray("raylet", "node1").environ()
    return environment["RAY_AUTH_TOKEN"]


def test_two_jobs_share_two_nodes(slurm, undisturbed, tmp_path, record_property):
    """Side by side, one of them with unequal nodes, waited for by sbatch itself."""
    first = tmp_path / "results" / "first"
    second = tmp_path / "elsewhere"
    with versions(first) as seen_first, versions(second) as seen_second:
        a = slurm.sbatch(*SMALL, write_grid(tmp_path, "first"), cwd=tmp_path)
        unequal = ["-N2", "-n3", "--ntasks-per-node=2", *SMALL]
        waiting = subprocess.Popen(
            ["sbatch", "--parsable", "--wait", *unequal, write_grid(tmp_path, "second"),
             "--results", second],
            stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=slurm.environment,
        )  # fmt: skip
        b = Job(slurm, waiting.stdout.readline().strip(), tmp_path)
        for job, results in ((a, first), (b, second)):
            for node in ("node1", "node2"):
                wait_for(lambda job=job, node=node: job.workers(node), f"worker on {node}")
            wait_for(lambda results=results: done(results), "result")
        open_a, open_b = listeners(a), listeners(b)
        address, token = a.head_file().read_text(), token_of(a)
        strangers = [connect(slurm, address, t) for t in (token, token_of(b), "")]
        cpus = [
            next(w for w in b.ray("raylet", node).cmdline() if "resource_list" in w)
            for node in ("node1", "node2")
        ]
        owner, *others = [process.communicate(timeout=60) for process in strangers]
        assert a.wait() == b.wait() == "COMPLETED"
        assert waiting.wait() == 0
        waiting.stdout.close()
    record_property("listeners", sorted(open_a))
    for job, results, seen in ((a, first, seen_first), (b, second, seen_second)):
        assert {made["SLURMD_NODENAME"] for made in provenances(results)} == {"node1", "node2"}
        assert {made["SLURM_JOB_ID"] for made in provenances(results)} == {job.id}
        assert_same(results, seen, undisturbed, tmp_path / job.id)
    assert ["CPU,2" in cpus[0], "CPU,1" in cpus[1]] == [True, True]
    assert owner[0] == "2\n", owner
    assert all(said == "" and "Error" in error for said, error in others)
    ports = [{port for *_, port in found} for found in (open_a, open_b)]
    assert ports[0] & ports[1] == set()
    assert (ports[0] | ports[1]) & FIXED_PORTS == set()
    logs = [p.read_bytes() for p in (first / "logs").rglob("*") if p.is_file()]
    assert not any(token.encode() in text for text in [a.log().encode(), *logs])
    assert_nothing_left(slurm, a, b)


def test_whatever_is_killed_the_scan_completes(slurm, undisturbed, tmp_path):
    """In one job: a worker, a node's raylet, the driver, the head's GCS."""
    results = tmp_path / "results" / "killed"

    def after_another_result(count):
        wait_for(lambda: done(results) > count, f"result after {count}")
        assert done(results) < TRIALS
        return done(results)

    with versions(results) as seen:
        job = slurm.sbatch(*SMALL, write_grid(tmp_path, "killed"), cwd=tmp_path)
        count = after_another_result(0)
        wait_for(lambda: job.workers("node1"), "worker")[0].kill()
        count = after_another_result(count)
        raylet = job.ray("raylet", "node2")
        raylet.kill()
        count = after_another_result(count)
        wait_for(lambda: job.ray("raylet", "node2") not in (None, raylet), "node2 again")
        first_driver = job.driver()
        first_driver.kill()
        wait_for(lambda: job.driver() not in (None, first_driver), "driver again")
        after_another_result(count)
        job.ray("gcs_server", "node1").kill()
        assert job.wait() == "COMPLETED", job.log()
    assert "node2: Ray ended early" in job.log()
    assert "the driver died of signal 9" in job.log()
    assert "the head of Ray is gone" in job.log()
    assert job.field("Restarts") == "0"
    assert_same(results, seen, undisturbed, tmp_path / "report")
    assert_nothing_left(slurm, job)


def test_a_scan_goes_on_after_every_end_of_its_job(slurm, undisturbed, tmp_path):
    """A warning, a requeue, scancel; then an array, of which a task is warned and may not requeue."""
    grid = write_grid(tmp_path, "ended")
    results = tmp_path / "results" / "ended"

    def trained_in(restarts):
        return [p for p in provenances(results) if p.get("SLURM_RESTART_COUNT", "0") == restarts]

    with versions(results) as seen:
        job = slurm.sbatch(*SMALL, grid, cwd=tmp_path)
        wait_for(lambda: done(results), "result")
        slurm("scancel", "--batch", "--signal=USR1", job.name)
        wait_for(lambda: job.field("Restarts") == "1", "requeue by the job itself")
        wait_for(lambda: trained_in("1"), "result of the second run")
        slurm("scontrol", "requeue", job.name)
        wait_for(lambda: job.field("Restarts") == "2", "requeue")
        wait_for(lambda: trained_in("2"), "result of the third run")
        slurm("scancel", job.name)
        assert job.wait() == "CANCELLED"
        before = done(results)
        assert before < TRIALS
        again = slurm.sbatch("--nodes=1", *SMALL, grid, cwd=tmp_path)
        assert again.wait() == "COMPLETED", again.log()
        nothing = slurm.sbatch(*SMALL, grid, cwd=tmp_path)
        assert nothing.wait() == "COMPLETED"
    assert "nothing is left to do" in nothing.log()
    assert not (results / "logs" / f"{nothing.id}.0").exists()
    assert_same(results, seen, undisturbed, tmp_path / "report")
    assert_nothing_left(slurm, job, again, nothing)
