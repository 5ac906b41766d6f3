"""A result says which code and machine made it."""

from __future__ import annotations

import json
import subprocess

import pytest

import scanner
from scanner import provenance as module
from scanner.provenance import commit, provenance


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    package = tmp_path / "scanner"
    package.mkdir()
    (package / "provenance.py").write_text("a\n")
    monkeypatch.setattr(module, "__file__", str(package / "provenance.py"))

    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    commit.cache_clear()
    yield package
    commit.cache_clear()


def test_the_commit_names_the_code_and_its_changes(checkout):
    clean = commit()
    assert len(clean) == 12
    (checkout / "provenance.py").write_text("b\n")
    commit.cache_clear()
    changed = commit()
    assert changed.startswith(f"{clean}+")
    (checkout / "provenance.py").write_text("c\n")
    commit.cache_clear()
    assert commit() not in (clean, changed)


def test_without_a_checkout_it_is_the_version(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "__file__", str(tmp_path / "scanner" / "provenance.py"))
    commit.cache_clear()
    assert commit() == f"v{scanner.__version__}"
    commit.cache_clear()


def test_provenance_is_flat_text_with_the_job(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    record = provenance("cpu")
    assert record["SLURM_JOB_ID"] == "17"
    assert record["device"] == "cpu"
    assert record["torch"].startswith("2.")
    assert all(isinstance(value, str) for value in json.loads(json.dumps(record)).values())
