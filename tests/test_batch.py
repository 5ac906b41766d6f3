"""What SLURM's commands say of a job, and what it means where they cannot say."""

from __future__ import annotations

import pytest

from scanner import batch


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(name, text, code=0):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{text}'\nexit {code}\n")
        (tmp_path / name).chmod(0o755)

    return make


@pytest.mark.parametrize(
    ("said", "code", "running"),
    [("RUNNING", 0, True), ("PENDING", 0, False), ("", 0, False), ("COMPLETING", 0, None),
     ("slurm_load_jobs error: Invalid job id specified", 1, False),
     ("Unable to contact slurm controller", 1, None)],
)  # fmt: skip
def test_a_job_runs_as_squeue_says(command, said, code, running):
    command("squeue", said, code)
    assert batch.is_running("8") is running


def test_without_slurm_nothing_is_known(command, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node[1-2]")
    assert batch.is_running("8") is None
    assert batch.node_names() == []


def test_an_incarnation_is_one_run_of_a_job(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    alone = batch.incarnation()
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    first = batch.incarnation()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert len({alone, first, batch.incarnation()}) == 3
