"""slurm/ray_cluster.sh on a real SLURM of two nodes: whatever dies, the scan comes out the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count

import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
from local_slurm import SCRIPT, Job, local_slurm, name_of, title_of, wait_for

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
  flow: {flows}
  seed: {seeds}
training: {{max_epochs: {epochs}, patience: 1000, learning_rate: 1.0e-3}}
resources: {{pack: {pack}, checkpoint_s: 1}}
"""
MANY = {"flows": "[none, planar]", "seeds": "[0, 1, 2, 3, 4, 5]", "epochs": 1}
LONG = {"flows": "[none]", "seeds": "[0, 1, 2, 3]", "epochs": 20}
NODES = "node1", "node2"
FIXED_PORTS = {6379, 8265, 10001}  # those Ray takes if it is not told otherwise
ANY = {"0.0.0.0", "::"}
SMALL = ("--cpus-per-task=1", SCRIPT)
pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]


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


def write_grid(folder, name, shape, pack=1):
    (folder / f"{name}.yaml").write_text(GRID.format(name=name, pack=pack, **shape))
    return f"{name}.yaml"


def undisturbed(folder, shape, trials):
    """The ranking of the same grid on this machine alone, its seeds trained together."""
    results = folder / "undisturbed"
    outcome = scanner.launch(folder / write_grid(folder, "calm", shape, pack=6), results, cpus=2)
    assert len(outcome.done) == trials
    return ranking(results)


def ranking(results):
    """The content of ranking.csv, as a report writes it."""
    pool = read_pool([results])
    return to_csv(pd.concat(rank(pool.table, word, pool.channels) for word in CONVENTIONS))


def provenances(results):
    """Where every trial of a scan was trained."""
    tables = (results / "trials").glob("*.parquet")
    return [json.loads(pq.read_schema(table).metadata[b"provenance"]) for table in tables]


def done(results):
    return len(list((results / "trials").glob("*.parquet")))


def stamps(folder, pattern):
    """(name, inode, time) of files; each writing makes a new one."""
    found = set()
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):  # just replaced
            stat = path.stat()
            found.add((path.stem, stat.st_ino, stat.st_mtime_ns))
    return found


@contextmanager
def versions(results) -> Iterator[set[tuple[str, int, int]]]:
    """Every file that a trial's result has ever been, seen ten times a second."""
    seen: set[tuple[str, int, int]] = set()
    ended = threading.Event()

    def look():
        while True:
            last = ended.is_set()
            seen.update(stamps(results / "trials", "*.parquet"))
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
        assert [title_of(process) for process in job.processes()] == []
        assert (job.left(), slurm.orphans(job)) == ([], [])


def assert_same(results, seen, trials, expected):
    """The scan is whole, every trial was trained to its end once, and the ranking is the same."""
    assert len(seen) == len({name for name, *_ in seen}) == done(results) == trials
    kept = [path.read_bytes() for path in (results / "logs").rglob("*") if path.is_file()]
    assert not any(b"was trained twice" in text for text in kept)
    assert ranking(results) == expected


def listeners(job):
    """(program, address, port) of every socket on which a job listens."""
    programs = {process.pid: name_of(process) for process in job.processes()}
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


def slowed(jobs, event, what):
    """The first true value of `event`; until then workers of `jobs` train ten times more slowly."""
    seen, polls = set(), count()

    def look():
        act = psutil.Process.suspend if next(polls) % 10 else psutil.Process.resume
        for worker in [w for job in jobs for node in NODES for w in job.workers(node)]:
            seen.add(worker)
            with suppress(psutil.NoSuchProcess):
                act(worker)
        return event()

    try:
        return wait_for(look, what)
    finally:
        for worker in seen:
            with suppress(psutil.NoSuchProcess):
                worker.resume()


def until_both_train(runs):
    """Until every job has a result and a worker on node2, with most of their trials left."""
    ready = set()

    def train():
        ready.update(job for job, results in runs.items() if done(results) and job.workers("node2"))
        return len(ready) == len(runs)

    slowed(ready, train, "training of all jobs on both nodes")


def kill_one_after_another(job, results):
    """Once each, with a new result in between: a worker, a raylet, the driver, the head."""

    def another_result():
        before = done(results)
        job.wait_for(lambda: done(results) > before, f"result after {before}")
        assert done(results) < 12, "too late to kill anything"

    job.wait_for(lambda: job.workers("node1"), "worker")[0].kill()
    another_result()
    raylet = job.ray("raylet", "node2")
    raylet.kill()
    another_result()
    slowed([job], lambda: job.ray("raylet", "node2") not in (None, raylet), "node2 again")
    driver = job.driver()
    driver.kill()
    job.wait_for(lambda: job.driver() not in (None, driver), "driver again")
    another_result()
    job.ray("gcs_server", "node1").kill()


