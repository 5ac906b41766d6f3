"""Resamples: seeds and signals are drawn, places agree with scipy, and no order matters."""

import numpy as np
import pandas as pd
import pytest
from fake_results import replica_rows
from scipy import stats

from scanner.bootstrap import replicas, resample
from scanner.findings import combine_seeds
from scanner.ranking import RANKINGS, places

METHOD = {name: k for k, name in enumerate(RANKINGS)}


def drawn(rows, channel="All", count=1000):
    return resample(replicas(combine_seeds(rows), rows), "AUC", count)[channel]


def both(found, method):
    """All resamples of seeds and signals of one method, (draws, models)."""
    return found.both[METHOD[method]].reshape(-1, found.both.shape[-1])


def test_places_are_those_of_scipy():
    scores = np.random.default_rng(0).integers(0, 9, (5, 40)) / 8
    expected = stats.rankdata(-scores, method="min", axis=1) - 1
    assert (places(scores) == expected).all()
    assert (places(np.zeros((2, 3))) == 0).all()


def test_one_seed_is_the_bootstrap_of_scipy_over_signals():
    """The mean over one channel, with the same number of draws: the same spread and centre."""
    rows = replica_rows(models=1, seeds=1, signals=30)
    found = drawn(rows, count=4000).signals[METHOD["mean"], :, 0]
    reference = stats.bootstrap((rows["auc"].to_numpy(),), np.mean, n_resamples=4000, rng=1,
                                method="percentile", confidence_level=0.6827)  # fmt: skip
    assert found.std() == pytest.approx(reference.standard_error, rel=0.05)
    low, high = np.quantile(found, [0.15865, 0.84135])
    width = reference.confidence_interval.high - reference.confidence_interval.low
    assert low == pytest.approx(reference.confidence_interval.low, abs=0.08 * width)
    assert high == pytest.approx(reference.confidence_interval.high, abs=0.08 * width)


@pytest.mark.parametrize("seeds", [2, 5])
def test_the_variance_over_seeds_is_not_too_small_for_few(seeds):
    """One signal: of two seeds one is drawn, as a mean has the variance s^2 / 2."""
    rows = replica_rows(models=40, seeds=seeds, signals=1, seed_sd=1.0)
    found = drawn(rows)
    values = both(found, "mean")
    own = rows.groupby("name")["auc"]
    assert (values.min(axis=0) >= own.min().to_numpy() - 1e-12).all()
    assert (values.max(axis=0) <= own.max().to_numpy() + 1e-12).all()
    assert (found.signals[METHOD["mean"]] == own.median().round(12).to_numpy()).all()
    if seeds == 2:
        assert values.var(axis=0) == pytest.approx(own.var().to_numpy() / 2, rel=0.15)


def test_resamples_are_paired_and_depend_on_the_content_alone():
    rows = replica_rows(models=6, seeds=3, signals=8, channels=("1", "3"))
    one = resample(replicas(combine_seeds(rows), rows), "1e-2", 40)
    mixed = rows.sample(frac=1, random_state=3)
    two = resample(replicas(combine_seeds(mixed).sample(frac=1, random_state=1), mixed), "1e-2", 40)
    assert list(one) == ["All", "1", "3"]
    for channel, found in one.items():
        assert (found.both == two[channel].both).all()
        assert (found.signals == two[channel].signals).all()
        assert (found.first == two[channel].first).all()


def test_scores_of_one_training_share_their_draws():
    rows = replica_rows(models=1, seeds=4, signals=5)
    other = rows.assign(name="same", auc=rows["auc"] + 0.0)  # a second score with equal numbers
    values = both(drawn(pd.concat([rows, other])), "mean")
    assert (values[:, 0] == values[:, 1]).all()
    apart = rows.assign(name="same", model="other")
    values = both(drawn(pd.concat([rows, apart])), "mean")
    assert (values[:, 0] != values[:, 1]).any()


def test_leaders_are_counted_with_their_ties():
    rows = replica_rows(models=7, seeds=1, signals=6)
    rows["auc"] = rows["auc"].where(rows["name"] != "m0001", 1.0)
    found = drawn(rows, count=100)
    assert (found.first[:, 1] == 1).all()
    flat = drawn(rows.assign(auc=0.5), count=100)
    assert (flat.first == 1).all()
    assert (flat.first_few == 1).all()
    assert (found.first_few.sum(axis=1) >= 5 - 1e-9).all()


def test_a_signal_is_drawn_with_all_its_channels():
    """Two signals of two channels each: three values of the mean are possible, not five."""
    rows = replica_rows(models=1, seeds=1, signals=2, channels=("1",))
    rows = pd.concat([rows, rows.assign(channel="3", auc=rows["auc"] / 3)])
    assert len(np.unique(drawn(rows).signals[METHOD["mean"], :, 0].round(9))) == 3


def test_counts_are_of_as_many_pairs_as_there_are():
    rows = replica_rows(models=3, seeds=1, signals=6)
    extra = rows[rows["signal"] == "s00"].assign(channel="1")
    found = drawn(pd.concat([rows, extra]).assign(auc=0.5), count=100)
    assert found.signals[METHOD["top1"]] == pytest.approx(7)
