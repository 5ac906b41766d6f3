"""Does training teach anything: medians by a naive loop, and only networks that count trained."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fake_results import write_results

from scanner.pool import read_pool
from scanner.teaching import CONTROLS, EVERY, RIVALS, teaching, teaching_count, teaching_sentences


@pytest.fixture
def results(tmp_path):
    return read_pool([write_results(tmp_path / "a", seeds=(0, 1, 2), diverged=(1,))[0]]).results


def naive(results, name):
    """AUC per pair of one ranked model: trained, untrained, controls."""
    mine = results[results["name"] == name]
    out = {}
    for pair, rows in mine.groupby(["channel", "signal"]):
        runs = rows.pivot(index="seed", columns="stage", values="auc").dropna()
        here = results[(results["channel"] == pair[0]) & (results["signal"] == pair[1])]
        controls = here[here["stage"] == "control"].set_index("score")["auc"]
        out[pair] = {stage: np.median(runs[stage]) for stage in ("trained", "untrained")}
        out[pair] |= {control: controls[control] for control in CONTROLS}
    return pd.DataFrame(out).T


def test_a_model_is_the_median_over_the_pairs(results):
    table = teaching(results)
    each = table[table["model"] != EVERY]
    assert set(each["model"]) == set(results.loc[results["stage"] == "trained", "name"])
    for row in each.to_dict("records"):
        expected = naive(results, row["model"])
        for column in ("trained", *RIVALS):
            assert row[column] == pytest.approx(expected[column].median(), abs=1e-12)
        for rival in RIVALS:
            assert row[f"beats_{rival}"] == (expected["trained"] > expected[rival]).sum()
        assert row["gain"] == row["trained"] - row["untrained"]
        assert (row["pairs"], row["models"]) == (len(expected), 1)


def test_an_architecture_is_the_median_of_its_models(results):
    other = results.assign(name=results["name"].astype("str") + "2", auc=results["auc"] / 2)
    both = pd.concat([results, other[other["stage"] != "control"]])
    row = teaching(both).query("model == @EVERY").iloc[0]
    name = f"{row['architecture']}-all-nohlf-beta0.5-none-{row['score']}"
    expected = naive(results, name)
    assert row["models"] == 2
    assert row["trained"] == pytest.approx((expected["trained"] * 0.75).median())
    assert row["untrained"] == pytest.approx((expected["untrained"] * 0.75).median())
    assert row["ht"] == pytest.approx(expected["ht"].median())


def test_a_diverged_network_counts_neither_trained_nor_untrained(results):
    gone = results["auc"].isna()
    assert gone.any()
    lost = results.merge(results.loc[gone, ["trial", "score", "signal"]])
    changed = results.copy()
    mark = changed["trial"].isin(lost["trial"]) & (changed["stage"] == "untrained")
    changed.loc[mark, "auc"] = 0.99
    pd.testing.assert_frame_equal(teaching(changed), teaching(results))


def test_the_order_of_rows_does_not_matter(results):
    shuffled = results.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(teaching(shuffled), teaching(results))


def test_sentences_name_the_strongest_control_and_the_counts(results):
    table = teaching(results)
    whole = table[table["model"] == EVERY]
    lines = teaching_sentences(table)
    assert len(lines) == len(whole)
    for line, row in zip(lines, whole.to_dict("records"), strict=True):
        strongest = max(CONTROLS, key=lambda name: row[name])
        assert f"strongest control is {strongest} with {row[strongest]:.4f}" in line
        assert f"lower on {row['beats_untrained']} of {row['pairs']}" in line
    taught = int((whole["trained"] > whole["untrained"]).sum())
    assert f"than untrained: {taught} of {len(whole)} architectures" in teaching_count(table)


@pytest.mark.parametrize("stage", ["trained", "untrained", "control"])
def test_without_one_side_there_is_no_table(results, stage):
    assert teaching(results[results["stage"] != stage]).empty
    assert teaching(pd.DataFrame()).empty
