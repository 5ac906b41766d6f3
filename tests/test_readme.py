"""The README's grid, commands and Python run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run(*arguments, cwd):
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.ray
def test_the_three_steps_run(tmp_path):
    (tmp_path / "grid.yaml").write_text(blocks("yaml")[0])
    commands = [line[2:].split() for block in blocks("console") for line in block.splitlines()]
    assert len(commands) == 4
    for name, *arguments in commands:
        assert name == "scanner"
        made = run("-m", "scanner", *arguments, cwd=tmp_path)
        assert made.returncode == 0, made.stderr
    for name in ("index.html", "ranking.csv", "ranking.md", "ranking.tex", "metrics.csv"):
        assert (tmp_path / "reports" / "first" / name).stat().st_size > 0
    (block,) = blocks("python")
    made = run("-c", block, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "average_rank" in made.stdout
