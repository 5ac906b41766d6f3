"""Beside the rankings: where the total improvement is reached, and Kendall's tau."""

import numpy as np
import pandas as pd
import pytest

from scanner.comparison import agreement, improvements
from scanner.ranking import COLUMNS, RANKINGS, rank


def test_the_total_improvement_of_a_signal_says_where_it_is_reached():
    rows = [("sa", "m", "2b", 0.5, 0.1, 0.1, 0.0), ("sa", "m", "3", 0.5, 0.3, 0.0, 0.02),
            ("sb", "m", "3", 0.5, 0.0, 0.0, 0.0), ("sb", "m", "2b", 0.5, 0.0, 0.0, 0.0)]
    found = improvements(pd.DataFrame(rows, columns=COLUMNS)).set_index("signal")
    assert found.loc["sa", ["channel", "eps_b"]].tolist() == ["2b", "1e-3"]
    assert found.loc["sa", "improvement"] == pytest.approx(0.1 / 1e-3**0.5)
    assert found.loc["sb", ["channel", "eps_b", "improvement"]].tolist() == ["2b", "1e-2", 0]


def test_methods_agree_with_themselves_and_with_kendall():
    random = np.random.default_rng(0)
    rows = [(f"s{k}", f"m{m}", "3", *random.random(4)) for m in range(9) for k in range(5)]
    ranked = rank(pd.DataFrame(rows, columns=COLUMNS))
    taus = agreement(ranked, "1e-2")
    assert list(taus.index) == list(taus.columns) == list(RANKINGS)
    assert np.diag(taus).tolist() == [1] * 6
    np.testing.assert_allclose(taus, taus.T)
    rows = ranked.query("channel == 'All' and merit == '1e-2'")
    places = rows.pivot(index="model", columns="method", values="place")
    above = [np.sign(np.subtract.outer(places[m].to_numpy(), places[m].to_numpy()))
             for m in ("mean", "median")]  # fmt: skip
    expected = (above[0] * above[1]).sum() / np.sqrt((above[0] ** 2).sum() * (above[1] ** 2).sum())
    assert taus.loc["mean", "median"] == pytest.approx(expected)


@pytest.mark.parametrize("models", [["a", "b"], ["a"]])
def test_a_method_that_ties_all_models_agrees_with_none(models):
    rows = [("s", m, "3", auc, 0.0, 0.0, 0.0) for m, auc in zip(models, (0.5, 0.6), strict=False)]
    taus = agreement(rank(pd.DataFrame(rows, columns=COLUMNS)), "1e-4")
    assert taus.isna().all(axis=None)
