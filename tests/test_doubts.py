"""Doubts: every flag by hand, and the counts that the challenge's own tables are known to have."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from scanner.doubts import (
    IDENTICAL,
    IMPOSSIBLE,
    SATURATED,
    compared,
    doubts,
    model_flags,
    row_flags,
    without,
)
from scanner.metrics import EPS_B
from scanner.ranking import COLUMNS, rank, read_challenge, stacking_order

CHALLENGE = Path(__file__).parents[2] / "shared" / "data" / "challenge"
FINE = [
    ("s1", "fine", "1", 0.912, 0.5, 0.2, 0.1),
    ("s2", "fine", "3", 0.83, 0.41, 0.12, 0.01),
]
LINES = {
    "saturated": [("s1", "m", "1", 0.91, 0.5, 0.2, 0.2), ("s2", "m", "3", 0.8, 0.4, 0.0, 0.0)],
    "impossible": [("s1", "m", "1", 0.5, 0.9, 0.2, 0.1), ("s2", "m", "3", 0.83, 0.4, 0.1, 0.01)],
    "rising": [("s1", "m", "1", 0.91, 0.1, 0.2, 0.1), ("s2", "m", "3", 0.83, 0.4, 0.1, 0.01)],
    "inverted": [("s1", "m", "1", 0.31, 0.1, 0.05, 0.0), ("s2", "m", "3", 0.83, 0.4, 0.1, 0.01)],
}


def table(*parts):
    return pd.DataFrame([row for part in parts for row in part], columns=COLUMNS)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("saturated", "saturated: eps_S the same at 1e-3 and 1e-4"),
        ("impossible", IMPOSSIBLE),
        ("rising", "not monotone: eps_S rises while eps_B falls"),
        ("inverted", "inverted: AUC < 0.5"),
    ],
)
def test_a_row_is_flagged_by_name(name, flag):
    found = doubts(table(FINE, LINES[name]))
    (row,) = found[found["flag"] == flag].to_dict("records")
    assert (row["model"], row["channel"], row["signal"]) == ("m", "1", "s1")
    assert not len(doubts(table(FINE)))


def test_a_model_is_flagged_as_a_whole():
    found = doubts(table(FINE, LINES["saturated"]))
    (row,) = found[found["flag"] == SATURATED].to_dict("records")
    assert (row["model"], row["channel"]) == ("m", "all")
    zeros = [("s1", "z", "1", 0.6, 0.1, 0.0, 0.0), ("s2", "z", "3", 0.6, 0.1, 0.0, 0.0)]
    assert SATURATED not in set(doubts(table(FINE, zeros))["flag"])  # nothing above zero
    assert model_flags(table(FINE, zeros))["coarse model: every number a multiple of 0.01"] == [
        "z"]  # fmt: skip


def test_identical_models_are_grouped_per_channel_where_not_everywhere():
    rows = table(FINE, [(s, "twin", *rest) for s, _, *rest in FINE],
                 [("s1", "half", "1", 0.912, 0.5, 0.2, 0.1), ("s2", "half", "3", 0.9, 0.4, 0.1, 0)])
    found = doubts(rows)
    found = found[found["flag"] == IDENTICAL]
    got = {(row["model"], row["channel"], row["with"]) for row in found.to_dict("records")}
    assert got == {
        ("fine", "all", "twin"), ("twin", "all", "fine"), ("fine", "1", "half; twin"),
        ("half", "1", "fine; twin"), ("twin", "1", "fine; half"),
    }  # fmt: skip


def test_what_is_left_out_is_named_with_its_reason():
    twin = [(s, "other", *rest) for s, _, *rest in LINES["impossible"]]
    rows = table(FINE, LINES["impossible"], twin)
    kept, gone = without(rows)
    assert set(kept["Model"]) == {"fine"}
    assert gone.to_numpy().tolist() == [
        ["m", "a row that no ROC curve has"],
        ["other", "a row that no ROC curve has; identical to m"],
    ]
    pd.testing.assert_frame_equal(without(kept)[0], kept)
    coarse = table(FINE, LINES["inverted"])
    assert without(coarse)[1].empty


@pytest.mark.skipif(not CHALLENGE.exists(),
                    reason="the challenge's tables (../shared/data/challenge) are absent")
def test_the_challenges_tables_have_the_known_faults():
    paths = stacking_order(sorted(CHALLENGE.glob("*.csv")))
    rows = pd.concat([read_challenge(path) for path in paths], ignore_index=True)
    found = doubts(rows)
    count = found["flag"].value_counts()
    tight = found[found["flag"] == "saturated: eps_S the same at 1e-3 and 1e-4"]["model"]
    assert tight.value_counts().head(5).tolist() == [29, 8, 7, 7, 7]
    assert tight.value_counts().index[:2].tolist() == ["Flow-Efficient_Likelihood",
                                                       "VAE_PlanarFlow"]  # fmt: skip
    assert len(tight) == 144
    assert count["saturated: eps_S the same at 1e-2 and 1e-3"] == 26
    assert count[IMPOSSIBLE] == 9
    assert round((rows["AUC"] < 0.5).mean(), 2) == 0.22
    assert count["inverted: AUC < 0.5"] == (rows["AUC"] < 0.5).sum()
    shares = {cut: (rows[cut] == 0).groupby([rows["Chan"], rows["Signal"]]).mean() for cut in EPS_B}
    assert [(round(s.mean(), 2), round(s.max(), 2)) for s in shares.values()] == [
        (0.19, 0.75), (0.51, 0.97), (0.73, 0.97)]  # fmt: skip
    assert [row_flags(rows)[f"zero eps_S at {cut}"].sum() for cut in EPS_B] == [1022, 2816, 4040]
    coarse = model_flags(rows)["coarse model: every number a multiple of 0.01"]
    assert len(coarse) == 140 + 8 + 2  # VAE, Combined, Flow
    twins = found[found["flag"] == IDENTICAL]
    groups = {(row["channel"], frozenset([row["model"], *row["with"].split("; ")]))
              for row in twins.to_dict("records")}  # fmt: skip
    assert groups == {
        ("2a", frozenset({"VAE_IAF", "VAE_TriangularSNF"})),
        ("2b", frozenset({"VAE_IAF", "VAE_TriangularSNF"})),
        ("3", frozenset(f"VAE-static-beta0.5-z{z}_Radius" for z in (21, 34))),
        ("3", frozenset(f"VAE-static-beta0.999-z{z}_RL" for z in (5, 13, 21))),
        ("3", frozenset(f"VAE-dynamic-beta0.999-z{z}_RL" for z in (8, 13, 34))),
    }
    kept, gone = without(rows)
    assert gone["model"].tolist() == ["Combined-PROD-DeepSVDD-Flow", "Flow-Efficient_Likelihood"]
    assert kept["Model"].nunique() == 160
    firsts = compared(rank(rows), rank(kept)).set_index(["method", "merit"])
    assert firsts.loc[("median", "AUC"), ["first", "value"]].tolist() == [
        "Flow-Efficient_Likelihood", 0.97]  # fmt: skip
    assert not set(firsts["first without"]) & set(gone["model"])
    assert len(firsts) == 24
