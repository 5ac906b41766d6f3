"""The pages of a report: sections as Markdown, LaTeX and one HTML file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
        rows: Place, model, value and remark of every row.
    """

    title: str
    text: str
    rows: tuple[tuple[int, str, str, str], ...]


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
        group: Key of `GROUPS`: which part of the page it belongs to.
        cards: Small tables side by side, on the page alone.
    """

    title: str
    text: tuple[str, ...] = ()
    table: pd.DataFrame | None = None
    figure: str = ""
    folded: bool = False
    label: str = ""
    group: str = "tables"
    cards: tuple[Card, ...] = ()

    @property
    def slug(self) -> str:
        """The title as an anchor and as a file name."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


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
    name: str, heading: Sequence[str], parts: Sequence[Section], figures: Mapping[str, bytes]
) -> str:
    """The report as one HTML file that needs no other file and no network.

    It links to files beside it: every kind of every figure, and the CSV of every cut table.

    Args:
        name: Name of the report.
        heading: The notes.
        parts: The sections.
        figures: File name -> content, with `<figure>.svg` for every figure of a section.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("scanner", "templates"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    images = {part.figure: inline(figures[f"{part.figure}.svg"].decode(), part.figure, part.title)
              for part in parts if part.figure}  # fmt: skip
    grouped = {title: [part for part in parts if part.group == key]
               for key, title in GROUPS.items()}  # fmt: skip
    return environment.get_template("report.html.j2").render(
        name=name, notes=heading, groups=grouped, images=images, kinds=KINDS, most=MOST_ROWS,
        first=next(iter(GROUPS.values())), to_html=tables.to_html,
    )  # fmt: skip


def long_tables(parts: Sequence[Section]) -> dict[str, str]:
    """File name -> CSV of every table that a page shows only in part."""
    return {f"{part.slug}.csv": tables.to_csv(part.table) for part in parts
            if part.table is not None and len(part.table) > MOST_ROWS}  # fmt: skip
