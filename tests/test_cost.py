"""The estimate is the arithmetic of a plan, its rates and its events, as one does it by hand."""

from __future__ import annotations

import pytest

from scanner.cost import (
    PER_PACK_S,
    START_S,
    Events,
    Rate,
    Rates,
    estimate,
    kind_of,
    makespan,
    nearest,
    planned_kinds,
)
from scanner.grid import parse
from scanner.plan import plan

GRID = """\
name: x
dataset: sample
channels: ["2b", "3"]
grid:
  representation: [all]
  architecture: [gcn_vae, conv_vae]
  hlf: [false]
  beta: [0.5]
  score: [rz]
  flow: [none]
  seed: [0, 1, 2]
training: {max_epochs: 10}
"""
SEARCH = "search: {trials: 8, batch: 4, space: {learning_rate: {log: [1.0e-4, 1.0e-2]}}}\n"
GCN, CONV = "gcn_vae none all nohlf batch32", "conv_vae none all nohlf batch32"
RATES = Rates("h", "cpu", "2", "c", "now", load_s=0.001, kinds={
    GCN: Rate(3, 1000.0, 0.001, 2.0), CONV: Rate(3, 100.0, 0.002, 1.0),
})  # fmt: skip
EVENTS = {"2b": Events(1000, 50, 500), "3": Events(2000, 100, 700)}


def test_the_estimate_is_that_of_a_hand_count():
    """Channel 2b: 3 trainings x 10 epochs x 1000 events; channel 3: twice the events."""
    made = estimate(plan(parse(GRID, "x")), RATES, EVENTS, workers=1)
    gcn, conv = sorted(made.lines, key=lambda line: line.train_h)
    assert (gcn.kind, gcn.measured, gcn.trials) == (GCN, GCN, 6)
    assert gcn.train_h * 3600 == pytest.approx(30 + 60)
    assert conv.train_h * 3600 == pytest.approx(300 + 600)
    assert gcn.score_h * 3600 == pytest.approx(3 * (2 + 0.5) + 3 * (2 + 0.7))
    assert conv.score_h * 3600 == pytest.approx(3 * (1 + 1.0) + 3 * (1 + 1.4))
    assert made.load_h * 3600 == pytest.approx(0.001 * (1550 + 2800))
    work_s = 90 + 900 + 15.6 + 13.2 + 4 * PER_PACK_S + 4.35
    assert made.wall_s == pytest.approx(START_S + work_s)
    assert made.device_h * 3600 == pytest.approx(work_s)
    assert "at most 0.284 CPU hours and 17 min with 1 pack at a time: all 10 epochs" in made.text


def test_workers_share_the_packs_and_each_reads_its_data():
    one, two = (estimate(plan(parse(GRID, "x")), RATES, EVENTS, workers=n) for n in (1, 2))
    assert two.load_h == pytest.approx(2 * one.load_h)
    assert two.wall_s < one.wall_s
    assert two.wall_s > one.wall_s / 2


def test_a_search_costs_all_its_trainings():
    planned = plan(parse(GRID + SEARCH, "x"))
    made = estimate(planned, RATES, EVENTS, workers=1)
    assert sum(line.trials for line in made.lines) == planned.n_trials == 96
    assert {kind: len(pack) for kind, pack in planned_kinds(planned).items()} == {GCN: 4, CONV: 4}


def test_gpus_are_counted_whole():
    rates = Rates("h", "cuda", "2", "c", "now", 0.0, RATES.kinds)
    hours = [estimate(plan(parse(GRID, "x")), rates, EVENTS, workers=1, gpus_per_trial=share)
             for share in (0.25, 1, 2)]  # fmt: skip
    assert hours[0].device_h == hours[1].device_h == hours[2].device_h / 2
    assert "GPU hours" in hours[0].text


def test_a_kind_that_was_not_measured_is_as_slow_as_the_most_alike():
    flow = "gcn_vae planar truncated nohlf batch32"
    known = {GCN: Rate(1, 10.0, 0, 0), flow: Rate(1, 5.0, 0, 0), CONV: Rate(1, 7.0, 0, 0)}
    assert nearest(GCN, known) == GCN
    assert nearest("gcn_vae none all hlf batch32", known) == GCN
    assert nearest("conv_vae planar all nohlf batch32", known) == CONV
    assert nearest("deepset_vae iaf truncated nohlf batch32", known) == flow
    rates = Rates("h", "cpu", "2", "c", "now", 0.0, {GCN: known[GCN]})
    made = estimate(plan(parse(GRID, "x")), rates, EVENTS, workers=1)
    assert f"{CONV} *" in made.text
    assert "not measured: 1 of 2 kinds" in made.text


def test_a_kind_is_all_that_decides_the_speed():
    trials = plan(parse(GRID.replace("seed: [0, 1, 2]", "seed: [0]"), "x")).trials
    assert [kind_of(trial) for trial in trials] == [GCN, CONV, GCN, CONV]


def test_jobs_go_to_the_worker_that_is_free_first():
    assert makespan([3, 1, 1, 1, 2], 2) == 5
    assert makespan([1, 1, 1], 9) == 1
    assert makespan([], 2) == 0
