"""One driver per scan: a living owner is respected, a dead one is not."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import psutil
import pytest

from scanner.errors import ResultError
from scanner.lock import scan_lock


def write_lock(folder, host, pid, started):
    (folder / "lock").write_text(json.dumps({"host": host, "pid": pid, "started": started}))


def test_the_lock_is_held_and_released(tmp_path):
    with scan_lock(tmp_path):
        holder = json.loads((tmp_path / "lock").read_text())
        assert holder["pid"] == os.getpid()
        with pytest.raises(ResultError, match=str(os.getpid())), scan_lock(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_dead_owner_is_replaced(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    write_lock(tmp_path, platform.node(), child.pid, 0.0)
    with scan_lock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_a_reused_process_number_is_not_the_owner(tmp_path):
    started = psutil.Process(os.getpid()).create_time()
    write_lock(tmp_path, platform.node(), os.getpid(), started - 1000)
    with scan_lock(tmp_path):
        pass


def test_an_owner_elsewhere_is_respected_and_named(tmp_path):
    write_lock(tmp_path, "far.example.org", 17, 0.0)
    with pytest.raises(ResultError, match=r"far\.example\.org, process 17"), scan_lock(tmp_path):
        pass
    assert (tmp_path / "lock").exists()


def test_a_torn_lock_is_replaced(tmp_path):
    (tmp_path / "lock").write_text("{")
    with scan_lock(tmp_path):
        pass


def test_an_error_inside_releases_the_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), scan_lock(tmp_path):
        raise ZeroDivisionError
    with scan_lock(tmp_path):
        pass
