"""Origins: digests, counts and commits of every source, and a command for every row."""

from __future__ import annotations

import json
import shlex

import pandas as pd
import pytest
from click.testing import CliRunner
from fake_results import write_results

from scanner import origins, store
from scanner.cli import cli
from scanner.plan import plan
from scanner.pool import read_pool
from scanner.references import SCAN

ROW = {"score": "kl", "signal": "sa", "status": "done", "stage": "trained", "auc": 0.5,
       "n_background": 9, "n_signal": 9}  # fmt: skip


def remade(folder, trial, **words):
    """A trial's table with other words on its making."""
    made = {"commit": "c0ffee", "host": "h", **words}
    metadata = {"trial": trial.to_json(), "provenance": json.dumps(made)}
    store.write_metrics(folder / "trials" / f"{trial.id}.parquet", [ROW], metadata)


def test_a_scan_and_a_table_are_recorded(tmp_path):
    folder, _ = write_results(tmp_path / "demo", seeds=(0, 1), missing=(0,), diverged=(1,))
    (tmp_path / "x.csv").write_bytes(b"abc")
    sources = origins.read_sources([folder, tmp_path / "x.csv"])
    made = json.loads(origins.record(sources, read_pool([folder]).cells))
    scan, table = made["sources"]
    assert made["cells"] == {"diverged": 2, "done": 12, "missing": 2}
    assert made["mixed"] == {}
    assert (scan["name"], scan["facts"]["trials"], scan["facts"]["done"]) == ("demo", 8, 7)
    assert scan["facts"]["dataset_digest"] == "digest"
    assert len(scan["facts"]["grid_sha256"]) == 64
    assert scan["made"] == {"commit": {"c0ffee": 7}, "host": {"h": 7}}
    assert {"sample", "conv_vae", "gcn_vae", "none", SCAN} == set(scan["words"])
    assert table["facts"]["sha256"].startswith("ba7816bf8f01cfea414140de5dae2223")  # of "abc"
    assert str(tmp_path) not in json.dumps(made)


def test_mixed_commits_and_versions_are_told(tmp_path):
    folder, trials = write_results(tmp_path / "demo", seeds=(0,))
    remade(folder, trials[0], commit="beef", torch="2.14", time="2026-01-02")
    remade(folder, trials[1], torch="2.13", time="2026-01-01", host="elsewhere")
    sources = origins.read_sources([folder])
    lines = origins.cautions(sources)
    assert lines[0] == ("Caution: the trials are of 2 commits of scanner (1 with beef, 3 with "
                        "c0ffee).")  # fmt: skip
    assert "2 versions of torch (1 with 2.13, 1 with 2.14)" in lines[1]
    assert len(lines) == 2  # another host is no caution
    assert sources[0].facts["first"] == "2026-01-01"
    assert sources[0].made["host"] == {"elsewhere": 1, "h": 3}


def test_two_scans_of_one_commit_each_are_mixed_too(tmp_path):
    one, _ = write_results(tmp_path / "one", "one")
    two, trials = write_results(tmp_path / "two", "two", shift=1)
    assert origins.cautions(origins.read_sources([one, two])) == ()
    for trial in trials:
        remade(two, trial, commit="beef")
    (line,) = origins.cautions(origins.read_sources([one, two]))
    assert "8 with beef, 8 with c0ffee" in line


def test_every_cell_has_a_command_that_the_command_line_takes(tmp_path, monkeypatch):
    folder, trials = write_results(tmp_path / "demo", missing=(2,))
    rows = origins.commands([folder, tmp_path / "x.csv"])
    cells = read_pool([folder]).cells
    keys = ["trial", "channel", "seed", "score"]
    pd.testing.assert_frame_equal(rows[keys].sort_values(keys, ignore_index=True),
                                  cells[keys].sort_values(keys, ignore_index=True))  # fmt: skip
    assert set(rows["model"]) == set(cells["name"])
    calls = []
    monkeypatch.setattr("scanner.launch", lambda *given, **named: calls.append((given, named)))
    monkeypatch.setattr("scanner.cli._say_outcome", lambda outcome: None)
    command = rows.set_index("trial").loc[trials[2].id, "command"].iloc[0]
    name, *words = shlex.split(command)
    assert (name, CliRunner().invoke(cli, words).exit_code) == ("scanner", 0)
    ((given, named),) = calls
    assert str(given[0]) == "demo.yaml"
    assert named["only"] == (trials[2].id,)
    assert str(given[1]) == "results/demo-again"


def test_a_dataset_in_place_of_the_grids_is_in_the_command(tmp_path):
    folder, _ = write_results(tmp_path / "demo")
    scan = store.read_scan(folder)
    assert "--dataset" not in origins.commands([folder])["command"][0]
    moved = store.Scan(scan.grid_path, scan.grid_text, "other", "digest", {}, ("1", "3"))
    store.write_scan(folder, moved)
    rows = origins.commands([folder])
    assert rows["command"].str.contains(" --dataset other ").all()
    assert set(rows["trial"]) == {trial.id for trial in plan(moved.grid()).trials}


@pytest.mark.parametrize("given", [[], ["x.csv"]])
def test_tables_alone_have_no_commands(tmp_path, given):
    (tmp_path / "x.csv").write_text("x")
    paths = [tmp_path / name for name in given]
    sources = origins.read_sources(paths)
    found = origins.files("n", paths, sources, pd.DataFrame(), "ranking")
    assert set(found) == {"provenance.json", "references.bib", "report.tex"}
    assert "Paszke" not in found["references.bib"]
    assert r"\input{ranking}" in found["report.tex"]
