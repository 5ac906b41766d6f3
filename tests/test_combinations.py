"""Rank averages: the definition by SciPy, ties, invariance, and what a worker writes of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from scanner.combinations import name_of, rank_averages
from scanner.metrics import auc
from scanner.registry import SCORES

PAIR = "reconstruction+kl"
NUMBERS = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30)


def scores(background, signal):
    """Two scores of the background and of one signal."""
    events = {"background": np.float32(background), "s": np.float32(signal)}
    return {process: {"reconstruction": first, "kl": second}
            for process, (first, second) in events.items()}  # fmt: skip


def place(background, value):
    """Place of one value among the background, counted from 0; ties share their mean place."""
    return np.mean([value > b for b in background]) + np.mean([value == b for b in background]) / 2


@given(NUMBERS.flatmap(lambda first: st.tuples(
    st.just(first), st.lists(st.integers(-3, 3).map(float), min_size=len(first),
                             max_size=len(first)))))  # fmt: skip
def test_the_average_of_two_ranks(values):
    found = rank_averages(scores(values, [[0.0, 9.0, -9.0], [0.0, 9.0, -9.0]]))
    expected = sum(rankdata(v) - 0.5 for v in np.array(values)) / 2
    np.testing.assert_array_equal(found["background"][PAIR], expected)
    for k, value in enumerate((0.0, 9.0, -9.0)):
        ranks = [place(row, value) * len(row) for row in values]
        assert found["s"][PAIR][k] == pytest.approx(sum(ranks) / 2, abs=1e-12)
    assert found["s"][PAIR][2] == 0
    assert found["s"][PAIR][1] == len(values[0])


def test_a_score_enters_by_its_order_alone():
    random = np.random.default_rng(0)
    background, signal = random.normal(size=(2, 500)), random.normal(1, size=(2, 90))
    one = rank_averages(scores(background, signal))
    other = rank_averages(scores([4 * background[0], background[1]],
                                 [4 * signal[0], signal[1]]))  # fmt: skip
    for process in one:
        np.testing.assert_array_equal(one[process][PAIR], other[process][PAIR])
    alone = [auc(background[k], signal[k]) for k in range(2)]
    assert auc(one["background"][PAIR], one["s"][PAIR]) > max(alone)  # two independent scores


def test_a_score_with_itself_is_itself():
    random = np.random.default_rng(1)
    background, signal = random.normal(size=300), random.normal(size=40)
    twice = rank_averages(scores([background] * 2, [signal] * 2))
    assert auc(twice["background"][PAIR], twice["s"][PAIR]) == pytest.approx(
        auc(background, signal), abs=1 / 300)  # fmt: skip


def test_every_pair_once_in_the_order_of_the_registry():
    values = {f"x_{name}": np.arange(5.0) for name in reversed(SCORES)}
    found = rank_averages({"background": values}, "x_")["background"]
    assert list(found) == [f"x_{a}+{b}" for a, b in combinations(SCORES, 2)]
    for a, b in combinations(SCORES, 2):
        assert name_of([a, b]) == name_of([b, a]) == f"{a}+{b}"
