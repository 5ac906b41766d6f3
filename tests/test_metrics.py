"""Metrics: equal to scikit-learn's under ties, in any dtype, and strict about NaN."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.metrics import roc_auc_score, roc_curve

from scanner.errors import ScannerError
from scanner.metrics import (
    EPS_B,
    auc,
    interval,
    measure,
    roc,
    signal_efficiency,
    significance_improvement,
    threshold,
)

coarse = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=40)
fine = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40)
scores = st.one_of(coarse, fine)
dtypes = st.sampled_from([np.float32, np.float64])


def reference(background, signal):
    labels = np.r_[np.zeros(len(background)), np.ones(len(signal))]
    return labels, np.r_[background, signal]


@settings(max_examples=150, deadline=None)
@given(scores, scores, dtypes)
def test_auc_is_sklearns(background, signal, dtype):
    b, s = np.array(background, dtype), np.array(signal, dtype)
    assert auc(b, s) == pytest.approx(roc_auc_score(*reference(b, s)), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(scores, scores, dtypes, st.one_of(st.floats(0, 1), st.sampled_from([*EPS_B.values(), 0.1])))
def test_efficiency_is_sklearns(background, signal, dtype, eps_b):
    b, s = np.array(background, dtype), np.array(signal, dtype)
    fpr, tpr, _ = roc_curve(*reference(b, s), drop_intermediate=False)
    assert signal_efficiency(b, s, eps_b) == pytest.approx(tpr[fpr <= eps_b].max(), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(scores, scores, st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_a_curve_is_the_efficiency_at_every_point(background, signal, eps_b):
    b, s = np.array(background), np.array(signal)
    assert roc(b, s, eps_b).tolist() == [signal_efficiency(b, s, value) for value in eps_b]


@settings(max_examples=150, deadline=None)
@given(scores, scores, dtypes, st.one_of(st.floats(0, 1), st.sampled_from([*EPS_B.values(), 0.1])))
def test_the_threshold_is_the_cut_of_the_efficiency(background, signal, dtype, eps_b):
    b, s = np.array(background, dtype), np.array(signal, dtype)
    cut = threshold(b, eps_b)
    assert (s > cut).mean() == pytest.approx(signal_efficiency(b, s, eps_b), abs=1e-12)
    assert (b > cut).mean() <= eps_b
    looser = b[b <= cut]  # a cut at any lower background score passes more than eps_b
    assert not looser.size or (b >= looser.max()).mean() > eps_b


@pytest.mark.parametrize("n", [100, 1000, 3000, 5868, 10_000, 30_001])
@pytest.mark.parametrize("levels", [20, 10**9])
def test_large_samples_agree_with_sklearn(n, levels):
    rng = np.random.default_rng(n)
    b = np.floor(rng.normal(0, 1, n) * levels).astype(np.float32)
    s = np.floor(rng.normal(1, 1, n // 3) * levels).astype(np.float32)
    labels, joined = reference(b, s)
    fpr, tpr, _ = roc_curve(labels, joined, drop_intermediate=False)
    got = measure(b, s)
    assert got["auc"] == pytest.approx(roc_auc_score(labels, joined), abs=1e-12)
    for word, eps_b in EPS_B.items():
        assert got[f"eps_s_{word}"] == pytest.approx(tpr[fpr <= eps_b].max(), abs=1e-12)
    assert (got["n_background"], got["n_signal"]) == (n, n // 3)


@given(scores, scores)
def test_swapping_the_classes_mirrors_the_auc(background, signal):
    b, s = np.array(background), np.array(signal)
    assert auc(b, s) + auc(s, b) == pytest.approx(1, abs=1e-12)


@given(scores, scores, st.randoms(use_true_random=False))
def test_order_of_events_is_irrelevant(background, signal, random):
    shuffled = random.sample(background, len(background))
    assert measure(np.array(shuffled), np.array(signal)) == measure(
        np.array(background), np.array(signal))


def test_efficiency_is_monotone_in_the_background_efficiency():
    rng = np.random.default_rng(1)
    b, s = rng.integers(0, 50, 500).astype(float), rng.integers(10, 60, 300).astype(float)
    values = [signal_efficiency(b, s, e) for e in np.linspace(0, 1, 101)]
    assert values == sorted(values)
    assert values[-1] == 1


def test_hand_made_cuts():
    b = np.arange(100.0)
    assert signal_efficiency(b, np.array([99.0, 98.0, 98.5, 200.0]), 0.01) == 0.75
    assert signal_efficiency(b, np.array([99.0, 100.0]), 0.0) == 0.5
    assert signal_efficiency(np.ones(100), np.ones(10), 0.5) == 0.0


def test_float32_neighbours_stay_tied_and_distinct():
    x = np.float32(1) + np.finfo(np.float32).eps
    assert auc(np.array([1], np.float32), np.array([x], np.float32)) == 1
    assert auc(np.array([1], np.float32), np.array([1 + 1e-12], np.float32)) == 0.5
    assert auc(np.array([1.0]), np.array([1 + 1e-12])) == 1


def test_infinite_scores_are_the_largest():
    assert auc(np.array([1.0, 2.0]), np.array([np.inf])) == 1


@pytest.mark.parametrize("pair", [([1, np.nan], [1]), ([1], [np.nan]), ([], [1]), ([1], [])])
def test_nan_and_empty_are_errors(pair):
    b, s = (np.array(x, float) for x in pair)
    for call in (auc, measure, lambda b, s: signal_efficiency(b, s, 0.1)):
        with pytest.raises(ScannerError, match=r"NaN|no (background|signal) event"):
            call(b, s)


def test_an_impossible_background_efficiency_is_an_error():
    with pytest.raises(ScannerError, match="eps_B = 2"):
        signal_efficiency(np.ones(2), np.ones(2), 2)
    with pytest.raises(ScannerError, match="eps_B = -1"):
        threshold(np.ones(2), -1)


@pytest.mark.parametrize("p", [0.001, 0.02, 0.5, 0.99])
def test_interval_covers_at_its_level(p):
    k = np.arange(51)
    inside = [low <= p <= high for low, high in zip(*interval(k, 50), strict=True)]
    assert binom.pmf(k[inside], 50, p).sum() >= 0.6827


def test_interval_at_the_ends():
    assert interval(0, 10)[0] == 0
    assert interval(10, 10)[1] == 1
    low, high = interval(5, 10)
    assert low < 0.5 < high
    assert low == pytest.approx(1 - high)
    with pytest.raises(ScannerError, match="3 of 2"):
        interval(3, 2)


def test_significance_improvement():
    assert significance_improvement(0.5, 1e-4) == pytest.approx(50)
