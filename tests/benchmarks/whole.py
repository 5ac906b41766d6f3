"""Seconds of a launch besides its packs: the start of Ray and a worker, and those of a pack."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import scanner

from .rows import Row

PACKS = """\
name: benchmark
dataset: sample
channels: ["3"]
grid:
  representation: [all]
  architecture: [gcn_vae]
  hlf: [false]
  beta: [0.5]
  score: [rz]
  flow: [none]
  seed: [{seeds}]
resources: {{pack: 1}}
"""
NO_WORK = 60


def launch_rows():
    """Starting Ray and one worker with its imports, then packs that do nothing, one CPU."""
    def nothing(task, jobs, place):
        import scanner.run  # noqa: F401 - a worker's imports are part of its start

        return {}

    ends = []
    with tempfile.TemporaryDirectory() as scratch, patch(
        "scanner.launch.run_task", nothing
    ):
        grid = Path(scratch) / "benchmark.yaml"
        grid.write_text(PACKS.format(seeds=", ".join(map(str, range(NO_WORK)))))
        started = time.perf_counter()
        scanner.launch(grid, Path(scratch) / "results", cpus=1,
                       progress=lambda *_: ends.append(time.perf_counter()))
        whole_s = time.perf_counter() - started
    per_pack = (ends[-1] - ends[0]) / (len(ends) - 1)
    return [
        Row("launch", "until the first no-work pack ended", None, ends[0] - started, "s"),
        Row("launch", "each further no-work pack", None, per_pack, "s"),
        Row("launch", "after the last pack", None, started + whole_s - ends[-1], "s"),
    ]
