"""One driver per scan: a living owner is respected, a dead one is not."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from scanner import batch, lock
from scanner.errors import ResultError
from scanner.lock import Owner, scan_lock

FAR = Owner("far.example.org", "another machine", 17, 1)


@pytest.fixture
def quick(monkeypatch):
    for name, seconds in (("BEAT_S", 0.02), ("SILENT_S", 0.4), ("POLL_S", 0.01)):
        monkeypatch.setattr(lock, name, seconds)


def write_lock(folder, owner):
    (folder / "lock").write_text(json.dumps(asdict(owner)))


def this_process(folder):
    with scan_lock(folder):
        return Owner(**json.loads((folder / "lock").read_text()))


def assert_taken_over(folder, said=None):
    with scan_lock(folder, said.append if said is not None else lambda text: None):
        assert json.loads((folder / "lock").read_text())["pid"] == os.getpid()
    assert [path.name for path in folder.iterdir()] == []


def test_the_lock_is_held_and_released(tmp_path):
    with scan_lock(tmp_path):
        holder = json.loads((tmp_path / "lock").read_text())
        assert holder["pid"] == os.getpid()
        with pytest.raises(ResultError, match=f"{holder['host']}, process {os.getpid()}"):
            scan_lock(tmp_path).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_dead_owner_is_replaced(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    write_lock(tmp_path, replace(this_process(tmp_path), pid=child.pid))
    said = []
    assert_taken_over(tmp_path, said)
    assert "is dead" in said[-1]


def test_a_zombie_is_dead(tmp_path):
    command = [sys.executable, "-c", "print(1, flush=True); input()"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    write_lock(tmp_path, replace(this_process(tmp_path), pid=child.pid,
                                 started=lock._started(child.pid)))  # fmt: skip
    with pytest.raises(ResultError, match=f"process {child.pid}"), scan_lock(tmp_path):
        pass
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert_taken_over(tmp_path)
    child.wait()
    child.stdout.close()


def test_a_reused_process_number_is_not_the_owner(tmp_path):
    owner = this_process(tmp_path)
    write_lock(tmp_path, replace(owner, started=owner.started - 1000))
    assert_taken_over(tmp_path)


@pytest.mark.usefixtures("quick")
def test_an_owner_elsewhere_whose_heart_beats_is_respected_and_named(tmp_path, monkeypatch):
    """It holds although every clock that can be set jumps."""
    monkeypatch.setattr(lock, "SILENT_S", 60.0)
    clock = iter(range(0, 10**9, 86_400))
    monkeypatch.setattr("time.time", lambda: float(next(clock)))
    with scan_lock(tmp_path):
        write_lock(tmp_path, FAR)  # the heart goes on until it looks at the lock again
        over = threading.Event()

        def beat():
            while not over.wait(0.01):
                lock._write(tmp_path / "lock.beat", str(next(clock)))

        heart = threading.Thread(target=beat)
        heart.start()
        said = []
        with pytest.raises(ResultError, match=r"far\.example\.org, process 17"):
            scan_lock(tmp_path, said.append).__enter__()
        over.set()
        heart.join()
    assert "watching its heartbeat" in said[0]
    assert (tmp_path / "lock").exists()


@pytest.mark.usefixtures("quick")
def test_an_owner_elsewhere_that_is_silent_is_dead(tmp_path):
    write_lock(tmp_path, FAR)
    said = []
    assert_taken_over(tmp_path, said)
    assert "far.example.org" in said[0]
    assert "taken over" in said[1]


@pytest.mark.parametrize(
    ("mine", "running"), [(("8", 1), None), (("9", 0), False), (("", 0), False)]
)
def test_an_owner_whose_batch_job_is_over_is_dead(tmp_path, monkeypatch, mine, running):
    """Requeued under the same number, or not running any more as SLURM has it."""
    write_lock(tmp_path, replace(FAR, job="8"))
    monkeypatch.setattr(batch, "job", lambda: mine[0])
    monkeypatch.setattr(batch, "restarts", lambda: mine[1])
    monkeypatch.setattr(batch, "is_running", lambda job: running)
    assert_taken_over(tmp_path)


@pytest.mark.usefixtures("quick")
def test_an_owner_hears_that_its_lock_was_taken_over(tmp_path):
    lost = threading.Event()
    with scan_lock(tmp_path) as held:
        held.on_loss = lost.set
        write_lock(tmp_path, FAR)
        assert lost.wait(10)
        assert held.taken_by == FAR
    assert (tmp_path / "lock").exists()  # which is not ours


def test_a_torn_lock_is_replaced(tmp_path):
    (tmp_path / "lock").write_text("{")
    assert_taken_over(tmp_path)


@pytest.mark.parametrize("refused_at", [0, 1])
def test_a_lock_that_cannot_be_read_is_not_taken_away(tmp_path, monkeypatch, refused_at):
    """A network file system may refuse at any look, which says nothing of the owner."""
    write_lock(tmp_path, FAR)
    looks, read = iter(range(1000)), Path.read_text

    def refuse(path):
        if "lock" in path.name and next(looks) >= refused_at:
            raise OSError(errno.ESTALE, "Stale file handle")
        return read(path)

    monkeypatch.setattr(lock, "_heart_beats", lambda *_: False)
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ResultError), scan_lock(tmp_path):
        pass
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    assert lock._read(tmp_path / "lock") == FAR


@pytest.mark.usefixtures("quick")
def test_a_driver_outlives_a_lock_that_it_cannot_read_for_a_while(tmp_path, monkeypatch):
    refused, heard = threading.Event(), threading.Event()
    read = lock._read

    def refuse_once(path):
        if not refused.is_set():
            refused.set()
            raise OSError(errno.EIO, "Input/output error")
        heard.set()
        return read(path)

    monkeypatch.setattr(lock, "_read", refuse_once)
    with scan_lock(tmp_path) as held:
        assert heard.wait(10)
        assert held.taken_by is None
    assert list(tmp_path.iterdir()) == []


def test_a_link_whose_answer_was_lost_is_a_lock(tmp_path, monkeypatch):
    link = os.link

    def link_and_say_no(source, target):
        link(source, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", link_and_say_no)
    assert_taken_over(tmp_path)


@pytest.mark.parametrize("number", lock.NO_LINKS)
def test_a_file_system_without_hard_links_has_locks(tmp_path, monkeypatch, number):
    def refuse(source, target):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    with scan_lock(tmp_path), pytest.raises(ResultError, match=f"process {os.getpid()}"):
        scan_lock(tmp_path).__enter__()
    assert_taken_over(tmp_path)


def test_an_error_inside_releases_the_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), scan_lock(tmp_path):
        raise ZeroDivisionError
    assert_taken_over(tmp_path)
