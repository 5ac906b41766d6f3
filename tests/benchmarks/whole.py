"""Seconds of a launch besides its packs: the start of Ray and a worker, and those of a pack."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import scanner
from scanner import store
from scanner.grid import parse
from scanner.place import Place
from scanner.plan import plan

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
training: {{max_epochs: 1}}
resources: {{pack: 1}}
"""
NO_WORK = 2000
TRIAL_S = 60


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
    besides = _besides_training()
    share = 100 * (per_pack + besides) / TRIAL_S
    return [
        Row("launch", "until the first no-work pack ended", None, ends[0] - started, "s"),
        Row("launch", "each further no-work pack", None, per_pack, "s"),
        Row("launch", "after the last pack", None, started + whole_s - ends[-1], "s"),
        Row("launch", "scoring, measuring and writing a trial", None, besides, "s"),
        Row("launch", f"both, of a trial of {TRIAL_S} s", None, share, "%"),
    ]


def _besides_training():
    """Seconds that a worker spends on a trial besides its training, once it has its data."""
    from scanner.run import run_pack

    first, second = (pack[0] for pack in plan(parse(PACKS.format(seeds="0, 1"), "")).packs)
    with tempfile.TemporaryDirectory() as scratch:
        run_pack([first], Place(Path(scratch)))
        started = time.perf_counter()
        run_pack([second], Place(Path(scratch)))
        whole_s = time.perf_counter() - started
        table = store.read_table(store.table_path(Path(scratch), second.id), ["wall_s"])
    return whole_s - table["wall_s"][0].as_py()
