"""The pilot trains and scores for real, in the time it is given, on background events."""

from __future__ import annotations

import itertools

import pytest
import torch

from scanner import pilot, train
from scanner.channel import load_channel_of
from scanner.cost import estimate, kind_of
from scanner.errors import DataError, ScannerError
from scanner.estimate import count_events
from scanner.grid import parse
from scanner.pilot import measure
from scanner.plan import plan

GRID = """\
name: tiny
dataset: sample
channels: ["2a"]
grid:
  representation: [truncated]
  architecture: [deepset_vae]
  hlf: [false]
  beta: [0.5]
  score: [rz]
  flow: [none, planar]
  seed: [0, 1]
training: {max_epochs: 7, patience: 1, batch_size: 64}
"""


def grid(text=GRID):
    return parse(text, "grid.yaml")


def test_a_pilot_times_every_kind_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planned = plan(grid())
    seen = []
    real = pilot.fit
    monkeypatch.setattr(pilot, "fit", lambda *a: seen.append(a[:2]) or real(*a))
    rates = measure(planned, "2a", None, "cpu", budget_s=60)
    assert set(rates.kinds) == {kind_of(trial) for trial in planned.trials}
    for rate in rates.kinds.values():
        assert rate.pack == 2
        assert rate.train > 0
        assert rate.score_s >= 0
        assert rate.trial_s >= 0
    assert rates.load_s > 0
    assert all(len(pack) == 2 and len(train.objects) >= 2 * 64 for pack, train in seen)
    assert list(tmp_path.iterdir()) == []
    made = estimate(planned, rates, count_events(grid(), None), workers=1)
    assert made.epochs == 7
    assert made.wall_s > 0


def test_without_time_the_kinds_with_most_trials_are_measured(monkeypatch):
    text = GRID + "exclude: [{flow: none, seed: 1}]\n"
    rates = measure(plan(grid(text)), "2a", None, "cpu", budget_s=1e-9)
    assert list(rates.kinds) == ["deepset_vae planar truncated nohlf batch64"]


def test_a_search_is_timed_in_its_batches():
    text = GRID + "search: {trials: 9, batch: 3, space: {learning_rate: {log: [1.0e-4, 0.1]}}}\n"
    rates = measure(plan(grid(text)), "2a", None, "cpu", budget_s=1)
    assert {rate.pack for rate in rates.kinds.values()} == {3}


def test_a_pilot_that_cannot_be_says_why():
    nothing = GRID + "exclude: [{flow: none}, {flow: planar}]\n"
    with pytest.raises(ScannerError, match="plans no trial"):
        measure(plan(grid(nothing)), "2a", None, "cpu")
    with pytest.raises(ScannerError, match="cannot give"):
        measure(plan(grid(GRID + "split: {test: 5051}\n")), "2a", None, "cpu")
    with pytest.raises(DataError, match="'nowhere': not in data"):
        measure(plan(grid(GRID.replace("sample", "nowhere"))), "2a", None, "cpu")
    wild = GRID.replace("patience: 1", "learning_rate: 1.0e+30")
    with pytest.raises(ScannerError, match="diverged"):
        measure(plan(grid(wild)), "2a", None, "cpu", budget_s=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_pilot_for_gpus_needs_one():
    with pytest.raises(ScannerError, match="asks for GPUs and there is none here"):
        measure(plan(grid()), "2a", None, "cuda")


@pytest.mark.parametrize("events", [64, 150, 5 * 64, 700])
def test_a_pilot_on_a_gpu_times_no_capture(monkeypatch, events):
    """Whatever fits into an epoch: with a stand-in, the last one has replays alone."""
    ran, epochs = [], []

    def captured(members, inputs, total):
        taken = itertools.count(1)

        def step(index, noise):
            ran.append("replay" if next(taken) > train.EAGER_STEPS + 1 else "capture")

        return step

    def fit(pack, inputs, validation, on_epoch):
        def ended(*given):
            epochs.append(list(ran))
            ran.clear()
            on_epoch(*given)

        return train.fit(pack, inputs, validation, ended)

    monkeypatch.setattr(train, "_quick_step", captured)
    monkeypatch.setattr(pilot, "fit", fit)
    monkeypatch.setitem(pilot.LEAST_STEPS, "cpu", pilot.LEAST_STEPS["cuda"])
    pack = plan(grid()).packs[0][:1]
    pilot._time_epoch(pack, load_channel_of(pack[0], None, "cpu"), events)
    assert "capture" in epochs[0]
    assert set(epochs[-1]) == {"replay"}
    assert sum(map(len, epochs[:-1])) >= train.EAGER_STEPS + 2
