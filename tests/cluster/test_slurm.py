"""slurm/ray_cluster.sh on a real SLURM of two nodes: whatever dies, the scan comes out the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
from local_slurm import SCRIPT, Job, local_slurm, wait_for

import scanner
from scanner.pool import read_pool
from scanner.ranking import CONVENTIONS, rank
from scanner.tables import to_csv

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
pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


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


def ranking(results):
    """The content of ranking.csv, as a report writes it."""
    pool = read_pool([results])
    return to_csv(pd.concat(rank(pool.table, word, pool.channels) for word in CONVENTIONS))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The ranking of the same grid on this machine alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    outcome = scanner.launch(folder / write_grid(folder, "scan"), folder / "results", cpus=2)
    assert len(outcome.done) == TRIALS
    return ranking(folder / "results")


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


def assert_same(results, seen, undisturbed):
    """The scan is whole, every trial was trained to its end once, and the ranking is the same."""
    assert len(seen) == done(results) == TRIALS
    assert {name: len(files) for name, files in seen.items()} == dict.fromkeys(seen, 1)
    assert ranking(results) == undisturbed


def listeners(job):
    """(program, address, port) of every socket on which a job listens."""
    programs = {process.pid: process.name() for process in job.processes()}
    return {
        (programs[c.pid], c.laddr.ip, c.laddr.port)
        for c in psutil.net_connections(kind="tcp")
        if c.status == psutil.CONN_LISTEN and c.pid in programs
    }


def ask(slurm, address, token):
    """A process that counts the cluster's nodes, with a token or with none."""
    mode = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {
        "RAY_AUTH_MODE": "disabled"}  # fmt: skip
    code = "import sys; from ray._raylet import GcsClient; "
    code += "print(len(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=20)))"
    return subprocess.Popen(
        [sys.executable, "-c", code, address], env=slurm.environment | mode, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def token_of(job):
    return job.ray("raylet", "node1").environ()["RAY_AUTH_TOKEN"]


def cpus_of(job, node):
    resources = next(w for w in job.ray("raylet", node).cmdline() if "resource_list" in w)
    return int(re.search(r"CPU,(\d+)", resources)[1])


def kill_one_after_another(job, results):
    """Once each, with a new result in between: a worker, a raylet, the driver, the head."""

    def another_result():
        count = done(results)
        wait_for(lambda: done(results) > count, f"result after {count}")
        assert done(results) < TRIALS, "too late to kill anything"

    wait_for(lambda: job.workers("node1"), "worker")[0].kill()
    another_result()
    raylet = job.ray("raylet", "node2")
    raylet.kill()
    another_result()
    wait_for(lambda: job.ray("raylet", "node2") not in (None, raylet), "node2 again")
    driver = job.driver()
    driver.kill()
    wait_for(lambda: job.driver() not in (None, driver), "driver again")
    another_result()
    job.ray("gcs_server", "node1").kill()


def test_two_jobs_share_two_nodes_and_one_is_hit(slurm, undisturbed, tmp_path):
    """Side by side; one waited for by sbatch, on unequal nodes, and in the other all is killed."""
    calm, hit = tmp_path / "elsewhere", tmp_path / "results" / "hit"
    with versions(calm) as seen_calm, versions(hit) as seen_hit:
        waiting = subprocess.Popen(
            ["sbatch", "--parsable", "--wait", "-N2", "-n3", *SMALL,
             write_grid(tmp_path, "calm"), "--results", calm],
            stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=slurm.environment,
        )  # fmt: skip
        b = Job(slurm, waiting.stdout.readline().strip(), tmp_path)
        a = slurm.sbatch(*SMALL, write_grid(tmp_path, "hit"), cwd=tmp_path)
        for job, results in ((a, hit), (b, calm)):
            wait_for(lambda results=results: done(results), "result")
            wait_for(lambda job=job: job.workers("node2"), "worker on node2")
        open_a, open_b = listeners(a), listeners(b)
        assert (cpus_of(b, "node1"), cpus_of(b, "node2")) == (2, 1)
        address, token = a.head_file().read_text(), token_of(a)
        asked = [ask(slurm, address, t) for t in (token, token_of(b), "")]
        kill_one_after_another(a, hit)
        answers = [process.communicate()[0] for process in asked]
        assert b.wait() == "COMPLETED", b.log()
        assert a.wait() == "COMPLETED", a.log()
        assert waiting.wait() == 0
        waiting.stdout.close()
    said = a.log()
    assert "node2: Ray ended early" in said
    assert "the driver died of signal 9" in said
    assert "the head of Ray is gone" in said
    assert answers[0] == "2\n"
    assert ["InvalidAuthToken" in answer for answer in answers[1:]] == [True, True]
    ports = [{port for *_, port in found} for found in (open_a, open_b)]
    assert ports[0] & ports[1] == set()
    assert (ports[0] | ports[1]) & FIXED_PORTS == set()
    kept = [path.read_bytes() for path in (hit / "logs").rglob("*") if path.is_file()]
    assert len(kept) > 20
    assert not any(token.encode() in text for text in [said.encode(), *kept])
    for job, results, seen in ((a, hit, seen_hit), (b, calm, seen_calm)):
        assert {made["SLURMD_NODENAME"] for made in provenances(results)} == {"node1", "node2"}
        assert {made["SLURM_JOB_ID"] for made in provenances(results)} == {job.id}
        assert_same(results, seen, undisturbed)
    assert_nothing_left(slurm, a, b)
