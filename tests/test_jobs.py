"""The grids in jobs/: each is valid, the whole product is counted by hand, and all of it trains."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import scanner
from scanner import store
from scanner.cli import cli
from scanner.collected import metrics
from scanner.datasets import open_dataset, read
from scanner.datasets.darkmachines import import_folder, write_text
from scanner.grid import parse
from scanner.launch import load_grid
from scanner.plan import plan
from scanner.registry import FLOWS
from scanner.status import describe

RECIPES = set(Path(__file__).parents[1].glob("jobs/generate_*.yaml"))  # no grids: test_generate.py
JOBS = sorted(set(Path(__file__).parents[1].glob("jobs/*.yaml")) - RECIPES)
PUBLISHED = {"darkmachines": ("1", "2a", "2b", "3")}
BY_NAME = {path.stem: path for path in JOBS}


def grid(name, known=PUBLISHED, dataset=None):
    return parse(BY_NAME[name].read_text(), name, known, dataset)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A data root with 200 background events and two signals of 50 events, imported as text is."""
    root = tmp_path_factory.mktemp("data")
    sample, source = open_dataset("sample"), root / "text" / "chan2a"
    source.mkdir(parents=True)
    signals = {f"{name}_chan2a.csv": (name, 50) for name in sample.channels["2a"][:2]}
    files = {"background_chan2a_1.csv": ("background", 200), **signals}
    for file, (process, events) in files.items():
        write_text(read(sample, "2a", process).take(range(events)), source / file)
    import_folder(root / "text", "tiny", root / "data")
    return root / "data"


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_job_is_valid_on_its_dataset_and_on_the_sample(path):
    text = path.read_text()
    known = PUBLISHED | {"sample": tuple(open_dataset("sample").channels)}
    made = plan(parse(text, path.name, known))
    assert made.name == path.stem
    here = plan(load_grid(path, dataset="sample"))
    assert 0 < len(here.trials) <= len(made.trials)
    assert {trial.dataset for trial in here.trials} == {"sample"}


def test_the_whole_product_is_what_a_hand_counts():
    """4 channels, 5 seeds; at beta = 1 no flow and three scores, else 8 flows and six scores."""
    points = 4 * 5 * (4 * 2 * 2)  # channels, seeds; representations, architectures, features
    made = plan(grid("paper"))
    assert len(made.trials) == points * (1 + 2 * 8) == 5440
    assert made.n_cells == points * (1 * 3 + 2 * 8 * 6) == 31680
    assert "5440 trials, 31680 cells" in BY_NAME["paper"].read_text()
    assert len({trial.id for trial in made.trials}) == 5440


def test_a_dry_run_prints_the_counts():
    made = CliRunner().invoke(
        cli, ["launch", str(BY_NAME["paper"]), "--dataset", "sample", "--dry-run"]
    )
    assert made.exit_code == 0, made.output
    assert "5440 trials, 31680 cells" in made.output


def test_table_s1_has_the_nine_models_of_the_paper():
    made = plan(grid("table_s1"))
    models = {trial.model for trial in made.trials}
    expected = {f"gcn_vae-all-nohlf-beta0.5-{flow}" for flow in FLOWS}
    assert models == expected | {"conv_vae-all-nohlf-beta0.5-none"}
    assert len(made.trials) == 9 * 4 * 5


def test_the_rows_of_table_s2_differ_in_their_loss_alone():
    paper, elbo = (grid(f"table_s2_{word}") for word in ("paper", "elbo"))
    assert {paper.training.loss, elbo.training.loss} == {"paper", "modified_elbo"}
    for a, b in zip(plan(paper).trials, plan(elbo).trials, strict=True):
        assert a.model == b.model
        assert a.id != b.id


def test_controls_have_every_flow_that_can_be_with_and_without_amortisation():
    labels = {variant.label for variant in grid("controls").flow}
    for name, entry in FLOWS.items():
        assert name in labels
        assert ("amortised" in entry.settings) == (f"{name}[amortised=false]" in labels)


@pytest.mark.parametrize("name", [name for name in BY_NAME if name.startswith("figure")])
def test_a_figure_is_a_cut_through_the_product(name):
    whole = {trial.id for trial in plan(grid("paper")).trials}
    assert {trial.id for trial in plan(grid(name)).trials if trial.beta < 1} <= whole


@pytest.mark.ray
def test_every_point_of_the_product_trains_for_an_epoch(tiny, tmp_path):
    """The real launch path: one channel, one seed, one epoch."""
    text = BY_NAME["paper"].read_text()
    for old, new in (("seed: [0, 1, 2, 3, 4]", "seed: [0]"), ("max_epochs: 20", "max_epochs: 1")):
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "paper.yaml"
    path.write_text(text)
    results = tmp_path / "results"
    outcome = scanner.launch(path, results, data_root=tiny, dataset="tiny", cpus=2)
    assert (outcome.failed, outcome.pending) == ((), ())
    assert len(outcome.done) == 4 * 2 * 2 * (1 + 2 * 8)
    assert store.read_scan(results).grid().channels == ("2a",)
    assert scanner.status(results).absent == ("1", "2b", "3")
    assert "left out: channel 1, 2b, 3" in describe(scanner.status(results))
    rows = metrics(results)
    trained = rows[rows["stage"] == "trained"]
    assert set(trained["status"]) == {"done"}
    assert len(trained) == 2 * 4 * 2 * 2 * (1 * 3 + 2 * 8 * 6)
    assert trained["auc"].between(0, 1).all()
