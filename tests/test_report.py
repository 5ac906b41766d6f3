"""Reports: golden files, mixed sources, and nothing invented where results are missing."""

import json
import os
import re
from functools import partial
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
from fake_results import METADATA, write_results
from test_pages import assert_self_contained
from test_trial_figures import write_events

from scanner import store
from scanner.errors import ScannerError
from scanner.figures import planned
from scanner.ranking import COLUMNS, MERITS, RANKINGS, rank, read_challenge
from scanner.rendering import KINDS
from scanner.report import newest_scan, report
from scanner.uncertainty import uncertainty

MODULE = import_module("scanner.report")  # `scanner.report` itself is the function
GOLDEN = Path(__file__).parent / "golden"
CSV = """\
Signal,Model,Chan,AUC,1e-2,1e-3,1e-4
s_1,alpha,1,0.9,0.5,0.25,0.0
s_1,beta&1,1,0.9,0.4,0.25,0.0
s_1,gamma,1,0.7,0.6,0.1,0.0
s_1,alpha,3,0.8,0.3,0.125,0.0625
s_1,beta&1,3,0.85,0.3,0.1,0.0
s_1,gamma,3,0.4,0.0,0.0,0.0
s_2,alpha,3,0.6,0.2,0.1,0.1
s_2,beta&1,3,0.65,0.35,0.1,0.05
s_2,gamma,3,0.99,0.9,0.7,0.30000000000000004
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "small.csv"
    path.write_text(CSV)
    return path


@pytest.fixture(autouse=True)
def few_pixels(monkeypatch):
    monkeypatch.setattr("scanner.rendering.PNG_DPI", 40)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(MODULE, "uncertainty", partial(uncertainty, resamples=40))


@pytest.fixture
def no_figures(monkeypatch):
    """Figures take most of the time of a report; only some tests need them."""
    monkeypatch.setattr(MODULE, "planned", lambda *_: [])


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("name", ["ranking.csv", "ranking.md", "ranking.tex"])
def test_files_are_as_recorded(table, tmp_path, name):
    report([table], tmp_path / "out")
    text = (tmp_path / "out" / name).read_text()
    if os.environ.get("SCANNER_UPDATE_GOLDEN") == "1":
        (GOLDEN / f"report_{name}").write_text(text)
    assert text == (GOLDEN / f"report_{name}").read_text()


def test_a_report_writes_every_file_and_the_same_bytes_again(table, tmp_path, monkeypatch):
    monkeypatch.setattr(MODULE, "planned", lambda *known: planned(*known)[-1:])
    folder, _ = write_results(tmp_path / "results" / "demo")
    made = [report([folder, table], tmp_path / f"out{k}") for k in range(2)]
    names = {path.name for path in made[0].files}
    assert names == {
        "ranking.csv", "ranking.parquet", "ranking.md", "ranking.tex", "metrics.csv",
        "total_improvement.csv", "controls.csv", "teaching.csv", "teaching.md", "table_s1.csv",
        "table_s1.md", "table_s1.tex", "index.html", "provenance.json", "references.bib",
        "report.tex", "commands.csv", "doubts.csv", "uncertainty.csv", "undecided.csv",
        "efficiencies.csv", *(f"seeds.{kind}" for kind in KINDS),
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "out0").iterdir()} == names
    for one, two in zip(*(report_.files for report_ in made), strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name


def test_a_whole_report_is_one_page_with_every_figure(table, tmp_path):
    folder, trials = write_results(tmp_path / "demo", seeds=(0, 1, 2), missing=(0,), diverged=(4,))
    for trial in trials:
        write_events(folder, trial)
    made = report([folder, table], tmp_path / "out")
    page = (made.folder / "index.html").read_text()
    assert_self_contained(page, made.folder)
    assert str(tmp_path) not in page
    figures = {path.stem for path in made.files if path.suffix == ".svg"}
    assert figures == {*RANKINGS, "improvement", "improvement-scatter", "heat-auc",
                       "heat-improvement", "seeds", "roc-1", "roc-3", "latent-1", "latent-3",
                       "training"}  # fmt: skip
    assert page.count("<svg") == len(figures)
    for name in figures:
        assert {f"{name}.{kind}" for kind in KINDS} <= {path.name for path in made.files}


@pytest.mark.usefixtures("no_figures")
def test_a_page_alone_is_one_file(table, tmp_path):
    out = tmp_path / "out" / "shown.html"
    made = report([table], out)
    assert made.files == (out,)
    assert list(out.parent.iterdir()) == [out]
    assert made.text.endswith(f"Written: {out}")
    assert_self_contained(out.read_text(), out.parent)


@pytest.mark.usefixtures("no_figures")
def test_the_metrics_of_a_report_give_the_same_report(table, tmp_path):
    folder, _ = write_results(tmp_path / "demo", seeds=(0, 1, 2))
    report([folder], tmp_path / "one")
    report([tmp_path / "one" / "metrics.csv"], tmp_path / "two")
    for name in ("ranking.csv", "metrics.csv", "total_improvement.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert list(read_challenge(tmp_path / "one" / "metrics.csv").columns) == COLUMNS


@pytest.mark.usefixtures("no_figures")
def test_both_conventions_are_in_the_file_and_one_is_shown(table, tmp_path):
    made = report([table], tmp_path / "out", convention="published")
    rows = pd.read_csv(tmp_path / "out" / "ranking.csv", dtype={"channel": str})
    assert set(rows["convention"]) == {"clean", "published"}
    expected = pd.concat([rank(read_challenge(table), c) for c in ("clean", "published")])
    pd.testing.assert_frame_equal(rows, expected.reset_index(drop=True), check_dtype=False)
    binary = pd.read_parquet(tmp_path / "out" / "ranking.parquet").astype(rows.dtypes)
    pd.testing.assert_frame_equal(binary, rows)
    assert made.convention == "published"
    text = (tmp_path / "out" / "ranking.md").read_text()
    assert "Convention published" in text
    top = made.tables["top1"].query("merit == 'AUC'")["value"].sum()
    assert top == 2  # one column per signal
    with pytest.raises(ScannerError, match=r"'wild'.*clean, published"):
        report([table], tmp_path / "out", convention="wild")


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("name", ["teaching.md", "table_s1.md", "table_s1.tex"])
def test_what_stands_beside_the_rankings_is_as_recorded(tmp_path, name):
    folder, _ = write_results(tmp_path / "demo", seeds=(0, 1, 2), diverged=(0,))
    report([folder], tmp_path / "out")
    assert (tmp_path / "out" / name).read_text() == (GOLDEN / f"report_{name}").read_text()


@pytest.mark.usefixtures("no_figures")
def test_tables_alone_have_nothing_to_say_of_training(table, tmp_path):
    report([table], tmp_path / "out")
    assert not list((tmp_path / "out").glob("teaching*"))
    assert not list((tmp_path / "out").glob("table_s1*"))


@pytest.mark.usefixtures("no_figures")
def test_the_terminal_has_six_tables_of_the_best_five(tmp_path):
    folder, _ = write_results(tmp_path / "demo")
    made = report([folder], tmp_path / "out")
    assert list(made.tables) == list(RANKINGS)
    for table in made.tables.values():
        assert len(table) == 4 * len(MERITS)  # four models
    for ranking in RANKINGS.values():
        assert ranking.title in made.text
    assert made.text.count("| 68 %") == len(RANKINGS)
    assert str(tmp_path / "out" / "index.html") in made.text


@pytest.mark.usefixtures("no_figures")
def test_the_newest_scan_is_reported_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ScannerError, match=r"no scan in results/: run `scanner launch"):
        report([])
    for age, name in enumerate(["a", "c", "b"]):
        folder, _ = write_results(Path("results") / name, name)
        os.utime(folder / "scan.json", (age, age))
    assert newest_scan(Path("results")) == Path("results/b")
    made = report([])
    assert made.folder == Path("reports/b")
    assert (tmp_path / "reports" / "b" / "index.html").exists()


@pytest.mark.usefixtures("no_figures")
def test_names_of_reports(table, tmp_path):
    folder, _ = write_results(tmp_path / "demo", channels=("3",))
    assert report([folder], reports_root=tmp_path / "r").folder == tmp_path / "r" / "demo"
    assert report([folder, table], tmp_path / "o").name == "demo+small"
    copies = []
    for k in range(12):
        copies.append(tmp_path / f"copy_{k}.csv")
        copies[-1].write_text(CSV.replace(",alpha", f",a{k}").replace(",beta&1", f",b{k}")
                              .replace(",gamma", f",g{k}"))  # fmt: skip
    assert report(copies, tmp_path / "o").name == "copy_0+11"


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("source", ["absent", "absent.csv", "empty"])
def test_sources_that_are_not_there_are_named(tmp_path, source):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScannerError, match=source):
        report([tmp_path / source])


@pytest.mark.usefixtures("no_figures")
def test_one_signal_one_seed_one_channel(tmp_path):
    folder, _ = write_results(tmp_path / "demo", channels=("3",), seeds=(7,),
                              signals={"3": ("only",)})  # fmt: skip
    made = report([folder], tmp_path / "out")
    assert "4 models are ranked on 1 (channel, signal) pairs" in made.text
    assert "Seeds are combined" not in made.text
    assert "One seed and one signal: there is nothing to resample, and no interval." in made.notes
    rows = pd.read_csv(tmp_path / "out" / "uncertainty.csv")
    assert rows["value"].notna().all()
    assert rows[["low", "high", "first"]].isna().all().all()


@pytest.mark.usefixtures("no_figures")
def test_ties_everywhere_and_zero_efficiencies(tmp_path):
    rows = [f"s{k},m{j},3,0.5,0.0,0.0,0.0" for k in range(3) for j in range(8)]
    (tmp_path / "flat.csv").write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    made = report([tmp_path / "flat.csv"], tmp_path / "out")
    for table in made.tables.values():
        assert set(table["place"]) == {1}
        assert set(table["tie"]) == {"5 of 8"}
    assert not pd.read_csv(tmp_path / "out" / "undecided.csv")["apart"].any()
    text = (tmp_path / "out" / "ranking.md").read_text()
    assert re.search(r"\| zero eps_S at 1e-4 +\| +24 \| +24 \|", text)
    assert re.search(r"\| AUC +\| +1 \| m0 .* 0.5 to 0.5 \| +1 \| +1 \| 2, 3, 4, 5 \|", text)


@pytest.mark.usefixtures("no_figures")
def test_a_scan_that_still_runs_is_reported_with_its_gaps(tmp_path):
    """One trial is missing, one has failed, one seed diverged, and one is being written."""
    folder, trials = write_results(tmp_path / "demo", seeds=(0, 1), missing=(1, 2), diverged=(7,))
    store.write_failure(folder, trials[2], {"class": "memory", "exception": "too large"})
    (folder / "trials" / f".{trials[1].id}.parquet.abcd").write_bytes(b"half a file")
    made = report([folder], tmp_path / "out")
    assert "10 of 16 planned cells are done, 2 diverged, 4 are missing." in made.notes
    assert "1 trial has failed and stays missing; `scanner status` says why." in made.notes
    assert "Seeds are combined by the median, 1 to 2 per model and pair." in made.notes
    rows = pd.read_csv(tmp_path / "out" / "uncertainty.csv")
    assert rows[["value", "low", "high"]].notna().all().all()
    store.clear_failure(folder, trials[2])
    write_results(tmp_path / "demo", seeds=(0, 1))
    assert "16 of 16 planned cells are done, 0 diverged, 0 are missing." in report(
        [folder], tmp_path / "out").notes  # fmt: skip


def test_damaged_files_are_listed_with_what_makes_them_again(tmp_path, monkeypatch):
    """A table, a control, scores, latent vectors and losses that cannot be read stop no report."""
    monkeypatch.chdir(tmp_path)
    folder, trials = write_results(Path("results/demo"), seeds=(0, 1))
    for trial in trials:
        write_events(folder, trial)
    whole = report([folder], tmp_path / "whole")
    bad = [folder / "trials" / f"{trials[0].id}.parquet"]
    bad += [folder / "controls" / f"{store.control_name(trials[0])}.parquet"]
    bad += [folder / kind / f"{trial.id}.parquet" for trial in trials if trial.channel == "3"
            for kind in ("scores", "latent", "history")]  # fmt: skip
    for path in bad:
        path.write_bytes(path.read_bytes()[:100])
    made = report([folder], tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    listed = [str(path) for path in bad if f"<td>{path}</td>" in page]
    assert {str(path) for path in bad[:2]} <= set(listed)
    assert {Path(path).parent.name for path in listed} >= {"scores", "latent", "history"}
    assert f"Caution: {len(listed)} result files cannot be read" in " ".join(made.notes)
    assert "<td>scanner launch demo.yaml</td>" in page
    assert "14 of 16 planned cells are done, 0 diverged, 2 are missing." in made.notes
    assert "cannot be read" not in " ".join(whole.notes)


@pytest.mark.usefixtures("no_figures")
def test_one_seed_is_said_beside_the_tables(tmp_path):
    folder, _ = write_results(tmp_path / "demo", seeds=(3,))
    text = report([folder], tmp_path / "out").text
    assert "One seed per model: the intervals hold no spread over seeds." in text
    assert "One seed per model" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.usefixtures("no_figures")
def test_results_of_several_states_of_the_code_are_a_caution(tmp_path):
    folder, trials = write_results(tmp_path / "demo")
    path = folder / "trials" / f"{trials[0].id}.parquet"
    raw = store.read_table(path)
    store.write_rows(path, raw, {"trial": trials[0].to_json(), "provenance": json.dumps(
        {"commit": "0ddba11", "host": "h"})})  # fmt: skip
    text = "Caution: the results are of 2 states of the code (0ddba11, c0ffee)."
    assert text in report([folder], tmp_path / "out").notes


@pytest.mark.usefixtures("no_figures")
def test_efficiencies_of_zero_keep_an_upper_limit(tmp_path):
    folder, trials = write_results(tmp_path / "demo", seeds=(0,))
    for trial in trials:
        path = folder / "trials" / f"{trial.id}.parquet"
        raw = store.read_table(path)
        rows = [{**row, "eps_s_1e-4": 0.0} for row in raw.to_pylist()]
        store.write_metrics(path, rows, {"trial": trial.to_json(), **METADATA})
    report([folder], tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out" / "efficiencies.csv").query("merit == '1e-4'")
    assert (rows["eps_s"] == 0).all()
    assert (rows["low"] == 0).all()
    assert rows["high"].tolist() == pytest.approx([1 - 0.15865 ** (1 / 500)] * len(rows), rel=1e-6)


@pytest.mark.usefixtures("no_figures")
def test_names_are_escaped(tmp_path):
    nasty = "<script>alert(1)</script>|a_b%"
    path = tmp_path / "nasty.csv"
    path.write_text(CSV.replace("alpha", nasty))
    report([path], tmp_path / "out")
    assert "<script" not in (tmp_path / "out" / "index.html").read_text()
    assert "<script" not in (tmp_path / "out" / "ranking.md").read_text()
    assert r"a\_b\%" in (tmp_path / "out" / "ranking.tex").read_text()


@pytest.mark.usefixtures("no_figures")
def test_a_bad_table_is_named_with_its_file(table):
    table.write_text(CSV.replace("s_2,gamma,3,0.99", "s_2,gamma,3,nan"))
    with pytest.raises(ScannerError, match=r"small.csv: gamma on 3/s_2: not a number"):
        report([table])
