"""Workers through Ray Tune: shares of GPUs, none for those that asked for none, deaths by cause."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial

import pytest
from conftest import make_trial

from scanner import store
from scanner.backlog import Backlog
from scanner.cluster import Site, connected
from scanner.errors import ClusterError
from scanner.stopping import stoppable

LIMIT_S = 120.0


def meet(task, folder, together):
    """Note the GPU that Ray gave, and wait until so many tasks run at once."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    (folder / f"met{task.job}").write_text(repr(seen))
    end = time.monotonic() + LIMIT_S
    while len(list(folder.glob("met*"))) < together and time.monotonic() < end:
        time.sleep(0.05)
    return {"met": str(len(list(folder.glob("met*"))))}


def die_once(task, folder):
    """The first worker of the first job is killed; that of the second says there is no room."""
    if task.job == 1:
        return {"x": "storage"}
    with (folder / "attempts").open("a") as file:
        file.write("x")
    if (folder / "attempts").stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"x": "done"}


@pytest.fixture(scope="module")
def two_fake_gpus():
    """A local Ray that believes in two GPUs."""
    with connected(Site(cpus=2, gpus=2), 0.5, lambda text: None) as scratch:
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import it
        yield scratch
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def run(folder, scratch, jobs, work, slot):
    from scanner.tuning import run_jobs

    backlog = Backlog([(make_trial(seed=k),) for k in range(jobs)], folder)
    heard = []
    with stoppable(folder) as stop:
        run_jobs(backlog, work, slot, scratch, stop, heard.append)
    return backlog, heard


@pytest.mark.ray
def test_half_a_gpu_each_lets_four_run_on_two(two_fake_gpus, tmp_path):
    work = partial(meet, folder=tmp_path, together=4)
    backlog, heard = run(tmp_path, two_fake_gpus, 4, work, {"cpu": 0.25, "gpu": 0.5})
    assert backlog.finished
    assert len(heard) == 4
    seen = sorted(path.read_text() for path in tmp_path.glob("met*"))
    assert seen == ["'0'", "'0'", "'1'", "'1'"]


@pytest.mark.ray
def test_a_worker_that_asked_for_no_gpu_sees_none(two_fake_gpus, tmp_path):
    work = partial(meet, folder=tmp_path, together=1)
    run(tmp_path, two_fake_gpus, 1, work, {"cpu": 1, "gpu": 0})
    assert (tmp_path / "met0").read_text() == "''"


@pytest.mark.ray
def test_a_killed_worker_is_replaced_and_a_full_disk_stops_the_scan(two_fake_gpus, tmp_path):
    work = partial(die_once, folder=tmp_path)
    backlog, _ = run(tmp_path, two_fake_gpus, 2, work, {"cpu": 2, "gpu": 0})
    assert "could not write" in backlog.stopped
    assert store.failures(tmp_path) == {}
    assert backlog.finished


@pytest.mark.ray
def test_a_trial_that_fits_on_no_node_is_refused(two_fake_gpus, tmp_path):
    with pytest.raises(ClusterError, match=r"takes 3 CPU .*: 2 CPU, 2 GPU\)"):
        run(tmp_path, two_fake_gpus, 1, print, {"cpu": 3, "gpu": 0})
