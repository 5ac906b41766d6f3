"""The LaTeX document: every table in it, and it compiles whatever the names are."""

from __future__ import annotations

import shutil
import subprocess

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.latex import document
from scanner.references import REFERENCES, bibtex
from scanner.tables import LATEX, to_latex

needs_latex = pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
NAMES = ["a_b", "50% & #1", "$x^2$", "~|{}\\", "*star", "[b]", "--", '"q"', "`l'", "中文 é β ±"]


def compiled(folder, command="pdflatex"):
    words = ["-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    return subprocess.run([command, *words], cwd=folder, capture_output=True, text=True,
                          errors="replace", check=False)  # fmt: skip


def write(folder, names):
    table = pd.DataFrame({"model": names, "value": [k / 7 for k in range(len(names))]})
    (folder / "x.tex").write_text(to_latex(table, " ".join(names), "tab:x"))
    (folder / "report.tex").write_text(document("report " + names[0], ["x"], "references"))
    every = {word for entry in REFERENCES.values() for word in entry.words}
    (folder / "references.bib").write_text(bibtex(every))


def test_the_document_has_every_table_once():
    text = document("a_b", ["ranking", "table_s1"], "references")
    assert text.count(r"\input{ranking}") == text.count(r"\input{table_s1}") == 1
    assert r"\markright{a\_b}" in text
    assert text.index(r"\begin{document}") < text.index(r"\input") < text.index(r"\end{document}")
    assert r"\bibliography{references}" in text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_a_table_has_its_rows_and_columns_whatever_the_names_are(names):
    table = pd.DataFrame({"model": names, "value": 0.5})
    body = to_latex(table, "caption", "tab:x").partition("\\midrule\n")[2].partition("\\bottom")[0]
    rows = body.splitlines()
    assert len(rows) == len(names)
    for row in rows:
        for replacement in sorted(LATEX.values(), key=len, reverse=True):
            if replacement.strip() and replacement != "-":
                row = row.replace(replacement, "")
        assert row.count("&") == 1
        assert row.endswith(r"\\")
        assert not set(row[:-2]) & set(r"\{}_#$%~^|[]*")


@needs_latex
def test_the_document_compiles_with_its_references(tmp_path):
    write(tmp_path, NAMES)
    made = compiled(tmp_path)
    assert made.returncode == 0, made.stdout[-2000:]
    cited = subprocess.run(["bibtex", "report"], cwd=tmp_path, capture_output=True, text=True,
                           check=False)  # fmt: skip
    assert cited.returncode == 0, cited.stdout
    assert "Warning" not in cited.stdout
    for _ in range(2):
        made = compiled(tmp_path)
        assert made.returncode == 0, made.stdout[-2000:]
    assert "undefined" not in made.stdout
    assert (tmp_path / "report.pdf").stat().st_size > 1000


@needs_latex
def test_made_up_names_compile(tmp_path):
    found = []

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.text(min_size=1, max_size=8))
    def collect(name):
        found.append(name)

    collect()
    write(tmp_path, ["name", *found])
    made = compiled(tmp_path)
    assert made.returncode == 0, made.stdout[-2000:]
