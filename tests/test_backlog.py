"""What follows from how a job ended, cause by cause."""

from __future__ import annotations

import os

import pytest
from conftest import make_trial

from scanner import store
from scanner.atomic import write_text
from scanner.backlog import MOST_DEATHS, MOST_IDENTICAL, Backlog

BUG = {"class": "bug", "exception": "TypeError('of 3')", "frame": "losses.py:10 loss"}


def packs_of(sizes):
    seeds = iter(range(100))
    return [tuple(make_trial(seed=next(seeds)) for _ in range(size)) for size in sizes]


@pytest.fixture
def backlog(tmp_path):
    return lambda *sizes: Backlog(packs_of(sizes), tmp_path)


def run_next(backlog, name="worker"):
    return backlog.job(backlog.hand_out(name))


def classes(results):
    return sorted(record["class"] for record in store.failures(results).values())


def outcome(pack, kind):
    return {trial.id: kind for trial in pack}


def write_failures(results, pack, record):
    for trial in pack:
        store.write_failure(results, trial, record)


def test_every_job_is_handed_out_once(backlog):
    jobs = backlog(2, 1, 3)
    for pack in jobs.jobs:
        assert run_next(jobs) == pack
        assert not jobs.finished
        jobs.ended("worker", outcome(pack, "done"))
    assert jobs.finished
    assert jobs.hand_out("worker") is None


def test_a_diverged_training_is_a_result(backlog, tmp_path):
    jobs = backlog(1)
    jobs.ended("worker", outcome(run_next(jobs), "diverged"))
    assert jobs.finished
    assert classes(tmp_path) == []


def test_a_lost_node_is_never_counted(backlog, tmp_path):
    jobs = backlog(2)
    for _ in range(10 * MOST_DEATHS):
        run_next(jobs)
        jobs.node_lost("worker")
    jobs.ended("worker", outcome(run_next(jobs), "done"))
    assert jobs.finished
    assert classes(tmp_path) == []


def test_a_worker_that_dies_without_getting_on_is_given_up(backlog, tmp_path):
    jobs = backlog(1)
    for _ in range(MOST_DEATHS):
        assert not jobs.finished
        run_next(jobs)
        jobs.died("worker", "ActorDiedError")
    assert jobs.finished
    assert classes(tmp_path) == ["crashed"]


@pytest.mark.parametrize("room", [1, 2, 5])
def test_a_pack_that_is_killed_without_a_word_is_tried_in_halves(backlog, tmp_path, room):
    """As by the memory limit of a batch job: whatever there is room for gets done."""
    jobs = backlog(16)
    while not jobs.finished:
        pack = run_next(jobs)
        if len(pack) > room:
            jobs.died("worker", "ActorDiedError")
        else:
            jobs.ended("worker", outcome(pack, "done"))
    assert classes(tmp_path) == []


def test_a_trial_that_kills_its_workers_is_given_up_and_the_others_are_not(backlog, tmp_path):
    jobs, deaths = backlog(16), 0
    (bad, *_), done = jobs.jobs[0], set()
    while not jobs.finished:
        pack = run_next(jobs)
        if bad in pack:
            deaths += 1
            jobs.died("worker", "ActorDiedError")
        else:
            done |= set(pack)
            jobs.ended("worker", outcome(pack, "done"))
    assert deaths == MOST_DEATHS
    assert list(store.failures(tmp_path)) == [bad.id]
    assert done == {*jobs.jobs[0]} - {bad}


def test_a_worker_that_gets_on_between_its_deaths_is_not(backlog, tmp_path):
    jobs = backlog(2)
    for death in range(3 * MOST_DEATHS):
        pack = run_next(jobs)
        path = store.checkpoint_path(tmp_path, pack[0])
        write_text(path, "further")
        os.utime(path, (death, death))
        jobs.died("worker", "ActorDiedError")
    assert not jobs.finished
    assert classes(tmp_path) == []


def test_want_of_memory_is_tried_once_more_with_half_the_pack(backlog, tmp_path):
    jobs = backlog(5)
    (pack,) = jobs.jobs
    run_next(jobs)
    jobs.died("worker", "low on memory", memory=True)
    halves = run_next(jobs, "a"), run_next(jobs, "b")
    assert halves == (pack[:2], pack[2:])
    jobs.ended("a", outcome(halves[0], "done"))
    jobs.died("b", "low on memory", memory=True)
    assert jobs.finished
    assert classes(tmp_path) == ["out_of_memory"] * 3


def test_a_pack_of_one_is_tried_once_more_as_it_is(backlog, tmp_path):
    jobs = backlog(1)
    for _ in range(2):
        run_next(jobs)
        jobs.died("worker", "low on memory", memory=True)
    assert jobs.finished
    assert classes(tmp_path) == ["out_of_memory"]


def test_a_bug_is_not_retried_and_five_alike_stop_the_scan(backlog, tmp_path):
    jobs = backlog(*[2] * 8)
    for count in range(MOST_IDENTICAL):
        assert not jobs.stopped
        pack = run_next(jobs)
        text = f"TypeError('of {count}')"  # what differs in the text does not make it another
        write_failures(tmp_path, pack, {**BUG, "exception": text})
        jobs.ended("worker", outcome(pack, "bug"))
    assert jobs.stopped.startswith("5 jobs failed alike: TypeError('of 4') at losses.py:10 loss")
    assert jobs.hand_out("worker") is None
    assert jobs.finished


def test_different_bugs_do_not_stop_it(backlog, tmp_path):
    jobs = backlog(*[1] * 8)
    for line in range(8):
        pack = run_next(jobs)
        write_failures(tmp_path, pack, {**BUG, "frame": f"losses.py:{line} loss"})
        jobs.ended("worker", outcome(pack, "bug"))
    assert not jobs.stopped


def test_an_exception_that_no_worker_recorded_is_recorded(backlog, tmp_path):
    jobs = backlog(2)
    run_next(jobs)
    jobs.failed("worker", {**BUG, "traceback": ""})
    assert classes(tmp_path) == ["bug", "bug"]


def test_a_disk_too_full_for_a_record_stops_the_scan_too(backlog):
    jobs = backlog(2, 2)
    run_next(jobs)
    jobs.ended("worker", {"0000": "storage"})
    assert jobs.stopped.endswith("a worker could not write there; make room or mend it")


@pytest.mark.parametrize(
    ("kind", "words"),
    [("data", "do not serve: Error('why'); mend them"),
     ("storage", "could not write there: Error('why'); make room")],
)  # fmt: skip
def test_what_does_not_mend_itself_stops_the_scan(backlog, tmp_path, kind, words):
    jobs = backlog(1, 1, 1)
    pack, running = run_next(jobs), run_next(jobs, "other")
    write_failures(tmp_path, pack, {"class": kind, "exception": "Error('why')"})
    jobs.ended("worker", outcome(pack, kind))
    assert words in jobs.stopped
    assert jobs.hand_out("worker") is None
    assert not jobs.finished  # what runs may end
    jobs.ended("other", outcome(running, "done"))
    assert jobs.finished
    assert jobs.left == 1


def test_an_interrupted_job_is_left(backlog, tmp_path):
    jobs = backlog(2)
    jobs.ended("worker", outcome(run_next(jobs), "interrupted"))
    assert (jobs.left, classes(tmp_path)) == (1, [])
