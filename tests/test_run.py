"""What a worker writes: every event scored once, metrics that scikit-learn finds again."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_inputs, make_trial
from sklearn.metrics import roc_auc_score, roc_curve

import scanner.channel
import scanner.run
from scanner import store
from scanner.channel import load_channel_of
from scanner.datasets import open_dataset, read
from scanner.latents import latent_vectors
from scanner.models import build_model
from scanner.place import Place
from scanner.registry import Entry
from scanner.run import failure, run_pack, score_inputs
from scanner.search import objective
from scanner.split import split_indices
from scanner.train import fit
from scanner.trial import Split, from_json

SCORES = ("reconstruction", "kl", "rz")
PAIRS = ("reconstruction+kl", "reconstruction+rz", "kl+rz", "elbo+latent_norm")


@pytest.fixture(scope="module")
def pack():
    return [make_trial(seed=s, max_epochs=1, learning_rate=1e-3) for s in (0, 1)]


@pytest.fixture(scope="module")
def results(pack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    assert set(run_pack(pack, Place(folder)).values()) == {"done"}
    return folder


def ranked(scores, name):
    """A score, counted among the background events: below it, and half of those equal to it."""
    ordered = np.sort(scores.loc[scores["process"] == "background", name])
    return np.searchsorted(ordered, scores[name]) + np.searchsorted(ordered, scores[name], "right")


def recomputed(scores, name, signal):
    """AUC and eps_S of one score, or of two scores' ranks, with scikit-learn alone."""
    picked = scores[scores["process"].isin(["background", signal])]
    labels, values = picked["process"] == signal, picked.get(name)
    if values is None:
        values = sum(ranked(picked, word) for word in name.split("+"))
    fpr, tpr, _ = roc_curve(labels, values, drop_intermediate=False)
    return [roc_auc_score(labels, values)] + [tpr[fpr <= eps].max() for eps in (1e-2, 1e-3, 1e-4)]


def test_metrics_are_found_again_from_the_scores(results, pack):
    columns = ["auc", "eps_s_1e-2", "eps_s_1e-3", "eps_s_1e-4"]
    for trial in pack:
        scores = store.read_scores(results / "scores" / f"{trial.id}.parquet")
        table = pd.read_parquet(results / "trials" / f"{trial.id}.parquet")
        assert {(s, t) for s in (*SCORES, *PAIRS) for t in ("trained", "untrained")} <= set(
            zip(table["score"], table["stage"], strict=True)
        )
        assert not any("+" in column for column in scores)
        for row in table[table["score"].isin([*SCORES, *PAIRS])].to_dict("records"):
            prefix = "" if row["stage"] == "trained" else "untrained_"
            name = "+".join(prefix + word for word in row["score"].split("+"))
            expected = recomputed(scores, name, row["signal"])
            np.testing.assert_allclose([row[c] for c in columns], expected, rtol=0, atol=1e-12)


def test_every_test_event_is_scored_once_in_file_order(results, pack):
    scores = store.read_scores(results / "scores" / f"{pack[0].id}.parquet")
    sample = open_dataset("sample")
    train, validation, test = split_indices(len(read(sample, "3", "background")), Split(), "3")
    background = scores[scores["process"] == "background"]
    assert background["event"].tolist() == test.tolist()
    assert not set(test) & (set(train) | set(validation))
    for signal in sample.channels["3"]:
        rows = scores[scores["process"] == signal]
        assert rows["event"].tolist() == list(range(len(read(sample, "3", signal))))


def test_weights_give_the_scores_again(results, pack):
    record = torch.load(results / "weights" / f"{pack[1].id}.pt", weights_only=True)
    trial = from_json(record["metadata"]["trial"])
    assert trial == pack[1]
    data = load_channel_of(trial, None, "cpu")
    signal = open_dataset("sample").channels["3"][0]
    scores = store.read_scores(results / "scores" / f"{trial.id}.parquet")
    again = score_inputs(trial, record["state"], data.test[signal])
    for name in SCORES:
        np.testing.assert_array_equal(scores.loc[scores["process"] == signal, name], again[name])


def test_signals_do_not_touch_training(results, pack, monkeypatch, tmp_path):
    for name in ("chunks", "count"):
        real = getattr(scanner.channel, name)
        monkeypatch.setattr(scanner.channel, name, lambda d, c, process, *size, real=real: real(
            d, c, "background", *size))
    scanner.channel.load_channel.cache_clear()
    run_pack(pack, Place(tmp_path))
    scanner.channel.load_channel.cache_clear()
    paths = [folder / "weights" / f"{pack[0].id}.pt" for folder in (results, tmp_path)]
    one, other = (torch.load(path, weights_only=True) for path in paths)
    for part in ("state", "scaler"):
        assert all(torch.equal(one[part][k], other[part][k]) for k in one[part])


