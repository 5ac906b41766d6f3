"""The terminal: exit codes, no traceback for a user's mistake, help for every command."""

from __future__ import annotations

import subprocess
import sys
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from scanner.cli import cli, main
from scanner.errors import ClusterError, NodesMissing

WRONG = """\
name: wrong
dataset: nowhere
channels: [3]
grid:
  architecture: [gnc_vae]
  flow: [iaff]
  sed: [0]
"""
RIGHT = """\
name: right
dataset: nowhere
channels: ["3"]
grid:
  representation: [all]
  architecture: [gcn_vae]
  hlf: [false]
  beta: [0.5]
  score: [kl]
  flow: [none]
  seed: [0]
"""


def run(*arguments, cwd):
    command = [sys.executable, "-m", "scanner", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_a_wrong_grid_shows_all_errors_and_exits_with_2(tmp_path):
    (tmp_path / "wrong.yaml").write_text(WRONG)
    made = run("launch", "wrong.yaml", cwd=tmp_path)
    assert made.returncode == 2
    assert "Traceback" not in made.stderr
    lines = made.stderr.splitlines()
    assert len(lines) >= 5
    assert all(line.startswith("wrong.yaml:") for line in lines)
    assert "gcn_vae" in made.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("launch", "none.yaml"),
        ("launch",),
        ("status", "none"),
        ("report", "none"),
        ("report",),
        ("data", "import", "none"),
        ("data", "inspect", "none"),
        ("data", "fetch", "none"),
        ("data", "add", "none", "--name", "mine"),
        ("nonsense",),
    ],
)
def test_a_mistake_is_one_message(arguments, tmp_path):
    made = run(*arguments, cwd=tmp_path)
    assert made.returncode == 2
    assert made.stderr.strip()
    assert "Traceback" not in made.stderr


@pytest.mark.parametrize(
    ("error", "code"), [(NodesMissing("1 of 2 nodes"), 4), (ClusterError("no token"), 2)]
)
def test_a_script_hears_that_only_nodes_are_missing(monkeypatch, capsys, error, code):
    monkeypatch.setattr("scanner.cli.cli", Mock(side_effect=error))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert capsys.readouterr().err == f"{error}\n"


def test_a_number_of_bad_lines_is_not_negative(tmp_path):
    made = CliRunner().invoke(cli, ["data", "import", str(tmp_path), "--skip-bad", "-1"])
    assert made.exit_code == 2
    assert "Invalid value for '--skip-bad': -1 is not in the range x>=0." in made.output


def commands(group, prefix=()):
    for name, command in group.commands.items():
        yield (*prefix, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*prefix, name))


@pytest.mark.parametrize("path", [(), *commands(cli)])
def test_every_command_has_help(path):
    made = CliRunner().invoke(cli, [*path, "--help"])
    assert made.exit_code == 0
    assert "Usage" in made.output


def test_a_damaged_dataset_stops_only_the_scan_that_names_it(tmp_path):
    """`data list` says what is wrong with it; another dataset is checked as ever."""
    (tmp_path / "data/broken").mkdir(parents=True)
    (tmp_path / "data/broken/dataset.json").write_text("{")
    (tmp_path / "good.yaml").write_text(RIGHT)
    for dataset, code in (("sample", 0), ("broken", 2)):
        made = run("launch", "good.yaml", "--dataset", dataset, "--dry-run", cwd=tmp_path)
        assert made.returncode == code, made.stderr
    assert made.stderr == (
        "data/broken/dataset.json: not a dataset index (JSONDecodeError('Expecting property name "
        "enclosed in double quotes: line 1 column 2 (char 1)')); import the dataset again\n")
    listed = run("data", "list", cwd=tmp_path)
    assert listed.returncode == 0
    first, second = listed.stdout.splitlines()
    assert first == f"broken               DAMAGED: {made.stderr.strip()}  data/broken"
    assert second.startswith("sample               1: 5 signals, 2a: ")
