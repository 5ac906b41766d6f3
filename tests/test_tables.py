"""Tables: aligned, escaped, exact in CSV, and honest about missing numbers."""

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.ranking import COLUMNS, MERITS, RANKINGS, rank
from scanner.tables import (
    LATEX,
    best,
    cell,
    latex_escape,
    present,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
)

WRITERS = (to_markdown, to_html, lambda t: to_latex(t, "caption", "tab:x"))
TABLE = pd.DataFrame({"model": ["a_b", "c|d<e>"], "value": [0.5, np.nan], "count": [12, 3]})


def test_markdown_is_aligned():
    lines = to_markdown(TABLE).split("\n")[:4]
    assert len({len(line) for line in lines}) == 1
    assert lines[2].endswith("|   0.5 |    12 |")
    assert r"c\|d&lt;e>" in lines[3]


@pytest.mark.parametrize("write", WRITERS)
def test_a_missing_number_is_a_dash_and_is_counted(write):
    text = write(TABLE)
    assert "3 of 4 numbers" in text
    assert not re.search(r"(?<![.\d])0(\.0+)?(?![.\d])", text)
    assert "nan" not in text.lower()
    assert "numbers;" not in write(TABLE.dropna())


def test_csv_leaves_a_missing_number_empty():
    assert to_csv(TABLE) == "model,value,count\na_b,0.5,12\nc|d<e>,,3\n"
    assert present(TABLE) == (3, 4)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
def test_csv_keeps_every_bit(values):
    rows = list(csv.reader(io.StringIO(to_csv(pd.DataFrame({"x": values})))))
    assert [float(row[0]) for row in rows[1:]] == values


@given(st.text(alphabet="ab ,\"'\n;é†", max_size=12))
def test_csv_keeps_every_name(name):
    table = pd.DataFrame({"m": [name], "x": [1.5]})
    assert list(csv.reader(io.StringIO(to_csv(table), newline="")))[1] == [name, "1.5"]


@given(st.text(max_size=12) | st.text(alphabet="ab\\{}_#$%&~^<>|[]\"*-`†\n", max_size=12))
def test_latex_leaves_no_bare_special_character(text):
    escaped = latex_escape(text)
    for replacement in sorted(LATEX.values(), key=len, reverse=True):
        escaped = escaped.replace(replacement, "")
    assert not set(escaped) & set(LATEX) - {"-"}
    assert escaped.isascii()
    assert escaped.isprintable()
    assert "--" not in latex_escape(text)


@given(st.lists(st.text(max_size=6), min_size=2, max_size=2, unique=True))
def test_different_names_stay_different_in_latex(names):
    plain = [re.sub(r"[\t\n]", " ", name).replace("”", '"') for name in names]
    if plain[0] != plain[1]:
        assert latex_escape(names[0]) != latex_escape(names[1])


def test_latex_table_is_complete():
    text = to_latex(TABLE, "100 % of a_b", "tab:x")
    assert r"\caption{100 \% of a\_b 3 of 4 numbers; - is missing.}" in text
    assert r"\begin{tabular}{lrr}" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert re.search(r"c\\textbar\{\}d\\textless\{\}e\\textgreater\{\} & +- & +3 \\\\", text)


def test_html_escapes_and_marks_numbers():
    text = to_html(TABLE)
    assert "c|d&lt;e&gt;" in text
    assert '<td class="number">12</td>' in text
    assert text.count('<tr class="new">') == 2
    assert to_html(TABLE.assign(model="x")).count('<tr class="new">') == 1


@pytest.mark.parametrize(("value", "text"), [
    (None, "-"), (float("nan"), "-"), (0.0, "0"), (12.0, "12"), (0.922941176471, "0.922941"),
    (1e-5, "1e-05"), (True, "yes"), (False, "no"), (7, "7"), ("x", "x"), ("", ""),
])  # fmt: skip
def test_cells(value, text):
    assert cell(value) == text


def pool(values):
    rows = [(s, m, "3", *[x] * 4) for m, x in values.items() for s in ("a", "b")]
    return rank(pd.DataFrame(rows, columns=COLUMNS))


@pytest.mark.parametrize("method", RANKINGS)
def test_best_lists_every_merit(method):
    table = best(pool({f"m{k}": k / 10 for k in range(8)}), method, "clean", count=3)
    assert list(table.columns) == ["merit", "place", "model", "value", "tie"]
    assert list(table["merit"]) == [m for m in MERITS for _ in range(3)]


def test_best_says_where_it_cuts_through_a_tie():
    table = best(pool({"a": 0.9, "b": 0.5, "c": 0.5, "d": 0.5, "e": 0.1}), "mean", "clean", count=3)
    part = table[table["merit"] == "AUC"]
    assert list(part["model"]) == ["a", "b", "c"]
    assert list(part["tie"]) == ["", "2 of 3", "2 of 3"]
    whole = best(pool({"a": 0.9, "b": 0.5, "c": 0.5}), "mean", "clean", count=3)
    assert set(whole["tie"]) == {""}


def test_best_with_fewer_models_than_asked_for():
    assert len(best(pool({"a": 0.9}), "mean", "clean", "3")) == 4
