"""Pages: every section in Markdown and HTML, rankings in LaTeX, marks where events are few."""

import pandas as pd
import pytest
from fake_results import write_results

from scanner.findings import against_controls, control_rows, seed_table
from scanner.pages import MARK, Findings, Section, best, latex, markdown, notes, page, sections
from scanner.pool import read_pool
from scanner.ranking import RANKINGS, rank
from scanner.teaching import teaching

FIGURES = {f"{method}.png": b"\x89PNG" for method in RANKINGS}


def build(folder, **options):
    pool = read_pool([write_results(folder, **options)[0]])
    shown = rank(pool.table)
    controls = against_controls(pool.table, shown, control_rows(pool.results))
    found = Findings(controls, teaching(pool.results), seed_table(pool.table, pool.results))
    return pool, shown, sections(pool, shown, found, "clean")


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


def test_training_is_judged_per_architecture_and_per_model(made):
    pool, _, parts = made
    whole, sentences, each = (p for p in parts if p.title.startswith("Does training teach"))
    assert not whole.folded
    assert sentences.folded
    assert each.folded
    assert len(whole.table) == len(sentences.text)
    assert list(each.table["model"]) == sorted(pool.results.query("stage == 'trained'")["name"]
                                               [lambda names: ~names.duplicated()])  # fmt: skip
    assert "architectures and scores" in whole.text[1]
    assert {"untrained", "gain", ">untrained", ">ht", ">mult"} < set(whole.table)


def test_the_sample_is_never_compared_with_the_paper(tmp_path):
    for dataset, warned in (("sample", True), ("darkmachines", False)):
        *_, parts = build(tmp_path / dataset, dataset=dataset)
        part = next(part for part in parts if part.title.startswith("Median over the signals"))
        assert any("may be compared with the published" in t for t in part.text) is warned
        assert list(part.table.columns[:4]) == ["model", "seeds", "AUC", "AUC sd"]


def test_a_missing_spread_is_no_zero(tmp_path):
    *_, parts = build(tmp_path / "a", seeds=(0,))
    part = next(part for part in parts if part.title.startswith("Median over the signals"))
    assert part.table["AUC sd"].isna().all()
    row = next(line for line in markdown("n", [], [part]).split("\n") if "kl" in line)
    assert row.count("| -") + row.count(" - |") >= 4


def test_no_section_speaks_of_a_best_model_without_a_method(made):
    _, _, parts = made
    for part in parts:
        assert "best model" not in part.title.lower()


def test_latex_has_the_rankings_alone(made):
    _, _, parts = made
    text = latex(parts)
    assert text.count(r"\begin{table}") == len(RANKINGS) * 3 + 1  # and the table of seeds
    assert text.count(r"\end{table}") == len(RANKINGS) * 3 + 1  # and the table of seeds
    labels = [line for line in text.split("\n") if line.startswith(r"\label")]
    assert len(set(labels)) == len(labels)
    assert "_" not in text.replace(r"\_", "")


def test_a_folded_section_can_be_opened():
    parts = [Section("Plain", table=pd.DataFrame({"a": [1]})), Section("Hidden", folded=True)]
    html = page("n", ["note"], parts, {})
    assert "<summary>Hidden</summary>" in html
    assert '<h2 id="s1">Plain</h2>' in html
    assert '<a href="#s1">Plain</a>' in html
