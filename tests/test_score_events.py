"""New events through a trained trial: files, cuts, lists, cautions, and what is refused."""

from __future__ import annotations

import json
from importlib import import_module

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from trained_scan import train_scan

import scanner
from scanner import store
from scanner.cli import cli
from scanner.datasets import open_dataset, read
from scanner.datasets.darkmachines import write_text
from scanner.datasets.files import SAMPLE, count
from scanner.errors import ScannerError
from scanner.events import ht, met, multiplicity
from scanner.metrics import signal_efficiency

SIGNAL = SAMPLE / "chan3" / "stlp_st1000.parquet"
NAMES = ["reconstruction", "kl", "rz", "elbo", "latent_norm", "kl+rz"]


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "demo"
    return folder, train_scan(folder)


MODULE = import_module("scanner.score_events")  # `scanner.score_events` itself is the function


@pytest.fixture(autouse=True)
def few_pixels(monkeypatch):
    monkeypatch.setattr(MODULE, "PNG_DPI", 40)


@pytest.fixture
def no_figures(monkeypatch):
    """Figures take most of the time; one test needs them."""
    monkeypatch.setattr(MODULE, "_figure", lambda *_: Figure(figsize=(1, 1)))


@pytest.fixture(scope="module")
def stored(scan):
    return store.read_scores(scan[0] / "scores" / f"{scan[1][0].id}.parquet")


def test_the_file_holds_the_scores_of_the_scan(scan, stored, tmp_path):
    folder, trials = scan
    made = scanner.score_events(SIGNAL, trials[0].id[:8], folder, out=tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "scores.parquet")
    assert table.column_names == ["line", *NAMES]
    assert {str(table.schema.field(name).type) for name in NAMES} == {"float"}
    assert table["line"].to_pylist() == list(range(1, len(made.scores) + 1))
    rows = stored[stored["process"] == "stlp_st1000"]
    for name in NAMES[:-1]:
        np.testing.assert_array_equal(table[name].to_numpy(), rows[name])
    words = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert json.loads(words["trial"])["seed"] == trials[0].seed
    assert words["source"] == "stlp_st1000.parquet"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "scores.parquet", "above.csv", "above.parquet", "histogram.png", "histogram.pdf",
        "histogram.svg",
    }  # fmt: skip
    assert set(made.files) == set((tmp_path / "out").iterdir())


@pytest.mark.usefixtures("no_figures")
def test_the_cut_is_that_of_the_signal_efficiency(scan, stored, tmp_path):
    folder, trials = scan
    background = stored[stored["process"] == "background"]
    for eps_b in (0.1, 1e-2, 1e-4):
        made = scanner.score_events(SIGNAL, trials[0].id, folder, eps_b, out=tmp_path)
        for row in made.summary.to_dict("records"):
            if row["score"] in background:
                values = made.scores[row["score"]].to_numpy()
                expected = signal_efficiency(background[row["score"]].to_numpy(), values, eps_b)
                assert row["share"] == pytest.approx(expected, abs=1e-12)
                assert row["68 % low"] <= row["share"] <= row["68 % high"]
            listed = made.above[made.above["score"] == row["score"]]
            assert row["new above"] == f"{len(listed)} of {len(made.scores)}"


@pytest.mark.usefixtures("no_figures")
def test_the_list_has_the_facts_of_its_events(scan, tmp_path):
    folder, trials = scan
    made = scanner.score_events(SIGNAL, trials[0].id, folder, 0.2, ["rz", "rz+kl"], tmp_path)
    assert list(made.scores) == ["line", "rz", "kl+rz"]
    events = read(open_dataset("sample"), "3", "stlp_st1000")
    for name, rows in made.above.groupby("score"):
        index = rows["line"].to_numpy() - 1
        cut = made.summary.set_index("score").loc[name, "cut at eps_B = 0.2"]
        assert set(index) == set(np.flatnonzero(made.scores[name] > cut))
        assert (np.diff(rows["value"]) <= 0).all()
        np.testing.assert_array_equal(rows["value"], made.scores[name].to_numpy()[index])
        np.testing.assert_array_equal(rows["met_gev"], met(events)[index])
        np.testing.assert_array_equal(rows["ht_gev"], ht(events)[index])
        np.testing.assert_array_equal(rows["multiplicity"], multiplicity(events).sum(1)[index])
    written = pd.read_csv(tmp_path / "above.csv")
    pd.testing.assert_frame_equal(written, made.above, check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "above.parquet"), made.above,
                                  check_dtype=False)  # fmt: skip


@pytest.mark.usefixtures("no_figures")
def test_text_gives_what_parquet_gives(scan, tmp_path):
    folder, trials = scan
    write_text(read(open_dataset("sample"), "3", "stlp_st1000"), tmp_path / "new.csv")
    made = [scanner.score_events(path, trials[0].id, folder, out=tmp_path / path.suffix)
            for path in (SIGNAL, tmp_path / "new.csv")]  # fmt: skip
    pd.testing.assert_frame_equal(made[0].scores, made[1].scores)
    drawn = [(tmp_path / name / "above.csv").read_bytes() for name in (".parquet", ".csv")]
    assert drawn[0] == drawn[1]


@pytest.mark.usefixtures("no_figures")
def test_cautions(scan, tmp_path):
    folder, trials = scan
    other = SAMPLE / "chan2b" / "chacha_cha300_neut140.parquet"
    text = " ".join(scanner.score_events(other, trials[0].id, folder, 1e-3, out=tmp_path).notes)
    assert "miss the selection of channel 3 (met >= 100, ht >= 600; GeV)" in text
    tested = round(0.3 * count(open_dataset("sample"), "3", "background"))
    assert f"of {tested} background test events {tested / 1000:g} pass eps_B = 0.001" in text
    assert not scanner.score_events(SIGNAL, trials[0].id, folder, 0.1, out=tmp_path).notes


@pytest.mark.parametrize("above", [0, 1, 2, -0.1, float("nan")])
def test_an_unknown_background_efficiency_is_refused(scan, above, tmp_path):
    with pytest.raises(ScannerError, match=r"eps_B = .*expected a fraction between 0 and 1"):
        scanner.score_events(SIGNAL, scan[1][0].id, scan[0], above, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_figures")
def test_the_command_says_what_the_call_says(scan, tmp_path, monkeypatch):
    folder, trials = scan
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(folder.parent)
    words = ["score", str(SIGNAL), "--trial", trials[1].id[:9], "--above", "0.05"]
    made = CliRunner().invoke(cli, words)
    assert made.exit_code == 0, made.output
    assert (tmp_path / "reports" / f"demo-{trials[1].id}-stlp_st1000" / "above.csv").exists()
    twin = scanner.score_events(SIGNAL, trials[1].id, folder, 0.05, out=tmp_path)
    assert twin.text.rpartition("Written")[0] == made.output.rpartition("Written")[0]
    for name in NAMES:
        assert name in made.output
