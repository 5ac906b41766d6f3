"""Figures of single models: which trials, their curves, and nothing where nothing is stored."""

import numpy as np
import pandas as pd
import pytest
from fake_results import METADATA, SIGNALS, write_results

from scanner import store
from scanner.findings import first_models
from scanner.metrics import signal_efficiency
from scanner.pool import read_pool
from scanner.ranking import rank
from scanner.trial_figures import ROC_EPS_B, of_trials, roc_curves


def write_events(folder, trial, kinds=("scores", "latent", "history"), background=2_000):
    """What a worker stores beside the metrics of a trial."""
    random = np.random.default_rng(trial.seed)
    process = np.repeat(["background", *SIGNALS[trial.channel]],
                        [background, *(300 for _ in SIGNALS[trial.channel])])  # fmt: skip
    shift = (process != "background") * 1.5
    if "scores" in kinds:
        columns = {name: (random.normal(size=len(process)) + shift).astype(np.float32)
                   for name in ("reconstruction", "kl", "rz")}  # fmt: skip
        store.write_scores(folder / "scores" / f"{trial.id}.parquet",
                           {"process": process, "event": np.arange(len(process)), **columns},
                           METADATA)  # fmt: skip
    if "latent" in kinds:
        columns = {f"z0_{k}": random.normal(size=len(process)).astype(np.float16)
                   for k in range(15)}  # fmt: skip
        store.write_scores(folder / "latent" / f"{trial.id}.parquet",
                           {"process": process, "event": np.arange(len(process)), **columns},
                           METADATA)  # fmt: skip
    if "history" in kinds:
        rows = [{"epoch": k, "loss": 1 / k, "kl": 1.0, "validation_loss": 1 / k, "wall_s": 1.0}
                for k in (1, 2)]  # fmt: skip
        store.write_history(folder, trial, rows)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder, trials = write_results(tmp_path_factory.mktemp("a") / "demo", seeds=(0, 1))
    for trial in trials:
        write_events(folder, trial)
    pool = read_pool([folder])
    rows = rank(pool.table)
    return folder, trials, pool, rows[rows["channel"] == "All"]


def test_roc_and_latent_per_channel_and_one_of_training(scan):
    folder, _, pool, rows = scan
    names = [drawing.name for drawing in of_trials(pool.results, rows, [folder])]
    assert names == ["roc-1", "roc-3", "latent-1", "latent-3", "training"]


def test_nothing_stored_is_no_figure(scan, tmp_path):
    _, _, pool, rows = scan
    assert list(of_trials(pool.results, rows, [tmp_path])) == []
    folder, trials = write_results(tmp_path / "demo", seeds=(0, 1))
    write_events(folder, trials[0], ("history",))
    names = [drawing.name for drawing in of_trials(pool.results, rows, [folder])]
    assert names in (["training"], [])  # whether that trial is of a first model


def test_the_first_models_are_drawn(scan):
    folder, _, pool, rows = scan
    (figure,) = [drawing.make() for drawing in of_trials(pool.results, rows, [folder])
                 if drawing.name == "roc-3"]  # fmt: skip
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert set(first_models(rows).values()) < labels
    assert "fewer than 10 background events" in " ".join(labels)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(SIGNALS["3"])
    zone = figure.axes[0].patches[0]
    assert zone.get_x() + zone.get_width() == pytest.approx(max(10 / 200_000, 1e-4))


def test_a_curve_is_the_efficiency_at_every_cut(scan):
    folder, trials, *_ = scan
    picked = [trial for trial in trials if trial.channel == "3"][:2]
    rows = pd.DataFrame([(trial.id, "kl", "m") for trial in picked],
                        columns=["trial", "score", "name"])  # fmt: skip
    curves = roc_curves(rows, [folder])
    assert set(curves["signal"]) == set(SIGNALS["3"])
    one = curves[curves["signal"] == "sc"]
    expected = []
    for trial in picked:
        events = store.read_scores(folder / "scores" / f"{trial.id}.parquet")
        both = (events.loc[events["process"] == name, "kl"].to_numpy()
                for name in ("background", "sc"))  # fmt: skip
        background, signal = both
        expected.append([signal_efficiency(background, signal, x) for x in ROC_EPS_B])
    np.testing.assert_allclose(one["median"], np.median(expected, axis=0), atol=1e-12)
    np.testing.assert_allclose(one["low"], np.min(expected, axis=0), atol=1e-12)
    np.testing.assert_allclose(one["high"], np.max(expected, axis=0), atol=1e-12)


def test_a_combination_is_made_again_from_its_two_scores(scan):
    folder, trials, *_ = scan
    rows = pd.DataFrame([(trials[0].id, "reconstruction+kl", "m")],
                        columns=["trial", "score", "name"])  # fmt: skip
    curves = roc_curves(rows, [folder])
    events = store.read_scores(folder / "scores" / f"{trials[0].id}.parquet")
    low = events[events["process"] == "background"]
    ranks = sum(np.searchsorted(np.sort(low[name]), events[name]) for name in ("reconstruction",
                                                                             "kl"))  # fmt: skip
    here = (events["process"] == "sa").to_numpy()
    found = curves[curves["signal"] == "sa"]["median"]
    again = [signal_efficiency(ranks[(events["process"] == "background").to_numpy()].astype(float),
                               ranks[here].astype(float), x) for x in ROC_EPS_B]  # fmt: skip
    np.testing.assert_allclose(found, again, atol=0.01)


def test_signals_that_are_not_drawn_are_told(scan, monkeypatch):
    folder, _, pool, rows = scan
    results = pool.results
    assert all("signals by name" not in d.text for d in of_trials(results, rows, [folder]))
    monkeypatch.setattr("scanner.plots.MOST_SIGNALS", 2)
    texts = {d.name: d.text for d in of_trials(results, rows, [folder])}
    assert texts["roc-3"].endswith("The first 2 of 3 signals by name.")
    assert "signals by name" not in texts["roc-1"]
