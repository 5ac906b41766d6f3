"""Lists: six beside each other, marked where few events decide, with an interval in every line."""

import pytest
from test_sections import build

from scanner.lists import MARK, best
from scanner.ranking import MERITS, RANKINGS
from scanner.sections import notes


@pytest.fixture
def made(tmp_path):
    return build(tmp_path / "a", missing=(0, 1), diverged=(6,))


def test_merits_with_few_background_events_are_marked(made):
    pool, shown, _ = made
    for channel, marked in (("1", {"1e-3", "1e-4"}), ("3", set()), ("All", {"1e-3", "1e-4"})):
        table = best(pool, shown, "mean", "clean", channel)
        assert set(table.loc[table["few"] == MARK, "merit"]) == marked
        assert set(table["few"]) <= {MARK, ""}
    text = " ".join(notes(pool, "clean"))
    assert "fewer than ten background events" in text
    assert "9 in channel 1 at 1e-3, 0.9 in channel 1 at 1e-4" in text


def test_six_rankings_stand_side_by_side_for_every_merit(made):
    pool, shown, parts = made
    beside = [part for part in parts if part.cards]
    assert len(beside) == len(MERITS)
    for part, merit in zip(beside, MERITS, strict=True):
        assert [card.title for card in part.cards] == [r.title for r in RANKINGS.values()]
        for method, card in zip(RANKINGS, part.cards, strict=True):
            rows = best(pool, shown, method, "clean")
            names = rows.loc[rows["merit"] == merit, "model"]
            assert [row[1] for row in card.rows] == list(names)
            assert all(" to " in row[3] for row in card.rows)
    assert [part.folded for part in beside] == [False, True, True, True]
    assert [MARK in part.title for part in beside] == [False, False, True, True]


def test_kendalls_tau_stands_beside_them(made):
    _, _, parts = made
    (table,) = [part.table for part in parts if part.title.endswith("methods, AUC")]
    assert list(table["tau"]) == list(table.columns[1:]) == [r.title for r in RANKINGS.values()]
