"""Seconds of what a user waits for besides training: the start of a launch, and the report."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np

import scanner
from scanner import store
from scanner.collected import metrics
from scanner.grid import parse
from scanner.place import Place
from scanner.plan import plan

from .rows import Row

TRIALS = """\
name: benchmark
dataset: sample
channels: ["1", "2a", "2b", "3"]
grid:
  representation: [all]
  architecture: [conv_vae, gcn_vae]
  hlf: [false]
  beta: [0.2, 0.4, 0.5, 0.6, 0.8]
  score: [reconstruction, kl, rz]
  flow: [none, planar, sylvester_householder, iaf, nsf_ar]
  seed: [0, 1, 2, 3, 4]
"""
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
SIGNALS = {"1": 10, "2a": 9, "2b": 9, "3": 10}
NO_WORK = 2000
TRIAL_S = 60


def report_rows():
    """Making the report of 1,000 made-up trials on 38 (channel, signal) pairs."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "benchmark"
        trials = _write_trials(folder)
        started = time.perf_counter()
        metrics(folder)
        read_s = time.perf_counter() - started
        scanner.report([folder], Path(scratch) / "report")
        made_s = time.perf_counter() - started - read_s
    return [Row("report", f"reading {trials} trials", None, read_s, "s"),
            Row("report", f"report of {trials} trials", None, made_s, "s")]  # fmt: skip


def _write_trials(folder):
    grid = parse(TRIALS, "benchmark.yaml")
    store.write_scan(folder, store.Scan("benchmark.yaml", TRIALS, "sample", "digest", {}))
    random, trials = np.random.default_rng(0), plan(grid).trials
    merits = ("auc", "eps_s_1e-2", "eps_s_1e-3", "eps_s_1e-4")
    for trial in trials:
        rows = [
            {"score": score, "signal": f"s{k}", "status": "done", "stage": stage, "epochs": 3,
             "n_background": 20_000, "n_signal": 500,
             **dict(zip(merits, map(float, random.uniform(0, 1, 4)), strict=True))}
            for k in range(SIGNALS[trial.channel]) for score in grid.score
            for stage in ("trained", "untrained")
        ]  # fmt: skip
        metadata = {"trial": trial.to_json(), "provenance": json.dumps({"commit": "", "host": ""})}
        with patch("os.fsync"):  # only the writing is made quick; it is not what is measured
            store.write_metrics(folder / "trials" / f"{trial.id}.parquet", rows, metadata)
    return len(trials)


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
