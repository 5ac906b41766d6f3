"""Findings: controls are compared honestly, and doubtful rows are found, not repaired."""

import numpy as np
import pandas as pd
import pytest
from fake_results import write_results

from scanner.doubts import flags
from scanner.findings import (
    against_controls,
    combine_seeds,
    control_rows,
    control_sentences,
    control_summary,
    first_models,
    seed_table,
    small_backgrounds,
)
from scanner.pool import read_pool
from scanner.ranking import COLUMNS, RANKINGS, rank


def results(rows):
    """Tidy rows from (stage, name, score, signal, auc)."""
    columns = ["stage", "name", "score", "signal", "auc"]
    frame = pd.DataFrame(rows, columns=columns).assign(
        channel="3", representation="all", seed=0, status="done", n_background=50_000)  # fmt: skip
    for k, merit in enumerate(("eps_s_1e-2", "eps_s_1e-3", "eps_s_1e-4")):
        frame[merit] = frame["auc"] / 10 ** (k + 1)
    return frame


ROWS = results([
    ("trained", "m-kl", "kl", "a", 0.9), ("trained", "m-kl", "kl", "b", 0.6),
    ("trained", "n-kl", "kl", "a", 0.7), ("trained", "n-kl", "kl", "b", 0.65),
    ("untrained", "m-kl", "kl", "a", 0.5), ("untrained", "m-kl", "kl", "b", 0.61),
    ("untrained", "n-kl", "kl", "a", 0.5), ("untrained", "n-kl", "kl", "b", 0.8),
    ("control", "control-ht", "ht", "a", 0.8), ("control", "control-ht", "ht", "b", 0.55),
])  # fmt: skip


@pytest.fixture
def compared():
    table = combine_seeds(ROWS[ROWS["stage"] == "trained"])
    ranked = rank(table)
    return table, ranked, control_rows(ROWS)


def test_controls_never_enter_the_pool_and_keep_their_names(compared):
    table, _, controls = compared
    assert set(table["Model"]) == {"m-kl", "n-kl"}
    assert set(controls["Model"]) == {"ht", "untrained m-kl", "untrained n-kl"}


def test_the_highest_model_is_compared_with_every_control(compared):
    out = against_controls(*compared).set_index("signal")
    assert list(out["beats_all"]) == [True, False]
    assert out.loc["b", "untrained"] == 0.8
    assert out.loc["b", ["highest", "model"]].tolist() == [0.65, "n-kl"]
    assert list(out["ht"]) == [0.8, 0.55]
    assert set(RANKINGS) < set(out.columns)


def test_the_first_model_of_each_method_is_compared_with_its_own_network(compared):
    out = control_summary(*compared).set_index("method")
    names = first_models(compared[1])
    assert names["mean"] == "m-kl"
    assert out.loc["Highest mean"].tolist() == ["m-kl", "1 of 2"]  # b: 0.6 against 0.61 untrained
    assert out.loc["Highest minimum"].tolist() == ["n-kl", "0 of 2"]


def test_sentences_name_the_strongest_control(compared):
    one, two = control_sentences(against_controls(*compared))
    assert one == ("3/a: the highest AUC of a trained model, 0.9000 (m-kl), beats every control; "
                   "the strongest control is ht with 0.8000.")  # fmt: skip
    assert "does not beat every control; the strongest control is untrained with 0.8000" in two


def test_an_equal_control_is_not_beaten():
    rows = ROWS.assign(auc=0.7)
    table = combine_seeds(rows[rows["stage"] == "trained"])
    out = against_controls(table, rank(table), control_rows(rows))
    assert not out["beats_all"].any()
    assert set(control_summary(table, rank(table), control_rows(rows))["beats_all"]) == {"0 of 2"}


def test_controls_of_several_representations_are_told_apart():
    control = ROWS[ROWS["stage"] == "control"]
    both = pd.concat([control, control.assign(representation="truncated")])
    assert set(control_rows(both)["Model"]) == {"ht (all)", "ht (truncated)"}


def test_a_whole_scan_is_compared(tmp_path):
    pool = read_pool([write_results(tmp_path / "a", best=0.61)[0]])
    out = against_controls(pool.table, rank(pool.table), control_rows(pool.results))
    assert len(out) == 5
    assert out.drop(columns=["channel", "signal", "model"]).notna().all().all()
    rivals = out[["norm", "ht", "met", "multiplicity", "untrained"]].max(axis=1)
    assert list(out["beats_all"]) == list(out["highest"] > rivals)
    assert not out["beats_all"].all()


