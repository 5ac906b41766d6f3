"""The status says what is done, what failed and what to type next."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from scanner import store
from scanner.cli import cli
from scanner.errors import ScannerError
from scanner.launch import load_grid
from scanner.plan import plan
from scanner.status import describe, status

GRID = """\
name: some
dataset: sample
channels: ["3"]
grid:
  representation: [all]
  architecture: [gcn_vae]
  hlf: [false]
  beta: [0.5]
  score: [kl]
  flow: [none]
  seed: [0, 1, 2, 3]
"""


@pytest.fixture
def scan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    results = tmp_path / "results" / "some"
    store.write_scan(results, store.Scan("grid.yaml", GRID, "sample", "", {}))
    return path, results, plan(load_grid(path)).trials


def finish(results, trial, state="done"):
    row = {"score": "kl", "stage": "trained", "signal": "s", "status": state, "wall_s": 60.0}
    metadata = {"trial": trial.to_json(), "provenance": "{}"}
    store.write_metrics(results / "trials" / f"{trial.id}.parquet", [row], metadata)


def test_counts_failures_and_the_next_command(scan):
    path, results, trials = scan
    finish(results, trials[0])
    finish(results, trials[1], "diverged")
    store.write_failure(results, trials[2], {"class": "bug"})
    state = status(path)
    assert (state.planned, state.done, state.diverged, state.pending) == (4, 2, 1, 1)
    assert state.failed == {"bug": (trials[2].id,)}
    assert state.wall_s == 60.0
    text = describe(status(results))
    assert "2 of 4 trials done (1 diverged), 1 pending" in text
    assert "scanner launch grid.yaml --retry bug" in text
    assert text.splitlines()[-1] == "next: scanner launch grid.yaml"


def test_a_class_of_failures_has_the_cause_of_its_first(scan):
    path, results, trials = scan
    why = "ResultError('weights/a.pt: cannot be written (No space left on device)')"
    store.write_failure(results, trials[0], {"class": "storage", "exception": why})
    death = "it died\n\tactor: 1"
    store.write_failure(results, trials[1], {"class": "crashed", "exception": death})
    text = describe(status(path))
    assert f"  storage: 1 ({trials[0].id})\n    {why}\n    make room" in text
    assert f"  crashed: 1 ({trials[1].id})\n    it died\n    its worker died" in text


def test_a_complete_scan_is_to_be_reported(scan):
    _, results, trials = scan
    for trial in trials:
        finish(results, trial)
    assert describe(status(results)).splitlines()[-1] == f"next: scanner report {results}"


def test_results_outside_the_grid_do_not_count(scan):
    path, results, trials = scan
    finish(results, trials[0])
    path.write_text(GRID.replace("[0, 1, 2, 3]", "[1, 2]"))
    assert (status(path).planned, status(path).done) == (2, 0)


def test_nothing_there_is_one_error(tmp_path):
    with pytest.raises(ScannerError, match="cannot be read"):
        status(tmp_path / "none")


def test_a_damaged_result_is_named_and_is_left_to_do(scan):
    path, results, trials = scan
    for trial in trials:
        finish(results, trial)
    bad = results / "trials" / f"{trials[0].id}.parquet"
    bad.write_bytes(bad.read_bytes()[:-9])
    state = status(path)
    assert (state.done, state.pending, state.left) == (3, 1, 1)
    assert f"trials/{bad.name}: unreadable" in describe(state)
    assert describe(state).splitlines()[-1] == f"next: scanner launch {path}"


def test_what_a_launch_would_run_unasked_is_left(scan):
    path, results, trials = scan
    finish(results, trials[0])
    store.write_failure(results, trials[1], {"class": "bug"})
    store.write_failure(results, trials[2], {"class": "storage"})
    assert status(path).left == 2
    assert status(path, results).left == 2


def test_the_next_command_names_what_is_not_usual(scan, tmp_path):
    """Typed as shown, it goes on with this scan and starts no other."""
    path, results, _ = scan
    far = tmp_path / "far"
    command = f"next: scanner launch {path} --results {far}"
    assert describe(status(path, far)).splitlines()[-1] == command
    usual = describe(status(results.absolute())).splitlines()[-1]
    assert usual == "next: scanner launch grid.yaml"
    store.write_scan(far, store.Scan("grid.yaml", GRID, "mine", "", {}, ("3",)))
    command = f"next: scanner launch grid.yaml --dataset mine --results {far}"
    assert describe(status(far)).splitlines()[-1] == command


@pytest.mark.parametrize(
    ("kinds", "code", "options"),
    [(["bug"], 3, ""), (["storage"] * 4, 3, ""), (["bug"] * 3 + ["storage"], 3, ""),
     (["bug"] * 4, 1, " --retry bug"),
     (["bug", "crashed", "bug", "bug"], 1, " --retry bug --retry crashed")],
)  # fmt: skip
def test_failures_that_stay_are_all_that_is_left(scan, kinds, code, options):
    """Then the next command asks for them, and a script hears that nothing else would run."""
    path, results, trials = scan
    for trial, kind in zip(trials, kinds, strict=False):
        store.write_failure(results, trial, {"class": kind})
    assert describe(status(path)).splitlines()[-1] == f"next: scanner launch {path}{options}"
    assert CliRunner().invoke(cli, ["status", str(path), "--check"]).exit_code == code
