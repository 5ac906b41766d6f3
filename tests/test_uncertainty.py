"""Uncertainty: intervals cover the truth, leaders are as stable as said, and gaps are told."""

import numpy as np
import pandas as pd
import pytest
from fake_results import replica_rows
from scipy import stats
from scipy.stats import binomtest

from scanner.bootstrap import replicas, resample
from scanner.findings import combine_seeds
from scanner.ranking import COLUMNS, MERITS, RANKINGS, rank
from scanner.uncertainty import efficiency_intervals, half_width, uncertainty


def found(rows, resamples=200):
    table = combine_seeds(rows)
    return uncertainty(table, rows, rank(table), resamples)


# Which term dominates: standard deviations of the signal, the seed, and of both together.
DOMINATING = {"signals": (1.0, 0.1, 0.1), "seeds": (0.05, 0.3, 0.05), "mixed": (0.5, 0.5, 0.1),
              "single signals": (0.3, 0.3, 1.0)}  # fmt: skip


@pytest.mark.parametrize(("dominating", "seeds", "signals"), [
    ("signals", 2, 34), ("signals", 3, 10), ("signals", 5, 20), ("seeds", 2, 20), ("seeds", 3, 10),
    ("seeds", 5, 20), ("seeds", 10, 10), ("mixed", 2, 10), ("mixed", 3, 20), ("mixed", 5, 34),
    ("single signals", 5, 34), ("single signals", 10, 20),
])  # fmt: skip
def test_intervals_cover_the_truth(dominating, seeds, signals):
    """500 models are 500 repetitions; each has the true median 0.5."""
    sizes = dict(zip(("signal_sd", "seed_sd", "single_sd"), DOMINATING[dominating], strict=True))
    assert 0.60 <= coverage(500, seeds, signals, **sizes) <= 0.76


def coverage(models, seeds, signals, **sizes):
    """In what share of the models the 68 % interval of the median holds the truth, 0.5."""
    rows = replica_rows(models, seeds, signals, **sizes)
    samples = resample(replicas(combine_seeds(rows), rows), "AUC", 400)["All"]
    median = list(RANKINGS).index("median")
    value = combine_seeds(rows).groupby("Model")["AUC"].median().to_numpy()
    both, alone, value, truth = (
        np.arcsin(np.sqrt(x)) for x in (samples.both[median], samples.signals[median], value, 0.5))
    half = half_width(both, alone, (signals - 1, np.full(models, seeds - 1)))
    return (np.abs(value - truth) <= half).mean()


def test_an_interval_is_that_of_its_half_width_on_the_scale_of_the_arcsine():
    """A mean over one seed: the standard error of scipy's bootstrap, within the draws' noise."""
    rows = replica_rows(3, 1, 30)
    values = found(rows, 4000).values.query("method == 'mean' and merit == 'AUC'")
    for row in values[values["channel"] == "All"].itertuples():
        own = rows.loc[rows["name"] == row.model, "auc"].to_numpy()
        error = stats.bootstrap((own,), lambda x, axis: np.arcsin(np.sqrt(x.mean(axis=axis))),
                                n_resamples=4000, rng=1, method="percentile").standard_error
        half = stats.t.ppf(0.84135, 29) * error
        limits = np.sin(np.arcsin(np.sqrt(row.value)) + np.array([-half, half])) ** 2
        assert (row.low, row.high) == pytest.approx(limits, abs=0.08 * (row.high - row.low))


def test_every_ranked_value_has_an_interval():
    rows = replica_rows(6, 3, 5, channels=("1", "3"))
    ranked, out = rank(combine_seeds(rows)), found(rows)
    keys = ["channel", "merit", "method", "model"]
    both = ranked.merge(out.values, on=keys, suffixes=("", " too"))
    assert len(both) == len(ranked) == len(out.values) == 3 * len(MERITS) * len(RANKINGS) * 6
    assert (both["value"] == both["value too"]).all()
    assert (both["low"] <= both["value"]).all()
    assert (both["value"] <= both["high"]).all()
    assert (both["low"] >= 0).all()
    assert (both.loc[both["method"].isin(["mean", "median", "min"]), "high"] <= 1).all()
    assert both[["first", "first_five"]].to_numpy().min() >= 0
    assert (both["first"] <= both["first_five"]).all()
    sums = out.values.groupby(keys[:3])[["first", "first_five"]].sum()
    assert (sums["first"] >= 1 - 1e-9).all()
    assert (sums["first_five"] >= 5 - 1e-9).all()
    assert out.notes == ()