def test_two_jobs_share_two_nodes_and_one_is_hit(slurm, tmp_path):
    """Side by side; one waited for by sbatch, on unequal nodes, and in the other all is killed."""
    expected = undisturbed(tmp_path, MANY, 12)
    calm, hit = tmp_path / "elsewhere", tmp_path / "results" / "hit"
    with versions(calm) as seen_calm, versions(hit) as seen_hit:
        waiting = subprocess.Popen(
            ["sbatch", "--parsable", "--wait", "-N2", "-n3", *SMALL,
             write_grid(tmp_path, "calm", MANY), "--results", calm],
            stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=slurm.environment,
        )  # fmt: skip
        b = Job(slurm, waiting.stdout.readline().strip(), tmp_path)
        a = slurm.sbatch(*SMALL, write_grid(tmp_path, "hit", MANY), cwd=tmp_path)
        until_both_train({a: hit, b: calm})
        open_a, open_b = listeners(a), listeners(b)
        assert (cpus_of(b, "node1"), cpus_of(b, "node2")) == (2, 1)
        token = token_of(a)
        asked = [ask(slurm, a.address(), t) for t in (token, token_of(b), "")]
        slowed([a, b], lambda: None not in [p.poll() for p in asked], "answers of Ray")
        answers = [process.communicate()[0] for process in asked]
        kill_one_after_another(a, hit)
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
    shared = [(mine, theirs) for mine in open_a for theirs in open_b if mine[2] == theirs[2]
              and (mine[1] == theirs[1] or {mine[1], theirs[1]} & ANY)]  # fmt: skip
    assert shared == []
    assert {port for *_, port in open_a | open_b} & FIXED_PORTS == set()
    kept = [path.read_bytes() for path in (hit / "logs").rglob("*") if path.is_file()]
    assert len(kept) > 20
    assert not any(token.encode() in text for text in [said.encode(), *kept])
    for job, results, seen in ((a, hit, seen_hit), (b, calm, seen_calm)):
        assert {made["SLURMD_NODENAME"] for made in provenances(results)} == {"node1", "node2"}
        assert {made["SLURM_JOB_ID"] for made in provenances(results)} == {job.id}
        assert_same(results, seen, 12, expected)
    assert_nothing_left(slurm, a, b)


def until_saved(job, results, restarts=0):
    """Until a run of a job has saved a training, so that it has something to lose."""

    def saved():
        return stamps(results / "checkpoints", "*.pt")

    job.wait_for(lambda: job.field("Restarts") == str(restarts), f"restart {restarts}")
    job.wait_for(lambda: job.field("JobState") == "RUNNING", f"run {restarts}")
    before = saved()
    job.wait_for(lambda: saved() - before, f"checkpoint of run {restarts}")


def test_a_scan_goes_on_after_whatever_ends_its_job(slurm, tmp_path):
    """Requeued, at its time limit, cancelled; then as a task of an array of one-node jobs."""
    expected = undisturbed(tmp_path, LONG, 4)
    ended, other = (tmp_path / "results" / name for name in ("ended", "other"))
    grids = write_grid(tmp_path, "ended", LONG), write_grid(tmp_path, "other", LONG)
    with versions(ended) as seen, versions(other) as seen_other:
        job = slurm.sbatch(*SMALL, grids[0], cwd=tmp_path)
        until_saved(job, ended)
        slurm("scontrol", "requeue", job.name)
        until_saved(job, ended, restarts=1)
        slurm("scontrol", "update", f"JobId={job.name}", "EndTime=now+60")
        # SLURM looks at limits every 30 s, in which a fast machine would train all
        slowed([job], lambda: any((ended / "stop").glob("*")), "warning of the time limit")
        job.wait_for(lambda: job.field("Restarts") == "2", "restart after the time limit")
        slurm("scontrol", "update", f"JobId={job.name}", "TimeLimit=60")
        until_saved(job, ended, restarts=2)
        assert done(ended) < 4, "too late to cancel anything"
        slurm("scancel", job.name)
        assert job.wait() == "CANCELLED", job.log()
        array = slurm.sbatch("--nodes=1", "--array=0-1", *SMALL, *grids, cwd=tmp_path)
        first, last = (Job(slurm, f"{array.name}_{task}", tmp_path) for task in (0, 1))
        until_saved(last, other)
        slurm("scancel", "--batch", "--signal=USR1", last.name)
        last.wait_for(lambda: last.field("Restarts") == "1", "restart")
        assert [task.wait() for task in (first, last)] == ["COMPLETED"] * 2, last.log()
    assert [task.field("Restarts") for task in (first, last)] == ["0", "1"]
    assert (ended / "logs" / f"{job.id}.time_limits").read_text().count("\n") == 1
    for results, files in ((ended, seen), (other, seen_other)):
        assert_same(results, files, 4, expected)
    assert_nothing_left(slurm, job, first, last)
