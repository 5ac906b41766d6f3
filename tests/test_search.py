"""Searches: never worse than the grid's settings, the same after a death, the best alone ranked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from math import inf

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from conftest import make_trial

import scanner
from scanner import store
from scanner.channel import load_channel_of
from scanner.collected import metrics
from scanner.datasets import open_dataset, read
from scanner.datasets.darkmachines import import_folder, write_text
from scanner.grid import parse
from scanner.losses import chamfer, hlf_error, kl
from scanner.members import stream
from scanner.models import build_model
from scanner.pending import pending_jobs
from scanner.place import Place
from scanner.plan import plan, summary
from scanner.pool import read_pool
from scanner.search import run_study, suggest
from scanner.status import describe, status
from scanner.study import Found, Record, Study, record
from scanner.upkeep import damaged, set_aside

GRID = """\
name: small
dataset: tiny
channels: ["3"]
grid:
  representation: [truncated]
  architecture: [gcn_vae]
  hlf: [true]
  beta: [0.5]
  score: [reconstruction, kl]
  flow: [none]
  seed: [0, 1]
training: {max_epochs: 1, learning_rate: 1.0e-3}
split: {test: 0.3, validation: 0.2}
search:
  trials: 5
  batch: 2
  space: {hlf_weight: {log: [1.0e-2, 1.0e2]}, learning_rate: {log: [1.0e-4, 1.0e-2]}}
"""
COMMAND = [sys.executable, "-m", "scanner", "launch", "grid.yaml", "--cpus", "1", "--data"]


def write_grid(folder, text=GRID):
    path = folder / "grid.yaml"
    path.write_text(text)
    return path


def planned(text=GRID):
    return plan(parse(text, "x"))


def trainings(results):
    """What the searches of a folder suggested and found, as written."""
    return {path.name: json.dumps(json.loads(path.read_text())["trainings"])
            for path in sorted((results / "studies").glob("*.json"))}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with 600 events of the sample's background and 60 of each of two signals."""
    folder = tmp_path_factory.mktemp("data")
    sample, source = open_dataset("sample"), folder / "text" / "chan3"
    source.mkdir(parents=True)
    write_text(read(sample, "3", "background").take(range(600)), source / "background_chan3_1.csv")
    for name in sample.channels["3"][:2]:
        write_text(read(sample, "3", name).take(range(60)), source / f"{name}_chan3.csv")
    import_folder(folder / "text", "tiny", folder / "data")
    return folder / "data"


@pytest.fixture(scope="module")
def undisturbed(root, tmp_path_factory):
    """The searches by themselves: no Ray, no second process, no interruption."""
    folder = tmp_path_factory.mktemp("search")
    text = write_grid(folder).read_text()
    store.write_scan(folder, store.Scan("grid.yaml", text, "tiny", "digest", {}))
    seen = []
    for study in planned().studies:
        assert set(run_study(study, Place(folder, root), seen.append).values()) == {"done"}
    assert seen == [2, 4, 5] * 2
    return folder


@pytest.fixture(scope="module")
def records(undisturbed):
    return store.read_studies(undisturbed, planned().studies)


# what is suggested


def study(trials=9, batch=3, sampler="tpe", space=(("hlf_weight", 0.01, 100.0),), **training):
    return Study(make_trial(hlf=True, **training), sampler, trials, batch, space)


def followed(study, cost):
    """A search whose objective is a formula."""
    found = Record(study)
    while not found.complete:
        batch = suggest(found)
        assert 0 < len(batch) <= study.batch
        found = replace(found, found=(*found.found, *(Found(t, cost(t)) for t in batch)))
    return found


def off(trial):
    """A cost with its minimum at 10."""
    return abs(np.log10(trial.training.hlf_weight) - 1)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_suggestions_start_with_the_grids_own_and_stay_inside(sampler):
    found = followed(study(20, 4, sampler), off).found
    assert len(found) == 20
    assert found[0].trial == study().trial
    assert all(0.01 <= f.trial.training.hlf_weight <= 100 for f in found)
    assert len({f.trial.id for f in found}) > 15
    assert all(float(f"{f.trial.training.hlf_weight:.6g}") == f.trial.training.hlf_weight
               for f in found)  # fmt: skip


def test_the_sampler_learns():
    late = [off(f.trial) for f in followed(study(40, 4), off).found[20:]]
    assert np.median(late) < 0.5 < np.median([off(f.trial) for f in followed(
        study(40, 4, "random"), off).found[20:]])  # fmt: skip


