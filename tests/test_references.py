"""References: chosen by what was scanned, whole, and the same papers as the project's own files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scanner.references import REFERENCES, SCAN, SEARCH, bibtex
from scanner.registry import ARCHITECTURES, FLOWS

ROOT = Path(__file__).parents[1]
PAPER = r"\b\d{4}\.\d{4,5}\b"


def keys(text):
    return re.findall(r"^@\w+\{(\w+),$", text, re.MULTILINE)


@pytest.mark.parametrize("word", [*ARCHITECTURES, *(f for f in FLOWS if f != "none"), SEARCH])
def test_every_word_of_a_grid_has_its_paper(word):
    added = set(keys(bibtex({word}))) - set(keys(bibtex(())))
    assert added
    for key in added:
        assert word in REFERENCES[key].words


def test_a_table_alone_cites_no_network():
    cited = keys(bibtex(()))
    assert cited[0] == "Aarrestad2021"
    assert not {"Jawahar2022", "Paszke2019", "Kingma2013"} & set(cited)
    assert {"Jawahar2022", "Paszke2019"} <= set(keys(bibtex({SCAN})))


def test_every_entry_is_whole():
    text = bibtex({word for entry in REFERENCES.values() for word in entry.words})
    assert keys(text) == list(REFERENCES)
    for entry in re.split(r"\n(?=@)", text):
        assert entry.count("{") == entry.count("}")
        for field in ("author", "title", "year"):
            assert re.search(rf"^  {field} = \{{.+\}},$", entry, re.MULTILINE), entry
        assert re.search(r"^  (doi|eprint) = ", entry, re.MULTILINE), entry
        assert entry.isascii()


@pytest.mark.parametrize("name", ["README.md", "CITATION.cff"])
def test_the_projects_own_files_cite_the_same_papers(name):
    named = set(re.findall(rf"arXiv:({PAPER})", (ROOT / name).read_text()))
    assert named <= {entry.fields.get("eprint") for entry in REFERENCES.values()}
    assert {"2110.08508", "2105.14027"} <= named


def test_the_citation_file_has_the_references_titles():
    text = (ROOT / "CITATION.cff").read_text()
    for key in ("Jawahar2022", "Aarrestad2021"):
        assert re.sub(r"[{}]", "", REFERENCES[key].fields["title"]) in text
