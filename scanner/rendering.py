"""Figures as bytes: PNG, PDF, and SVG to stand inside a page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG_DPI = 150
WIDEST = 1.6  # pixels per point of a figure on a page
KINDS = ("png", "pdf", "svg")
# An SVG names its font, which few readers have: Verdana has nearly its widths.
FONT, FALLBACK = b"'DejaVu Sans'", b", Verdana, sans-serif"
# Ink, paper and lines of `plots.common`: on a page they are those of the reader's theme.
THEME = {"#1c2430": "var(--ink)", "#fffffe": "var(--paper)", "#d5dae1": "var(--line)"}


@dataclass(frozen=True)
class Drawing:
    """One figure that a report will have.

    Attributes:
        name: File name without its suffix.
        title: Heading on the page.
        text: What a reader must know to read it.
        make: Draws it.
    """

    name: str
    title: str
    text: str
    make: Callable[[], Figure]


def rendered(drawings: Sequence[Drawing], style: str = "") -> Iterator[tuple[str, bytes]]:
    """File name and content of every figure in every kind; the same bytes whenever it is called.

    Args:
        drawings: What to draw; each is drawn once.
        style: Style of mplhep, if any.

    Raises:
        ResultError: There is no such style.
    """
    from scanner.plots import drawing  # matplotlib is loaded only where figures are drawn

    with drawing(style):
        for one in drawings:
            figure = one.make()
            for kind in KINDS:
                yield f"{one.name}.{kind}", _bytes(figure, kind, one.name)


def inline(svg: str, name: str, title: str) -> str:
    """An SVG file's text as a part of an HTML page.

    Its own header, comments and indentation go, coordinates are rounded to a hundredth of a point,
    ink, paper and grid lines take the colours of the page, and ids get the figure's name, as
    several figures share the page's ids.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    head, rest = body.split(">", 1)
    rest = re.sub(r"\s*\n\s*", " ", rest).replace("> <", "><")
    (view,) = re.findall(r'viewBox="[^"]*"', head)
    widest = round(float(view.split()[2]) * WIDEST)
    for colour, variable in THEME.items():
        rest = rest.replace(colour, variable)
    rest = re.sub(r'\bid="', f'id="{name}-', rest)
    rest = re.sub(r'(href="|url\()#', rf"\1#{name}-", rest)
    rest = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), rest)
    style = f'style="max-width: {widest}px"'
    return f'<svg {view} {style} role="img" aria-label="{escape(title)}">{rest}'


def _bytes(figure: Figure, kind: str, name: str) -> bytes:
    import matplotlib as mpl

    nothing: dict[str, dict[str, None]] = {
        "png": {"Software": None}, "pdf": {"CreationDate": None},
        "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    }  # fmt: skip
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format=kind, dpi=PNG_DPI, metadata=nothing[kind])
    return buffer.getvalue().replace(FONT, FONT + FALLBACK) if kind == "svg" else buffer.getvalue()
