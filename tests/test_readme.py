"""The README's grid, commands and Python run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from scanner.cli import cli
from scanner.datasets import open_dataset, read
from scanner.datasets.darkmachines import write_text

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run(*arguments, cwd):
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.ray
def test_the_three_steps_run(tmp_path):
    (tmp_path / "grid.yaml").write_text(blocks("yaml")[0])
    write_text(read(open_dataset("sample"), "3", "stlp_st1000"), tmp_path / "events.csv")
    commands = [line[2:].split() for block in blocks("console") for line in block.splitlines()]
    assert len(commands) == 5
    for name, *arguments in commands:
        assert name == "scanner"
        made = run("-m", "scanner", *arguments, cwd=tmp_path)
        assert made.returncode == 0, made.stderr
    for name in ("index.html", "ranking.csv", "ranking.md", "ranking.tex", "metrics.csv"):
        assert (tmp_path / "reports" / "first" / name).stat().st_size > 0
    assert (tmp_path / "reports" / "first-859392debb62565e-events" / "above.csv").stat().st_size
    (block,) = blocks("python")
    made = run("-c", block, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "average_rank" in made.stdout


def test_every_command_that_is_named_exists():
    """Each `scanner ...` of the text is one that the command line takes, with its options."""
    named = set(re.findall(r"`scanner ([^`]+)`", README))
    assert {"data list", "data inspect NAME"} <= named
    for text in named:
        words, group, context = text.split(), cli, click.Context(cli)
        while isinstance(group, click.Group):
            found = group.get_command(context, words[0])
            assert found, f"scanner {text}: no command {words[0]}"
            group, words = found, words[1:]
        if words:
            group.make_context(group.name, words)  # an error if the options are others
