"""A stop reaches the workers of this run of the driver, and no others."""

from __future__ import annotations

import os
import signal

import pytest

from scanner.stopping import Stop, is_asked, stoppable


def test_sigusr1_leaves_the_marker_and_sigterm_ends_like_ctrl_c(tmp_path):
    before = signal.getsignal(signal.SIGUSR1)
    with stoppable(tmp_path) as stop:
        assert not is_asked(stop.marker)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.requested
        assert is_asked(stop.marker)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_wish_to_stop_survives_a_folder_that_cannot_be_written(tmp_path):
    stop = Stop(tmp_path)
    (tmp_path / "stop").write_text("")  # no folder
    stop.request()
    assert stop.requested
    assert not is_asked(stop.marker)
    assert not is_asked(None)


def test_a_stop_marker_is_of_one_run_only(tmp_path, monkeypatch):
    first = Stop(tmp_path)
    first.request()
    assert first.marker.exists()
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    requeued = Stop(tmp_path)
    assert requeued.marker.name == "8.1"
    assert not requeued.marker.exists()
    assert not Stop(tmp_path).marker.exists()
