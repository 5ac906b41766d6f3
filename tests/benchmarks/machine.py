"""What a figure needs beside it: the machine, the commit and the command."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from scanner.provenance import commit


def cpu_model():
    """The name of the processor, and its vector instructions where the name says little."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    wide = [word for word in ("avx512f", "avx2") if word in facts.get("flags", "").split()]
    family = facts.get("cpu family", "?"), facts.get("model", "?")
    name = facts.get("model name", platform.processor() or platform.machine())
    return f"{name} (family {family[0]}, model {family[1]}, {'/'.join(wide[:1]) or 'no avx2'})"


def head(device):
    """Facts of this run, in the order in which they are printed."""
    revision = commit()
    facts = {
        "command": "python -m tests.benchmarks " + " ".join(sys.argv[1:]),
        "commit": revision.partition("+")[0],
        "package": "changed since the commit" if "+" in revision else "as committed",
        "time": datetime.now(UTC).isoformat(timespec="minutes"),
        "host": platform.node(),
        "cpu": f"{cpu_model()}, {len(os.sched_getaffinity(0))} cores here, 1 thread used",
        "load": f"{os.getloadavg()[0]:.1f} processes ran in the minute before",
        "versions": ", ".join(
            f"{name} {version(name)}" for name in ("torch", "torch-geometric", "nflows", "ray")
        ),
    }
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        facts["gpu"] = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    return facts
