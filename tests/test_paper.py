"""Published tables: the numbers of jobs/published, beside the models that they describe."""

from pathlib import Path

import pandas as pd
import pytest

from scanner.paper import PUBLISHED, as_printed, beside_paper
from scanner.ranking import MERITS

FOLDER = Path(__file__).parents[1] / "jobs" / "published"
CELL = {"name": "ours", "dataset": "darkmachines", "architecture": "gcn_vae", "flow": "iaf",
        "loss": "paper", "score": "reconstruction", "representation": "all", "hlf": False}
SEEDS = pd.DataFrame({"model": ["ours"], "seeds": [5]} | {merit: [0.5] for merit in MERITS}
                     | {f"{merit} sd": [0.01] for merit in MERITS})


@pytest.mark.parametrize(("table", "file"), [("S1", "table_s1.csv"), ("S2", "table_s2.csv")])
def test_the_numbers_are_those_of_the_files(table, file):
    written = pd.read_csv(FOLDER / file).set_index("model" if table == "S1" else "loss")
    known = {row: numbers for (name, row, *_), numbers in PUBLISHED.items() if name == table}
    assert set(known) == set(written.index)
    for row, numbers in known.items():
        columns = [*MERITS, *(f"{merit} sd" for merit in MERITS)][: len(numbers)]
        assert written.loc[row, columns].tolist() == list(numbers)


def test_a_model_lies_beside_its_row():
    (line,) = beside_paper(SEEDS, pd.DataFrame([CELL])).to_dict("records")
    assert (line["table"], line["row"], line["model"]) == ("S1", "GCN-VAE + IAF", "ours")
    assert (line["AUC"], line["AUC sd"]) == (0.751, 0.008)
    assert (line["AUC ours"], line["AUC ours sd"]) == (0.5, 0.01)


@pytest.mark.parametrize("other", [
    {"dataset": "sample"}, {"architecture": "conv_vae"}, {"flow": "planar2"}, {"hlf": True},
    {"loss": "modified_elbo"}, {"score": "kl"}, {"representation": "truncated"}])  # fmt: skip
def test_another_model_lies_beside_nothing(other):
    assert beside_paper(SEEDS, pd.DataFrame([CELL | other])).empty


def test_table_s2_tells_the_losses_apart():
    cells = pd.DataFrame([CELL | {"flow": "sylvester_householder", "loss": "modified_elbo"}])
    found = beside_paper(SEEDS, cells)
    assert list(found["row"]) == ["modified ELBO"]
    assert found["AUC sd"].isna().all()


def test_numbers_are_printed_as_in_the_paper():
    """Table S1 has 75.1 ± 0.8 % for this AUC; Table S2 quotes no spread."""
    (line,) = as_printed(beside_paper(SEEDS, pd.DataFrame([CELL]))).to_dict("records")
    assert (line["AUC"], line["AUC ours"]) == ("75.1 ± 0.8", "50.0 ± 1.0")
    cells = pd.DataFrame([CELL | {"architecture": "conv_vae", "flow": "none"}])
    assert as_printed(beside_paper(SEEDS, cells))["1e-3"].tolist() == ["0.26 ± 0.04"]
    cells = pd.DataFrame([CELL | {"flow": "sylvester_householder", "loss": "modified_elbo"}])
    assert as_printed(beside_paper(SEEDS, cells))["AUC"].tolist() == ["78.3"]
