"""Pages: every section in Markdown and HTML, rankings in LaTeX, marks where events are few."""

import pandas as pd
import pytest
from fake_results import write_results

from scanner.findings import against_controls, control_rows
from scanner.pages import MARK, Section, best, latex, markdown, notes, page, sections
from scanner.pool import read_pool
from scanner.ranking import RANKINGS, rank

FIGURES = {f"{method}.png": b"\x89PNG" for method in RANKINGS}


@pytest.fixture
def made(tmp_path):
    pool = read_pool([write_results(tmp_path / "a", missing=(0, 1), diverged=(6,))[0]])
    shown = rank(pool.table)
    controls = against_controls(pool.table, shown, control_rows(pool.results))
    return pool, shown, sections(pool, shown, controls, "clean")


def test_merits_with_few_background_events_are_marked(made):
    pool, shown, _ = made
    for channel, marked in (("1", {"1e-3", "1e-4"}), ("3", set()), ("All", {"1e-3", "1e-4"})):
        table = best(pool, shown, "mean", "clean", channel)
        assert set(table.loc[table["few"] == MARK, "merit"]) == marked
        assert set(table["few"]) <= {MARK, ""}
    text = " ".join(notes(pool, "clean"))
    assert "fewer than ten background events" in text
    assert "9 in channel 1 at 1e-3, 0.9 in channel 1 at 1e-4" in text


def test_every_section_is_in_every_page(made):
    pool, _, parts = made
    heading = notes(pool, "clean")
    text, html = markdown("demo", heading, parts), page("demo", heading, parts, FIGURES)
    for part in parts:
        assert f"## {part.title}\n" in text
        assert part.title in html
    for note in heading:
        assert note in text
    assert text.count(".png)") == len(RANKINGS) == html.count("data:image/png")


def test_what_is_missing_is_listed(made):
    pool, _, parts = made
    titles = [part.title for part in parts]
    for title in ("Trials that diverged", "Trials that are missing", "Models left out",
                  "Coverage: cells per channel", "Rows and models to doubt"):  # fmt: skip
        assert title in titles
    counts = next(part.table for part in parts if part.title.startswith("Coverage"))
    assert list(counts.columns) == ["channel", "done", "diverged", "missing", "planned"]
    assert counts["planned"].sum() == len(pool.cells)


def test_controls_are_counted_per_signal(made):
    pool, _, parts = made
    part = next(part for part in parts if part.title.startswith("Controls: what"))
    pairs = len(pool.table[["Chan", "Signal"]].drop_duplicates())
    assert any(f"of {pairs} signals" in text for text in part.text)
    every = next(part for part in parts if part.title.startswith("Controls per"))
    assert len(every.text) == pairs


def test_no_section_speaks_of_a_best_model_without_a_method(made):
    _, _, parts = made
    for part in parts:
        assert "best model" not in part.title.lower()


def test_latex_has_the_rankings_alone(made):
    _, _, parts = made
    text = latex(parts)
    assert text.count(r"\begin{table}") == len(RANKINGS) * 3
    assert text.count(r"\end{table}") == len(RANKINGS) * 3
    labels = [line for line in text.split("\n") if line.startswith(r"\label")]
    assert len(set(labels)) == len(labels)
    assert "_" not in text.replace(r"\_", "")


def test_a_folded_section_can_be_opened():
    parts = [Section("Plain", table=pd.DataFrame({"a": [1]})), Section("Hidden", folded=True)]
    html = page("n", ["note"], parts, {})
    assert "<summary>Hidden</summary>" in html
    assert '<h2 id="s1">Plain</h2>' in html
    assert '<a href="#s1">Plain</a>' in html
