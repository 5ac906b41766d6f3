"""Pages: self-contained, every link resolves, every table complete beside them."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pandas as pd
import pytest

from scanner.pages import GROUPS, MOST_ROWS, Card, Section, latex, long_tables, markdown, page
from scanner.plots import heat_map
from scanner.rendering import KINDS, Drawing, rendered

WIDE = pd.DataFrame([[0.5, 0.25]], ["m"], pd.MultiIndex.from_product([["3"], ["sa", "sb"]]))
LONG = pd.DataFrame({"n": range(MOST_ROWS + 1)})
PARTS = [
    Section("Coverage", ("One.",), pd.DataFrame({"a": [1]}), group="scan"),
    Section("Beside", cards=(Card("Top <scorer>", "text", 
        ((1, "a_b", "0.5", "0.4 to 0.6", "tie: 1 of 2"),)),),
            group="rankings"),
    Section("Ranking", ("Value: x.",), pd.DataFrame({"model": ["a_b"], "v": [0.5]}), folded=True,
            label="tab:a", group="rankings"),
    Section("Long: & more", table=LONG, folded=True),
    Section("Kept elsewhere", table=LONG, file="kept.csv"),
    Section("Heat & map", ("Read it so.",), figure="heat", group="figures"),
    Section("Many", ("1", "2", "3", "4"), group="controls"),
]  # fmt: skip


class Links(HTMLParser):
    """Every id of a page, and every attribute that can name another resource, with its tag."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.targets, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            elif name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
                self.targets.append((tag, value))


def assert_self_contained(text, folder):
    """Nothing is loaded, every anchor is there, every link leads to a file beside the page."""
    found = Links(text)
    assert len(set(found.ids)) == len(found.ids)
    assert not {"script", "iframe", "object", "embed", "base"} & set(found.tags)
    for tag, target in found.targets:
        if target.startswith("#"):
            assert target[1:] in found.ids, target
        elif tag == "a":
            assert (folder / target).is_file(), target
        else:
            assert target.startswith("data:"), (tag, target)
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert len(text.encode()) < 3_000_000


@pytest.fixture(scope="module")
def files():
    drawing = Drawing("heat", "", "", lambda: heat_map(WIDE, "AUC", (0, 1), "Heat"))
    return dict(rendered([drawing]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, files):
    """A page with its files beside it."""
    made = tmp_path_factory.mktemp("page")
    text = page("demo", ["a note"], PARTS, files)
    csvs = {name: text.encode() for name, text in long_tables(PARTS).items()}
    beside = {"index.html": text.encode(), "kept.csv": b"", **files, **csvs}
    for name, content in beside.items():
        (made / name).write_bytes(content)
    return made


def test_every_link_resolves_and_nothing_is_loaded(folder):
    text = (folder / "index.html").read_text()
    assert_self_contained(text, folder)
    for kind in KINDS:
        assert f'href="heat.{kind}"' in text


def test_a_page_that_lies_alone_links_to_no_file(files, tmp_path):
    text = page("demo", ["a note"], PARTS, files, alone=True)
    assert_self_contained(text, tmp_path)
    assert f"The first {MOST_ROWS} of {len(LONG)} rows</p>" in text
    assert set(re.findall(r'href="(.)', text)) <= {"#", "d"}  # places of the page, and its icon


def test_a_page_has_every_part_in_the_order_of_its_groups(folder):
    text = (folder / "index.html").read_text()
    for part in PARTS:
        assert part.title.replace("&", "&amp;") in text
    places = [text.index(f">{title}</h2>") for key, title in GROUPS.items() if key != "provenance"]
    assert places == sorted(places)
    assert ">Provenance</h2>" not in text  # nothing belongs to it
    assert text.index("a note") < text.index(">Coverage</h3>")


def test_a_long_table_is_cut_and_complete_beside_the_page(folder):
    text = (folder / "index.html").read_text()
    assert f"The first {MOST_ROWS} of {len(LONG)} rows" in text
    assert f"<td class=\"number\">{MOST_ROWS}</td>" not in text
    assert text.count("<tr") == 2 + 2 + 2 * (MOST_ROWS + 1)
    assert (folder / "long-more.csv").read_text().split() == ["n", *map(str, LONG["n"])]
    assert list(long_tables(PARTS)) == ["long-more.csv"]


def test_a_folded_section_can_be_opened(folder):
    text = (folder / "index.html").read_text()
    assert "<summary>Ranking</summary>" in text
    assert '<h3 id="coverage">Coverage</h3>' in text


def test_a_figure_without_svg_is_a_picture():
    text = page("n", [], [Section("Heat", figure="heat", group="figures")], {"heat.png": b"png"})
    assert '<img src="data:image/png;base64,cG5n" alt="Heat">' in text
    assert "heat.svg" not in text


def test_markdown_has_every_section_but_the_cards():
    text = markdown("demo", ["a note"], PARTS)
    for part in PARTS:
        assert (f"## {part.title}\n" in text) is not bool(part.cards)
    assert "- a note" in text
    assert "![Heat & map](heat.png)" in text
    assert f"|  {MOST_ROWS} |" in text  # the whole of a long table


def test_latex_has_the_labelled_tables_alone():
    text = latex(PARTS)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    assert r"\label{tab:a}" in text
    assert "_" not in text.replace(r"\_", "")


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium")
def test_a_browser_loads_nothing_and_would_say_so(folder, tmp_path):
    def complaints(path):
        done = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
             "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking",
             f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()],
            capture_output=True, text=True, check=True, timeout=120)  # fmt: skip
        assert "<svg" in done.stdout
        return [line for line in done.stderr.split("\n") if "Content Security Policy" in line]

    assert complaints(folder / "index.html") == []
    text = (folder / "index.html").read_text()
    loading = '<img src="https://example.invalid/a.png"><script src="b.js"></script></body>'
    (tmp_path / "bad.html").write_text(text.replace("</body>", loading))
    assert len(complaints(tmp_path / "bad.html")) == 2
