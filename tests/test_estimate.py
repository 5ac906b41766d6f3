"""The rates of a pilot: kept per machine, used by later dry runs, never without a word."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import scanner
from scanner.cost import Rate, Rates
from scanner.datasets import open_dataset, read
from scanner.errors import DataError, GridError, ScannerError
from scanner.estimate import channel_events, count_events, estimate, rates_path, read_rates
from scanner.launch import load_grid
from scanner.split import PUBLISHED, split_indices
from scanner.trial import PUBLISHED_TEST, Split

GRID = """\
name: tiny
dataset: sample
channels: ["2a", "3"]
grid:
  representation: [truncated]
  architecture: [deepset_vae]
  hlf: [false]
  beta: [0.5]
  score: [rz]
  flow: [none]
  seed: [0, 1]
training: {max_epochs: 2}
"""
KIND = "deepset_vae none truncated nohlf batch32"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_grid(folder, text=GRID):
    path = folder / "grid.yaml"
    path.write_text(text)
    return path


def fake(kinds, commit="c"):
    return lambda *_: Rates("h", "cpu", "2", commit, "now", 1e-5,
                            {kind: Rate(2, 500.0, 1e-4, 0.1) for kind in kinds})  # fmt: skip


def test_the_counts_are_those_of_the_split(tmp_path):
    grid = load_grid(write_grid(tmp_path))
    opened, counts = open_dataset("sample"), count_events(grid, None)
    for channel, found in counts.items():
        background = len(read(opened, channel, "background"))
        parts = [len(part) for part in split_indices(background, grid.split, channel)]
        signals = sum(len(read(opened, channel, name)) for name in opened.channels[channel])
        assert [found.train, found.validation, found.scored - signals] == parts
    published = channel_events({"background": 20_005, "s": 222}, Split(PUBLISHED_TEST), "2a")
    assert published.scored == PUBLISHED["2a"] + 222


def test_without_rates_there_is_no_estimate(tmp_path):
    assert estimate(write_grid(tmp_path)) is None


def test_a_pilot_is_kept_and_grows_until_the_code_changes(tmp_path, monkeypatch):
    grid = write_grid(tmp_path)
    monkeypatch.setattr("scanner.pilot.measure", fake(["a b c d e", KIND]))
    made = scanner.estimate(grid, pilot=True, cpus=2)
    assert json.loads(rates_path("cpu").read_text())["kinds"].keys() == {"a b c d e", KIND}
    assert estimate(grid, cpus=2) == made
    assert made.workers == 2
    monkeypatch.setattr("scanner.pilot.measure", fake([KIND]))
    estimate(grid, pilot=True)
    assert read_rates("cpu").kinds.keys() == {"a b c d e", KIND}
    monkeypatch.setattr("scanner.pilot.measure", fake([KIND], "d"))
    estimate(grid, pilot=True)
    assert read_rates("cpu").kinds.keys() == {KIND}


@pytest.mark.parametrize(
    ("here", "each", "workers"), [(0, 1, 1), (4, 1, 4), (4, 2, 2), (4, 0.25, 4), (9, 1, 8)]
)
def test_packs_run_on_all_gpus_that_are_here(tmp_path, monkeypatch, here, each, workers):
    """Packs that share a GPU count as one, and every pack has a CPU."""
    monkeypatch.setattr("scanner.pilot.measure", fake([KIND]))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: here)
    grid = write_grid(tmp_path, f"{GRID}resources: {{gpus_per_trial: {each}}}\n")
    assert scanner.estimate(grid, pilot=True, cpus=8).workers == workers


def test_a_pilot_measures_the_smallest_channel(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("scanner.pilot.measure", lambda *a: asked.append(a[1]) or fake([KIND])())
    estimate(write_grid(tmp_path), pilot=True)
    counts = count_events(load_grid(write_grid(tmp_path)), None)
    sizes = {c: n.train + n.validation + n.scored for c, n in counts.items()}
    assert asked == [min(sizes, key=sizes.get)]


def test_damaged_rates_are_named(tmp_path):
    path = rates_path("cpu")
    path.parent.mkdir(parents=True)
    for text in ("{", "[]", '{"host": "h"}', '{"kinds": {"a": {"pack": 1}}}'):
        path.write_text(text)
        with pytest.raises(ScannerError, match=r"rates-.*unreadable.*--pilot"):
            estimate(write_grid(tmp_path))


def test_a_channel_without_events_is_refused(tmp_path, monkeypatch):
    for events in ({}, {"background": 2}):
        with pytest.raises(DataError, match=r"channel 3: \d background events cannot give"):
            channel_events(events, Split(), "3")
    files = {"files": {"a": {"channel": "2a", "process": "s", "events": 9}}}
    monkeypatch.setattr(sys.modules["scanner.estimate"], "read_index", lambda path: files)
    with pytest.raises(DataError, match="channel 2a: 0 background events"):
        estimate(write_grid(tmp_path), pilot=True)


def test_an_unknown_dataset_is_refused(tmp_path):
    with pytest.raises(GridError, match="'nowhere' is not imported"):
        estimate(write_grid(tmp_path, GRID.replace("sample", "nowhere")), pilot=True)


def test_an_estimate_grows_with_the_epochs(tmp_path, monkeypatch):
    monkeypatch.setattr("scanner.pilot.measure", fake([KIND]))
    short = estimate(write_grid(tmp_path), pilot=True, cpus=1)
    long = estimate(write_grid(tmp_path, GRID.replace("max_epochs: 2", "max_epochs: 4")), cpus=1)
    ratio = sum(n.train_h for n in long.lines) / sum(n.train_h for n in short.lines)
    assert np.isclose(ratio, 2)


def test_a_dry_run_imports_neither_torch_nor_ray(tmp_path, monkeypatch):
    monkeypatch.setattr("scanner.pilot.measure", fake([KIND]))
    estimate(write_grid(tmp_path), pilot=True)
    code = (
        "import sys; from scanner.cli import cli;"
        "cli(['launch', 'grid.yaml', '--dry-run'], standalone_mode=False);"
        "print([m for m in ('torch', 'ray', 'nflows', 'matplotlib') if m in sys.modules])"
    )
    made = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                          text=True, check=True)  # fmt: skip
    lines = made.stdout.splitlines()
    assert lines[-1] == "[]"
    assert "CPU hours" in lines[-2]
    assert not (tmp_path / "results").exists()
