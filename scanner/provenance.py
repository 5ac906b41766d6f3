"""Where a result came from: commit, versions, host, device, batch job."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("scanner", "torch", "ray", "nflows", "optuna", "numpy", "pandas", "pyarrow", "scipy")
JOB_VARIABLES = ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "SLURMD_NODENAME")


@lru_cache(maxsize=1)
def commit() -> str:
    """The git commit of this code, `+` and a digest of the changes if there are any.

    Without a git checkout (an installed wheel) it is the version of the package.
    """
    here = Path(__file__).parent
    if not (here.parent / ".git").exists():
        return f"v{version('scanner')}"
    head = _git(here, "rev-parse", "HEAD")
    changes = _git(here, "diff", "HEAD", "--", ".")
    digest = f"+{hashlib.sha256(changes.encode()).hexdigest()[:8]}" if changes else ""
    return f"{head[:12]}{digest}" if head else f"v{version('scanner')}"


def provenance(device: str) -> dict[str, str]:
    """What a result file says of its making: flat text, ready for JSON."""
    return {
        "commit": commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "host": platform.node(),
        "device": device,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: os.environ[name] for name in JOB_VARIABLES if name in os.environ},
    }


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