def test_small_backgrounds():
    out = small_backgrounds(pd.concat([ROWS, ROWS.assign(channel="1", n_background=5_868)]))
    assert out.to_numpy().tolist() == [["1", "1e-3", 5868, 5.868], ["1", "1e-4", 5868, 0.5868],
                                       ["3", "1e-4", 50000, 5.0]]  # fmt: skip
    exact = small_backgrounds(ROWS.assign(n_background=100_000))
    assert exact.empty
    assert small_backgrounds(pd.DataFrame()).empty


def test_the_seed_table_is_medians_and_their_spread():
    """Two models, three seeds, two signals; one seed of n lacks a signal and is not counted."""
    aucs = {"m": {0: (0.6, 0.8), 1: (0.7, 0.7), 2: (0.9, 0.7)},
            "n": {0: (0.5, 0.9), 1: (np.nan, 0.9)}}  # fmt: skip
    rows = results([("trained", name, "kl", signal, auc) for name, seeds in aucs.items()
                    for pair in seeds.values() for signal, auc in zip("ab", pair, strict=True)])
    rows["seed"] = [seed for seeds in aucs.values() for seed in seeds for _ in "ab"]
    untrained = rows.assign(stage="untrained", auc=0.1)
    out = seed_table(combine_seeds(rows), pd.concat([rows, untrained])).set_index("model")
    assert out["seeds"].to_dict() == {"m": 3, "n": 1}
    assert out.loc["m", "AUC"] == pytest.approx(0.7)  # medians over seeds 0.7, 0.7
    assert out.loc["m", "AUC sd"] == pytest.approx(np.std([0.7, 0.7, 0.8], ddof=1))
    assert out.loc["m", "1e-2 sd"] == pytest.approx(out.loc["m", "AUC sd"] / 10)
    assert np.isnan(out.loc["n", ["AUC sd", "1e-4 sd"]].astype(float)).all()
    assert seed_table(combine_seeds(rows), pd.DataFrame()).empty


def test_the_seed_table_agrees_with_the_ranking(tmp_path):
    pool = read_pool([write_results(tmp_path / "a", seeds=(0, 1, 2), diverged=(2,))[0]])
    out = seed_table(pool.table, pool.results).set_index("model")
    ranked = rank(pool.table).query("channel == 'All' and merit == 'AUC' and method == 'median'")
    for row in ranked.itertuples():
        assert out.loc[row.model, "AUC"] == pytest.approx(row.value, abs=1e-12)
    assert sorted(out["seeds"]) == [2, 2, 3, 3]  # one seed of one model diverged in one channel
    assert list(out["AUC"]) == sorted(out["AUC"], reverse=True)


def table(rows):
    return pd.DataFrame(rows, columns=COLUMNS)


def found(frame, start):
    out = flags(frame)
    return out[out["flag"].str.startswith(start)].iloc[0]


def test_flags_find_each_fault():
    good = [("s", "good", "3", 0.91, 0.523, 0.311, 0.123)]
    clean = flags(table(good))
    assert (clean["found"] == 0).all()
    for start, row in {
        "saturated: eps_S the same at 1e-3": ("s", "x", "3", 0.91, 0.5, 0.3, 0.3),
        "saturated: eps_S the same at 1e-2": ("s", "x", "3", 0.91, 0.5, 0.5, 0.3),
        "saturated model": ("s", "x", "3", 0.91, 0.5, 0.3, 0.3),
        "impossible": ("s", "x", "3", 0.5, 1.0, 0.3, 0.2),
        "not monotone": ("s", "x", "3", 0.91, 0.5, 0.3, 0.4),
        "inverted": ("s", "x", "3", 0.49, 0.2, 0.1, 0.05),
        "zero eps_S at 1e-4": ("s", "x", "3", 0.91, 0.5, 0.3, 0.0),
        "coarse": ("s", "x", "3", 0.29, 0.57, 0.01, 0.07),
    }.items():
        hit = found(table([*good, row]), start)
        assert hit["found"] == 1, start
        assert hit["examples"].startswith("x")
    twins = table([*good, ("s", "twin", "3", *good[0][3:])])
    assert found(twins, "identical")["examples"] == "good = twin"
    assert "1 distinct" in found(twins, "identical")["flag"]


def test_flags_change_nothing():
    random = np.random.default_rng(0)
    frame = table([("s", f"m{k}", "3", *random.random(4)) for k in range(9)])
    copy = frame.copy()
    flags(frame)
    pd.testing.assert_frame_equal(frame, copy)
