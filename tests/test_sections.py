"""Sections: everything a reader must see is one, in the order of the page."""

import pytest
from fake_results import write_results

from scanner.findings import against_controls, control_rows, seed_table
from scanner.lists import Findings
from scanner.pages import GROUPS, markdown
from scanner.paper import beside_paper
from scanner.pool import read_pool
from scanner.ranking import rank
from scanner.rendering import Drawing
from scanner.sections import sections
from scanner.teaching import teaching
from scanner.uncertainty import uncertainty

DRAWINGS = [Drawing(name, f"Figure {name}", "How to read it.", None) for name in ("a", "b")]


def build(folder, **options):
    pool = read_pool([write_results(folder, **options)[0]])
    shown = rank(pool.table)
    controls = against_controls(pool.table, shown, control_rows(pool.results))
    seeds = seed_table(pool.table, pool.results)
    found = Findings(controls, teaching(pool.results), seeds, beside_paper(seeds, pool.cells),
                     uncertainty(pool.table, pool.results, rank(pool.table), 40))  # fmt: skip
    return pool, shown, sections(pool, shown, found, "clean", DRAWINGS)


@pytest.fixture
def made(tmp_path):
    return build(tmp_path / "a", missing=(0, 1), diverged=(6,))


def test_what_is_missing_is_listed(made):
    pool, _, parts = made
    titles = [part.title for part in parts]
    for title in ("Trials that diverged", "Trials that are missing", "Models left out",
                  "Coverage: cells done of cells planned", "Coverage: cells per channel",
                  "Rows and models to doubt"):  # fmt: skip
        assert title in titles
    counts = next(part.table for part in parts if part.title == "Coverage: cells per channel")
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


def test_published_numbers_stand_beside_models_of_the_published_data(tmp_path):
    for dataset, beside in (("sample", False), ("darkmachines", True)):
        *_, parts = build(tmp_path / dataset, dataset=dataset)
        found = [part.table for part in parts if part.title == "Beside the published tables"]
        assert bool(found) is beside
    assert set(found[0]["row"]) == {"Conv-VAE", "GCN-VAE"}
    assert set(found[0]["model"].str.endswith("-reconstruction")) == {True}


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


def test_the_order_is_that_of_the_page(made):
    _, _, parts = made
    groups = [part.group for part in parts]
    assert groups == sorted(groups, key=list(GROUPS).index)
    assert parts[0].title.startswith("Coverage")
    *figures, latent = [part for part in parts if part.group == "figures"]
    assert [part.figure for part in figures] == ["a", "b"]
    assert latent.title == "Latent space"
    assert "no latent vectors" in latent.text[0]


def test_coverage_counts_cells_of_every_axis_value(made):
    pool, _, parts = made
    table = parts[0].table.set_index(["axis", "value"])
    assert list(table.columns) == ["1", "3", "all"]
    cells = pool.cells[pool.cells["architecture"] == "gcn_vae"]
    done = int((cells["status"] == "done").sum())
    assert table.loc[("architecture", "gcn_vae"), "all"] == f"{done} of {len(cells)}"
    for axis in ("architecture", "score", "seed"):
        words = table.loc[axis, "all"].str.split(" of ")
        assert sum(int(word[1]) for word in words) == len(pool.cells)


def test_controls_are_no_trials(made):
    pool, _, parts = made
    origin = next(part.table for part in parts if part.title == "Where the numbers come from")
    done = pool.cells.loc[pool.cells["status"] != "missing", "trial"].nunique()
    assert origin["trials"].sum() == done