def test_models_that_differ_are_apart_and_twins_are_not():
    rows = replica_rows(2, 3, 12, signal_sd=0.5)
    better = rows[rows["name"] == "m0000"].assign(name="better", model="better")
    better["auc"] = better["auc"] ** 0.1
    twin = better.assign(name="twin")
    pairs = found(pd.concat([rows, better, twin])).pairs
    pairs = pairs.query("channel == 'All' and merit == 'AUC' and method == 'mean'")
    apart = {frozenset((p.one, p.other)): p.apart for p in pairs.itertuples()}
    assert len(apart) == 6
    assert apart[frozenset(("better", "m0000"))]
    assert not apart[frozenset(("better", "twin"))]
    assert (pairs["difference"] >= 0).all()


def test_one_seed_is_said():
    assert found(replica_rows(3, 1, 6)).notes == (
        "One seed per model: the intervals hold no spread over seeds.",)  # fmt: skip


def test_some_models_of_one_seed_are_said():
    rows = pd.concat([replica_rows(2, 3, 4), replica_rows(1, 1, 4, shift=1).assign(name="x")])
    assert found(rows).notes == (
        "1 of 3 models have one seed: their intervals hold no spread over seeds.",)  # fmt: skip


def test_one_signal_is_said():
    out = found(replica_rows(3, 4, 1))
    assert out.notes == ("One signal in channel 3: no spread over signals in its intervals.",)
    assert out.values[["low", "high"]].notna().all().all()
    assert (out.values.query("method == 'mean' and merit == 'AUC'").eval("high > low")).all()


def test_one_seed_on_one_signal_has_no_interval():
    out = found(replica_rows(3, 1, 1))
    assert out.notes == ("One seed and one signal: there is nothing to resample, and no interval.",)
    assert out.values[["low", "high", "first", "first_five"]].isna().all().all()
    assert not out.pairs["apart"].any()


def test_ties_everywhere_tell_no_pair_apart():
    rows = replica_rows(8, 2, 4).assign(auc=0.5, **{f"eps_s_1e-{k}": 0.0 for k in (2, 3, 4)})
    out = found(rows)
    assert not out.pairs["apart"].any()
    assert (out.values[["first", "first_five"]] == 1).all().all()
    assert (out.values["low"] == out.values["high"]).all()


def test_tables_of_the_challenge_have_intervals_over_signals():
    rows = [(f"s{k}", m, "3", *[x + k / 20] * 4) for m, x in (("a", 0.5), ("b", 0.1))
            for k in range(6)]  # fmt: skip
    table = pd.DataFrame(rows, columns=COLUMNS)
    out = uncertainty(table, pd.DataFrame(), rank(table), 200)
    means = out.values.query("channel == 'All' and merit == 'AUC' and method == 'mean'")
    assert (means["high"] > means["low"]).all()
    assert list(means["first"]) == [1, 0]
    assert efficiency_intervals(table, pd.DataFrame()).empty


def test_efficiencies_have_the_intervals_of_scipy():
    rows = replica_rows(2, 3, 3, channels=("1",))
    rows["n_signal"] = rows["signal"].map({"s00": 17, "s01": 250, "s02": 9000})
    rows.loc[rows["signal"] == "s00", ["eps_s_1e-2", "eps_s_1e-4"]] = 0.0
    out = efficiency_intervals(combine_seeds(rows), rows)
    assert len(out) == 2 * 3 * 3
    for row in out.itertuples():
        test = binomtest(round(row.eps_s * row.n_signal), row.n_signal)
        limits = test.proportion_ci(0.6827, method="exact")
        assert (row.low, row.high) == pytest.approx((limits.low, limits.high), abs=1e-12)
    zero = out[out["eps_s"] == 0]
    assert len(zero) == 4
    assert (zero["low"] == 0).all()
    assert (zero["high"] > 0).all()
    assert out.query("merit == '1e-4'")["passing"].tolist() == [5.0] * 6
    assert np.isfinite(out[["low", "high"]].to_numpy()).all()