def test_suggestions_depend_on_the_batches_before_alone():
    whole = followed(study(), off)
    assert followed(study(), off) == whole
    for end in range(9):
        batch = suggest(replace(whole, found=whole.found[:end]))
        expected = whole.found[end : 3 * (end // 3) + 3]
        assert batch == [f.trial for f in expected]


def test_a_search_grows_as_if_it_had_been_longer():
    short, long = followed(study(5), off), followed(study(9), off)
    assert short.study.id == long.study.id
    assert short.found == long.found[:5]
    assert followed(replace(study(9), trials=7), off).found == long.found[:7]


def test_every_part_of_a_search_is_in_its_id():
    others = [study(batch=4), study(sampler="random"), study(space=(("hlf_weight", 0.01, 10.0),)),
              study(seed=1), study(learning_rate=1e-3), study()]  # fmt: skip
    assert len({s.id for s in others}) == len(others)


def test_a_diverged_training_does_not_stop_a_search():
    found = followed(study(), lambda t: inf if t.training.hlf_weight > 0.1 else off(t))
    assert np.isinf(found.found[0].objective)
    assert np.isfinite(found.best.objective)
    lost = followed(study(), lambda trial: inf)
    assert lost.best.trial == lost.study.trial
    assert record(lost.study, lost.to_json({})) == lost


def test_grid_settings_outside_the_space_are_tried_all_the_same():
    found = followed(study(space=(("hlf_weight", 10.0, 20.0),)), off).found
    assert found[0].trial.training.hlf_weight == 1
    assert all(10 <= f.trial.training.hlf_weight <= 20 for f in found[1:])


def test_what_has_no_effect_is_not_searched():
    text = GRID.replace("hlf: [true]", "hlf: [false, true]").replace("[0.5]", "[0.5, 1.0]")
    only_weight = text.replace(", learning_rate: {log: [1.0e-4, 1.0e-2]}", "")
    made = planned(only_weight)
    assert [s.trials for s in made.studies] == [1, 1, 1, 1, 5, 5, 1, 1]
    assert all(s.model.endswith("@search") == (s.trials > 1) for s in made.studies)
    assert made.n_trials == 16
    assert "16 trials, 16 cells (search x score), 8 searches of at most 5 trials" in summary(made)
    assert suggest(Record(made.studies[0])) == [made.trials[0]]
    everything = planned(text)
    assert {len(s.space) for s in everything.studies} == {1, 2}
    assert everything.n_trials == 40


# what is trained and stored


def test_the_best_is_never_worse_than_the_grids_own(records):
    for found in records:
        assert found.complete
        assert found.found[0].trial == found.study.trial
        assert found.best.objective <= found.found[0].objective
        assert found.best.objective == min(f.objective for f in found.found)
    assert any(r.best.objective < r.found[0].objective for r in records)


def test_every_training_is_stored_as_a_trial(undisturbed, records):
    ids = {f.trial.id for r in records for f in r.found}
    assert len(ids) == 10
    assert store.done(undisturbed) == ids
    for folder, suffix in (("weights", "pt"), ("scores", "parquet"), ("history", "parquet")):
        assert ids <= {path.stem for path in (undisturbed / folder).glob(f"*.{suffix}")}


@pytest.mark.parametrize("which", [0, 1, 4])
def test_the_objective_is_found_again_from_the_weights(root, undisturbed, records, which):
    """Loss of the stored weights on the validation background, with the grid's HLF weight."""
    for found in records:
        one = found.found[which]
        state = torch.load(undisturbed / "weights" / f"{one.trial.id}.pt")["state"]
        model = build_model(one.trial).double().eval()
        model.load_state_dict(state)
        inputs = load_channel_of(one.trial, root, "cpu").validation
        inputs = type(inputs)(*(tensor.double() for tensor in inputs))
        noise = torch.randn((len(inputs.mask), 15), generator=stream(one.trial.seed, "validation"))
        with torch.no_grad():
            out = model(inputs, noise.double())
            seen = inputs.objects[..., : out.objects.shape[-1]]
            error = chamfer(seen, out.objects) + 1.0 * hlf_error(inputs, out)
            loss = 0.5 * kl(out.mean, out.log_variance) + 0.5 * error
        assert one.objective == pytest.approx(loss.mean().item(), rel=1e-5)


def test_for_the_grids_own_settings_it_is_the_loss_of_the_early_stopping(undisturbed, records):
    for found in records:
        own = found.found[0]
        table = pd.read_parquet(undisturbed / "trials" / f"{own.trial.id}.parquet")
        assert own.objective == pytest.approx(table["validation_loss"][0], rel=1e-5)


def test_only_the_best_has_rows(undisturbed, records):
    best = {r.best.trial.id for r in records}
    rows = metrics(undisturbed).query("stage != 'control'")
    assert set(rows["trial"]) == best
    assert set(rows["model"]) == {"gcn_vae-truncated-hlf-beta0.5-none@search"}
    pool = read_pool([undisturbed])
    assert set(pool.cells["trial"]) == best
    assert set(pool.cells["status"]) == {"done"}
    assert sorted(pool.table["Model"].unique()) == [
        f"gcn_vae-truncated-hlf-beta0.5-none@search-{score}" for score in ("kl", "reconstruction")]
    assert any("lowest background validation loss is ranked." in note for note in pool.notes)


def test_the_report_shows_default_against_best(undisturbed, records, tmp_path):
    text = (scanner.report([undisturbed], tmp_path / "out").folder / "ranking.md").read_text()
    assert "Searches: default against best" in text
    for found in records:
        (line,) = [line for line in text.split("\n") if found.best.trial.id in line and "5 of 5"
                   in line]  # fmt: skip
        assert f"{found.found[0].objective:.6g}" in line
        assert f"{found.best.objective:.6g}" in line


def test_the_status_counts_trainings(undisturbed, records, tmp_path):
    state = status(undisturbed)
    assert (state.planned, state.done, state.pending, state.failed) == (10, 10, 0, {})
    text = write_grid(tmp_path, GRID.replace("trials: 5", "trials: 8")).read_text()
    (tmp_path / "studies").symlink_to(undisturbed / "studies")
    (tmp_path / "trials").symlink_to(undisturbed / "trials")
    store.write_scan(tmp_path, store.Scan("grid.yaml", text, "tiny", "digest", {}))
    grown = planned(text)
    store.write_failure(tmp_path, grown.studies[0], {"class": "bug"})
    state = status(tmp_path)
    assert (state.planned, state.done, state.pending) == (16, 10, 3)
    assert state.failed == {"bug": (grown.studies[0].id,)}
    assert "10 of 16 trials done" in describe(state)
    assert pending_jobs(grown, tmp_path) == [grown.studies[1]]
    assert pending_jobs(grown, tmp_path, retry=["bug"]) == list(grown.studies)
    assert "2 of 2 searches are unfinished" in " ".join(read_pool([tmp_path]).notes)


def test_the_size_of_the_packs_does_not_matter(root, undisturbed, tmp_path):
    (first, _) = planned().studies
    run_study(first, Place(tmp_path, root, pack=1))
    assert trainings(tmp_path).items() <= trainings(undisturbed).items()


def test_a_failure_is_the_searchs(tmp_path):
    (first, _) = planned(GRID.replace("dataset: tiny", "dataset: nowhere")).studies
    assert run_study(first, Place(tmp_path, tmp_path)) == {first.id: "data"}
    assert store.failures(tmp_path)[first.id]["class"] == "data"
    assert not trainings(tmp_path)


def test_a_result_that_was_set_aside_is_trained_again(root, undisturbed, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(undisturbed, results)
    first = planned().studies[0]
    before = trainings(results)
    record = store.read_studies(results, [first])[0]
    lost, *others = (results / "trials" / f"{found.trial.id}.parquet" for found in record.found)
    times = {path: path.stat().st_mtime_ns for path in others}
    lost.write_bytes(lost.read_bytes()[:-100])
    assert list(damaged(results, [lost.stem])) == [lost.stem]
    set_aside(results, lost.stem)
    assert status(results).pending == 1
    assert pending_jobs(planned(), results) == [first]
    assert run_study(first, Place(results, root)) == {lost.stem: "done"}
    assert not pending_jobs(planned(), results)
    assert trainings(results) == before
    assert store.read_studies(results, [first])[0] == record
    assert {path: path.stat().st_mtime_ns for path in others} == times


# through the launch


@pytest.mark.ray
def test_a_killed_search_goes_on_as_if_it_had_not_been(root, undisturbed, tmp_path):
    write_grid(tmp_path)
    command = [*COMMAND, str(root)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as driver:
        for line in driver.stderr:
            if "4 of 10 trials done" in line:
                os.kill(driver.pid, signal.SIGSTOP)  # so that it starts no further process
                children = psutil.Process(driver.pid).children(recursive=True)
                os.kill(driver.pid, signal.SIGKILL)
                break
    for process in children:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(children)
    results = tmp_path / "results" / "small"
    before = {p: p.stat().st_mtime_ns for p in (results / "trials").glob("*.parquet")}
    assert 4 <= len(before) < 10
    assert trainings(results) != trainings(undisturbed)
    outcome = scanner.launch(tmp_path / "grid.yaml", results, data_root=root, cpus=2)
    assert trainings(results) == trainings(undisturbed)
    assert outcome.done == tuple(s.id for s in planned().studies)
    assert (outcome.failed, outcome.pending) == ((), ())
    assert outcome.ran <= 6
    untouched = [path for path, time in before.items() if path.stat().st_mtime_ns == time]
    assert len(untouched) >= 4
    assert not pending_jobs(planned(), results)
