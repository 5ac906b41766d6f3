"""The batch job that this process runs in, as its environment and SLURM's commands tell."""

from __future__ import annotations

import os
import platform
import subprocess

ALIVE = ("RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
OVER = ("", "PENDING", "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED",
        "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "REQUEUED", "REQUEUE_HOLD")  # fmt: skip
PATIENCE_S = 20  # of a question to the controller, which may be busy or away


def job() -> str:
    """Id of the batch job; empty outside one."""
    return os.environ.get("SLURM_JOB_ID", "")


def restarts() -> int:
    """How often the batch job was requeued."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def incarnation() -> str:
    """A name for this run of a batch job, which a requeued one has not; or for this process."""
    if job():
        return f"{job()}.{restarts()}"
    return f"{platform.node()}.{os.getpid()}"


def node_names() -> list[str]:
    """Names of the job's nodes; none outside a job, or where SLURM's commands are absent."""
    listed = os.environ.get("SLURM_JOB_NODELIST", "")
    return _asked("scontrol", "show", "hostnames", listed)[1].split() if listed else []


def is_running(job_id: str) -> bool | None:
    """Whether SLURM says that a job runs; None where it cannot say."""
    code, said = _asked("squeue", "--noheader", f"--jobs={job_id}", "--format=%T")
    if code and "Invalid job id" not in said:
        return None
    state = "" if code else said.strip()
    return True if state in ALIVE else False if state in OVER else None


def _asked(*command: str) -> tuple[int, str]:
    """Exit code and text of a command; 127 where there is no answer."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return 127, ""
    return ended.returncode, ended.stdout + ended.stderr
