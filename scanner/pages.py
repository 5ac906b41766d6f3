"""The pages of a report: sections as Markdown, LaTeX and one HTML file."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import jinja2
import pandas as pd

from scanner import tables
from scanner.rendering import KINDS, inline

GROUPS = {
    "scan": "What was scanned",
    "rankings": "The six rankings",
    "tables": "Tables beside the rankings",
    "figures": "Figures",
    "controls": "Controls and doubts",
    "provenance": "Provenance",
}
MOST_ROWS = 50  # of a table on a page; the CSV file beside it has all


@dataclass(frozen=True)
class Card:
    """A small table that stands beside others.

    Attributes:
        title: The heading.
        text: One sentence under it.
        rows: Place, model, value, its interval and a remark of every row.
    """

    title: str
    text: str
    rows: tuple[tuple[int, str, str, str, str], ...]


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it.

    Attributes:
        title: The heading.
        text: Paragraphs.
        table: A table under them.
        figure: File name of a figure, without its suffix.
        folded: Whether the page shows only the heading until it is opened.
        label: LaTeX label; sections without one are not in the LaTeX file.
        group: Which part of the page it belongs to.
        file: CSV file beside the page with the whole table; named by the title if empty.
        cards: Small tables side by side, on the page alone.
    """

    title: str
    text: tuple[str, ...] = ()
    table: pd.DataFrame | None = None
    figure: str = ""
    folded: bool = False
    label: str = ""
    group: str = "tables"
    file: str = ""
    cards: tuple[Card, ...] = ()

    @property
    def slug(self) -> str:
        """The title as an anchor and as a file name."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    @property
    def beside(self) -> str:
        """The CSV file with the whole table, where the page shows only a part of it."""
        cut = self.table is not None and len(self.table) > MOST_ROWS
        return (self.file or f"{self.slug}.csv") if cut else ""


def markdown(name: str, heading: Sequence[str], parts: Sequence[Section]) -> str:
    """The report as one Markdown file; figures are linked."""
    lines = [f"# {name}", *(f"- {note}" for note in heading)]
    text = [lines[0], "\n".join(lines[1:])]
    for part in [part for part in parts if not part.cards]:
        text += [f"## {part.title}", *part.text]
        text += [] if part.table is None else [tables.to_markdown(part.table).rstrip()]
        text += [f"![{part.title}]({part.figure}.png)"] if part.figure else []
    return "\n\n".join(text) + "\n"


def latex(parts: Sequence[Section]) -> str:
    """The rankings as LaTeX tables."""
    blocks = [tables.to_latex(part.table, f"{part.title}: {' '.join(part.text)}", part.label)
              for part in parts if part.label and part.table is not None]  # fmt: skip
    return "% \\usepackage{booktabs}\n\n" + "\n".join(blocks)


def page(
    name: str, heading: Sequence[str], parts: Sequence[Section], figures: Mapping[str, bytes],
    groups: Mapping[str, str] = GROUPS, alone: bool = False,
) -> str:  # fmt: skip
    """One HTML file that needs no other file and no network.

    It links to files beside it: every kind of every figure, and the CSV of every cut table; or to
    none, if it is to lie alone.

    Args:
        name: Name of the report.
        heading: The notes, which stand under the first group.
        parts: The sections, each of a group of `groups`.
        figures: File name -> content, with `<figure>.svg`, or at least `<figure>.png`, for every
            figure of a section.
        groups: Key -> title of the parts of the page, in their order.
        alone: Whether there are no files beside it.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("scanner", "templates"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    images = {part.figure: _image(part, figures) for part in parts if part.figure}
    beside = {name: [f"{name}.{kind}" for kind in KINDS if f"{name}.{kind}" in figures]
              for name in images if not alone}  # fmt: skip
    there, first = {part.group for part in parts}, next(iter(groups))
    grouped = {title: [part for part in parts if part.group == key]
               for key, title in groups.items() if key == first or key in there}  # fmt: skip
    return environment.get_template("report.html.j2").render(
        name=name, notes=heading, groups=grouped, images=images, beside=beside, most=MOST_ROWS,
        to_html=tables.to_html, alone=alone,
    )  # fmt: skip


def _image(part: Section, figures: Mapping[str, bytes]) -> str:
    """The figure as a part of the page: its SVG, or the PNG where there is no SVG."""
    if f"{part.figure}.svg" in figures:
        return inline(figures[f"{part.figure}.svg"].decode(), part.figure, part.title)
    data = base64.b64encode(figures[f"{part.figure}.png"]).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(part.title)}">'


def long_tables(parts: Sequence[Section]) -> dict[str, str]:
    """File name -> CSV of every table that a page shows only in part and that has no file yet."""
    return {part.beside: tables.to_csv(part.table) for part in parts
            if part.table is not None and part.beside and not part.file}  # fmt: skip