def test_controls_are_written_beside_the_trials(results):
    table = pd.read_parquet(results / "controls" / "3-all.parquet")
    assert set(table["score"]) == {"norm", "ht", "met", "multiplicity"}
    scores = store.read_scores(results / "scores" / "control-3-all.parquet")
    signal = table["signal"][0]
    for row in table[table["signal"] == signal].to_dict("records"):
        assert abs(row["auc"] - recomputed(scores, row["score"], signal)[0]) < 1e-12


def test_a_diverged_trial_is_a_result_without_numbers(tmp_path):
    trial = make_trial(seed=0, max_epochs=1, learning_rate=1e30)
    assert run_pack([trial], Place(tmp_path)) == {trial.id: "diverged"}
    table = pd.read_parquet(tmp_path / "trials" / f"{trial.id}.parquet")
    trained = table[table["stage"] == "trained"]
    assert trained["auc"].isna().all()
    assert (trained["status"] == "diverged").all()
    assert (trained["n_background"] > 0).all()


def test_a_score_that_is_not_a_number_is_divergence_too(tmp_path, monkeypatch):
    trial = make_trial(max_epochs=1)
    monkeypatch.setitem(scanner.run.SCORES, "rz", Entry("test_run:not_a_number", ""))
    monkeypatch.setitem(sys.modules, "test_run", sys.modules[__name__])
    run_pack([trial], Place(tmp_path))
    table = pd.read_parquet(tmp_path / "trials" / f"{trial.id}.parquet")
    assert set(table["status"]) == {"diverged"}
    assert table.loc[table["stage"] == "trained", "auc"].isna().all()


def not_a_number(of):
    return of.outputs.mean.sum(-1) * float("nan")


@pytest.mark.parametrize("late", ["before its files", "after its scores"])
def test_a_second_training_of_a_trial_leaves_the_first_result(
    results, pack, tmp_path, monkeypatch, caplog, late
):
    """Two attempts at once: the node of one was taken for dead, and its worker lives."""
    first = store.table_path(results, pack[0].id)
    own = store.table_path(tmp_path, pack[0].id)

    def end_first():
        own.parent.mkdir(exist_ok=True)
        shutil.copy(first, own)

    write = store.write_scores

    def overtaken(path, *rest):
        write(path, *rest)
        end_first()

    def slow(*epoch):
        if late == "before its files":
            end_first()

    if late == "after its scores":
        monkeypatch.setattr(store, "write_scores", overtaken)
    run_pack([pack[0]], Place(tmp_path), slow)
    assert own.read_bytes() == first.read_bytes()
    assert f"{pack[0].id}: was trained twice; its first result stays" in caplog.text


def test_a_failure_is_recorded_with_its_class_and_frame(tmp_path):
    trial = make_trial()
    broken = replace(trial, dataset="nowhere")
    assert run_pack([broken], Place(tmp_path, tmp_path)) == {broken.id: "data"}
    record = json.loads((tmp_path / "failures" / f"{broken.id}.json").read_text())
    assert record["class"] == "data"
    assert "nowhere" in record["exception"]
    assert record["frame"].startswith("files.py:")
    assert record["frame"].endswith(" open_dataset")
    assert failure(MemoryError())["class"] == "out_of_memory"
    assert failure(torch.OutOfMemoryError())["class"] == "out_of_memory"
    assert failure(KeyError("x"))["class"] == "bug"


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
@pytest.mark.parametrize("use", [
    lambda trial, state, inputs: fit([trial], inputs, inputs),
    score_inputs,
    objective,
    lambda trial, state, inputs: latent_vectors(
        trial, state, {"background": inputs}, {"background": np.arange(8)}),
], ids=["fit", "score_inputs", "objective", "latent_vectors"])  # fmt: skip
def test_whatever_runs_a_model_has_the_precision_of_its_trial(precision, use):
    """Products of matrices and convolutions alike, whatever trial ran before."""
    trial = make_trial("deepset_vae", precision=precision, max_epochs=1)
    flags = [torch.backends.cuda.matmul, torch.backends.cudnn]
    for flag in flags:
        flag.allow_tf32 = precision == "fp32"
    use(trial, build_model(trial).state_dict(), make_inputs(trial, 8, torch.float32))
    assert [flag.allow_tf32 for flag in flags] == [precision == "tf32"] * 2
