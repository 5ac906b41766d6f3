"""Rankings: the challenge's expected lists, the tie rule, row order, and bad input."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.comparison import total_improvement
from scanner.errors import ScannerError
from scanner.ranking import (
    COLUMNS,
    CONVENTIONS,
    DECIMALS,
    KEYS,
    MERITS,
    RANKINGS,
    STACKING,
    drop_incomplete,
    gaps,
    rank,
    read_challenge,
    stacking_order,
)

CHALLENGE = Path(__file__).parents[2] / "shared" / "data" / "challenge"
needs_challenge = pytest.mark.skipif(
    not CHALLENGE.exists(), reason="the challenge's tables (../shared/data/challenge) are absent"
)
PAIRS = [("1", "a"), ("2a", "b"), ("3", "a"), ("3", "c")]


def make(values, pairs=PAIRS):
    """A table from model -> one value per pair, the same for every merit."""
    rows = [(signal, model, chan, *[x] * 4)
            for model, xs in values.items()
            for (chan, signal), x in zip(pairs, xs, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def values(ranked, method, channel="All", merit="AUC"):
    part = ranked.query("method == @method and channel == @channel and merit == @merit")
    return dict(zip(part["model"], part["value"], strict=True))


def places(ranked, method, channel="All", merit="AUC"):
    part = ranked.query("method == @method and channel == @channel and merit == @merit")
    return dict(zip(part["model"], part["place"], strict=True))


grids = st.integers(1, 6).flatmap(
    lambda n: st.lists(
        st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), min_size=4, max_size=4),
        min_size=n, max_size=n,
    )
).map(lambda xs: make({f"m{k}": x for k, x in enumerate(xs)}))  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(grids, st.integers(0, 2**32 - 1))
def test_clean_is_the_same_for_any_order_of_rows(table, seed):
    shuffled = table.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(rank(table), rank(shuffled))


@settings(max_examples=15, deadline=None)
@given(grids)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_places_follow_values_and_every_model_is_ranked(convention, table):
    ranked = rank(table, convention)
    models = sorted(set(table["Model"]))
    for (_, _, method), part in ranked.groupby(["channel", "merit", "method"]):
        assert sorted(part["model"]) == models
        sign = 1 if RANKINGS[method].best == "smallest" else -1
        for place, value in zip(part["place"], part["value"], strict=True):
            assert place == 1 + sum(sign * part["value"] < sign * value)
        assert list(part["place"]) == sorted(part["place"])


@settings(max_examples=15, deadline=None)
@given(grids)
def test_clean_places_inside_pairs_by_their_definition(table):
    ranked = rank(table)
    wide = table.pivot(index="Model", columns=["Chan", "Signal"], values="AUC").to_numpy()
    higher = (wide[None, :, :] > wide[:, None, :]).sum(axis=1)
    models = sorted(set(table["Model"]))
    for method, expected in (("top1", (higher == 0).sum(1)), ("top5", (higher < 5).sum(1)),
                             ("average_rank", higher.mean(1))):  # fmt: skip
        assert values(ranked, method) == pytest.approx(dict(zip(models, expected, strict=True)))


@settings(max_examples=15, deadline=None)
@given(grids)
def test_published_places_are_a_permutation_of_the_models(table):
    ranked = rank(table, "published")
    n, columns = table["Model"].nunique(), {"All": 3, "1": 1, "2a": 1, "3": 2}
    for channel, k in columns.items():
        assert sum(values(ranked, "top1", channel).values()) == k
        assert sum(values(ranked, "top5", channel).values()) == k * min(5, n)
        mean = np.mean(list(values(ranked, "average_rank", channel).values()))
        assert mean == pytest.approx((n - 1) / 2)


@settings(max_examples=15, deadline=None)
@given(grids)
def test_score_based_methods_agree_in_both_conventions(table):
    both = [rank(table, c).query("method in ['mean', 'median', 'min']") for c in CONVENTIONS]
    pd.testing.assert_frame_equal(*(part.drop(columns="convention") for part in both))


def test_score_based_methods_by_hand():
    ranked = rank(make({"x": [0.1, 0.2, 0.6, 0.7], "y": [0.4, 0.4, 0.4, 0.4]}))
    assert values(ranked, "mean") == {"x": 0.4, "y": 0.4}
    assert places(ranked, "mean") == {"x": 1, "y": 1}
    assert values(ranked, "median") == {"x": 0.4, "y": 0.4}
    assert values(ranked, "min") == {"x": 0.1, "y": 0.4}
    assert places(ranked, "min") == {"y": 1, "x": 2}
    assert values(ranked, "mean", "3") == {"x": 0.65, "y": 0.4}


def test_ties_share_a_place_to_twelve_decimals_and_go_by_name():
    ranked = rank(make({"b": [0.5] * 4, "a": [0.5 + 1e-14] * 4, "c": [0.4] * 4}))
    for method in RANKINGS:
        got = places(ranked, method)
        assert got == {"a": 1, "b": 1, "c": 1 if method == "top5" else 3}
        assert list(got) == ["a", "b", "c"]
    assert values(ranked, "average_rank") == {"a": 0, "b": 0, "c": 2}


def test_zeros_tie_at_the_bottom_and_count():
    ranked = rank(make({"a": [0.9] * 4, "b": [0.0] * 4, "c": [0.0, 0.0, 0.0, 0.1]}))
    assert values(ranked, "average_rank") == {"a": 0.0, "b": 1.25, "c": 1.0}
    assert values(ranked, "min") == {"a": 0.9, "b": 0.0, "c": 0.0}


def test_the_column_overwrite_of_the_published_convention():
    ranked = rank(make({"x": [0.9, 0.9, 0.1, 0.1], "y": [0.1, 0.1, 0.9, 0.9]}), "published")
    assert values(ranked, "top1") == {"x": 1, "y": 2}  # channel 1 is overwritten by channel 3
    assert values(rank(make({"x": [0.9] * 4})), "top1") == {"x": 4}


def test_published_credit_is_by_position():
    table = make({"x": [0.9] * 4, "y": [0.1] * 4})
    swapped = pd.concat([table.query("Chan == '1'"), table.query("Chan != '1'")[::-1]])
    assert values(rank(swapped, "published"), "top1") == {"x": 0, "y": 3}
    assert values(rank(swapped), "top1") == {"x": 4, "y": 0}


def test_only_channels_present_are_ranked():
    one = make({"x": [0.5], "y": [0.6]}, [("2b", "s")])
    assert set(rank(one)["channel"]) == {"All", "2b"}
    assert set(rank(one)["merit"]) == set(MERITS)
    assert list(rank(one).columns) == [
        "convention", "channel", "merit", "method", "place", "model", "value"]  # fmt: skip
    other = one.assign(Chan="dijet")
    assert set(rank(other, channels=["dijet"])["channel"]) == {"All", "dijet"}


def test_a_model_without_a_channel_is_dropped_and_named():
    table = make({"x": [0.5] * 4, "y": [0.6] * 4}).query("not (Model == 'y' and Chan == '3')")
    kept, dropped = drop_incomplete(table)
    assert set(kept["Model"]) == {"x"}
    assert dropped == {"y": ["3"]}
    assert set(rank(table)["model"]) == {"x"}


def test_gaps_name_the_pairs():
    table = make({"x": [0.5] * 4, "y": [0.6] * 4}).query("not (Model == 'y' and Signal == 'c')")
    assert gaps(table) == {"y": ["3/c"]}


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t.drop(index=7), r"missing rows: y lacks 3/c"),
    (lambda t: pd.concat([t, t.tail(1)]), r"y on 3/c: given twice"),
    (lambda t: t.assign(AUC=t["AUC"].where(t.index != 2)), r"x on 3/a: not a number"),
    (lambda t: t.assign(Chan=t["Chan"].replace("2a", "2c")), r"on 2c/b.*unknown channel.*2a, 2b"),
    (lambda t: t.drop(columns="1e-3"), r"no column 1e-3"),
    (lambda t: t.assign(AUC=t["AUC"] * 100), r"not a fraction in \[0, 1\]"),
    (lambda t: t.head(0), r"no row"),
    (lambda t: t.drop(index=[0, 5]), r"no model has rows in all channels \(1, 2a, 3\)"),
])  # fmt: skip
def test_bad_input_is_refused_by_name(change, message, convention):
    table = make({"x": [0.5] * 4, "y": [0.6] * 4})
    with pytest.raises(ScannerError, match=message):
        rank(change(table), convention)


def test_an_unknown_convention_is_an_error():
    with pytest.raises(ScannerError, match=r"'wild'.*clean, published"):
        rank(make({"x": [0.5] * 4}), "wild")


def test_reading_keeps_text_and_every_bit(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("Signal,Model,Chan,AUC,1e-2,1e-3,1e-4,more\n"
                    "1,NA,1,0.1,0.30000000000000004,1e-300,0,x\n")  # fmt: skip
    table = read_challenge(path)
    assert table.to_numpy().tolist() == [["1", "NA", "1", 0.1, 0.1 + 0.2, 1e-300, 0.0]]
    assert list(table.columns) == COLUMNS


@pytest.mark.parametrize(("text", "message"), [
    ("Signal,Model,Chan,AUC,1e-2,1e-3,1e-4\ns,m,3,,0,0,0\n", r"x.csv: row 1 \(m on 3/s\): AUC is"),
    ("Signal,Model,AUC,1e-2,1e-3,1e-4\n", r"x.csv: no column Chan; expected Signal"),
    ("", "not a readable CSV"),
    ("a,b\n1,2,3\n1\n1,2,3,4\n", "not a readable CSV"),
])  # fmt: skip
def test_unreadable_files_are_refused_by_name(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ScannerError, match=message):
        read_challenge(tmp_path / "x.csv")


def test_a_file_that_is_absent_or_binary_is_refused(tmp_path):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81" * 9)
    for name in ("absent.csv", "binary.csv"):
        with pytest.raises(ScannerError, match=name):
            read_challenge(tmp_path / name)


def test_stacking_puts_unknown_names_last_in_their_order():
    names = ["z", "Combined", "AE", "b", "Flow"]
    ordered = [p.stem for p in stacking_order([Path(f"{n}.csv") for n in names])]
    assert ordered == ["AE", "Flow", "Combined", "z", "b"]
    assert len(STACKING) == 13


def test_total_improvement_by_hand():
    table = make({"x": [0.1] * 4, "y": [0.0, 0.2, 0.3, 0.0]})
    got = total_improvement(table)
    assert list(got["model"]) == ["y", "x"]  # per signal: x 10, 10, 10; y 30, 20, 0
    assert got[["min", "median", "max"]].to_numpy().tolist() == [[0, 20, 30], [10, 10, 10]]


@pytest.fixture(scope="module")
def challenge():
    paths = stacking_order(sorted(CHALLENGE.glob("*.csv")))
    table = pd.concat([read_challenge(p) for p in paths], ignore_index=True)
    return table, json.loads((CHALLENGE / "expected.json").read_text())["open"]


def same_list(part, top, edge_tie):
    """Whether the best ten agree: values in order, names as sets within equal values."""
    got = part.head(len(top))
    expected = pd.DataFrame(top, columns=["model", "value"])
    np.testing.assert_allclose(got["value"], expected["value"], atol=1e-9, rtol=0)
    inside = edge_tie[0] == edge_tie[1]
    for value, names in expected.groupby(expected["value"].round(9))["model"]:
        if inside or value != round(expected["value"].iloc[-1], 9):
            assert set(got["model"][(got["value"] - value).abs() < 1e-8]) == set(names)
    last = part["value"].round(DECIMALS) == round(float(got["value"].iloc[-1]), DECIMALS)
    assert [int(last.head(len(top)).sum()), int(last.sum())] == edge_tie


@needs_challenge
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_challenge_is_reproduced(challenge, convention):
    table, expected = challenge
    ranked = rank(table, convention)
    assert ranked["model"].nunique() == expected["n_models"] == 162
    lists = dict(list(ranked.groupby(["channel", "merit", "method"])))
    checked = [e for e in expected["rankings"] if e["convention"] in (convention, "both")]
    for entry in checked:
        part = lists[entry["channel"], entry["merit"], entry["method"]]
        same_list(part, entry["top"], entry["edge_tie"])
    assert len(checked) == 120 == len(lists)


@needs_challenge
def test_the_total_improvements_are_reproduced(challenge):
    table, expected = challenge
    got = total_improvement(table)
    top = pd.DataFrame(expected["total_improvement_by_median"])
    assert list(got["model"].head(20)) == list(top["model"])
    for word in ("min", "median", "max"):
        np.testing.assert_allclose(got[word].head(20), top[word], atol=1e-9, rtol=0)
        entry = expected["total_improvement_leaders"][word]
        part = got.sort_values([word, "model"], ascending=[False, True], ignore_index=True)
        same_list(part[["model", word]].set_axis(["model", "value"], axis=1), entry["top"],
                  entry["edge_tie"])  # fmt: skip


@needs_challenge
def test_the_stacking_order_matters_to_the_published_convention_alone(challenge):
    table, _ = challenge
    other = table.iloc[::-1]
    pd.testing.assert_frame_equal(rank(table), rank(other))
    assert not rank(table, "published").equals(rank(other, "published"))


def test_keys_are_those_of_the_format():
    assert KEYS + list(MERITS) == COLUMNS == [
        "Signal", "Model", "Chan", "AUC", "1e-2", "1e-3", "1e-4"]  # fmt: skip
