"""Tables as text: Markdown, HTML, LaTeX and CSV, and the short lists of a ranking.

A missing number is `-` (an empty cell in CSV), never a zero, and the table then says how many of
its numbers are there.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from scanner.ranking import MERITS

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "#": r"\#", "$": r"\$",
    "%": r"\%", "&": r"\&", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}",
    '"': r"\textquotedblright{}", "`": r"\textasciigrave{}", "*": "{*}", "-": "{-}",
    "†": r"$\dagger$", "±": r"$\pm$", "×": r"$\times$", "β": r"$\beta$", "ε": r"$\epsilon$",
    "“": r"\textquotedblleft{}", "”": r"\textquotedblright{}", "–": r"\textendash{}",
    "\n": " ", "\t": " ",
}  # fmt: skip
_LATEX = str.maketrans({key: value for key, value in LATEX.items() if key != "-"})
_MARKDOWN = str.maketrans({"|": r"\|", "\n": " ", "*": r"\*", "`": r"\`", "<": "&lt;"})


def best(
    ranked: pd.DataFrame, method: str, convention: str, channel: str = "All", count: int = 5
) -> pd.DataFrame:
    """The best models of one method for every merit.

    Args:
        ranked: What `ranking.rank` returned.
        method: Key of `RANKINGS`.
        convention: Which of the conventions in `ranked`.
        channel: `All` or a channel.
        count: Models per merit.

    Returns:
        Columns merit, place, model, value, tie. `tie` is "2 of 69" in the rows of the last value
        where 69 models share it and the list shows two of them, which is arbitrary.
    """
    chosen = ranked[(ranked["method"] == method) & (ranked["convention"] == convention)
                    & (ranked["channel"] == channel)]  # fmt: skip
    parts = []
    for merit in MERITS:
        pool = chosen[chosen["merit"] == merit]
        part = pool.head(count)[["merit", "place", "model", "value"]]
        last = part["place"] == part["place"].max()
        shown, total = int(last.sum()), int((pool["place"] == part["place"].max()).sum())
        cut = f"{shown} of {total}" if shown < total else ""
        parts.append(part.assign(tie=[cut if here else "" for here in last]))
    return pd.concat(parts, ignore_index=True)


def cell(value: object, missing: str = "-") -> str:
    """Text of one cell: six significant digits, `missing` for None and NaN."""
    if value is None or (isinstance(value, float) and value != value):
        return missing
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def to_markdown(table: pd.DataFrame) -> str:
    """An aligned Markdown table."""
    names, right, rows = _texts(table, lambda text: text.translate(_MARKDOWN))
    widths = [max(3, *map(len, column)) for column in zip(names, *rows, strict=True)]
    rule = [("-" * (w - 1) + ":") if r else "-" * w for w, r in zip(widths, right, strict=True)]
    lines = [_aligned(row, widths, right) for row in [names, rule, *rows]]
    return "\n".join([*lines, *_note(table, "\n")]) + "\n"


def to_html(table: pd.DataFrame) -> str:
    """An HTML table without style.

    Cells of numbers have the class `number`, rows whose first cell is not that of the row above
    have the class `new`.
    """
    names, right, rows = _texts(table, html.escape)
    firsts = [row[0] for row in rows]
    new = [a != b for a, b in zip(firsts, [None, *firsts], strict=False)]

    def line(row: list[str], tag: str, mark: bool = False) -> str:
        cells = (f'<{tag} class="number">{t}</{tag}>' if r else f"<{tag}>{t}</{tag}>"
                 for t, r in zip(row, right, strict=True))  # fmt: skip
        head = '<tr class="new">' if mark else "<tr>"
        return f"{head}{''.join(cells)}</tr>"

    body = [line(row, "td", mark) for row, mark in zip(rows, new, strict=True)]
    note = [f"<caption>{text}</caption>" for text in _note(table)]
    head = ["<table>", *note, "<thead>", line(names, "th"), "</thead>", "<tbody>"]
    return "\n".join([*head, *body, "</tbody>", "</table>"]) + "\n"


def to_latex(table: pd.DataFrame, caption: str, label: str) -> str:
    """A LaTeX table for the booktabs package, every cell escaped."""
    names, right, rows = _texts(table, latex_escape)
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    words = [" & ".join(_padded(row, widths, right)).rstrip() + r" \\" for row in [names, *rows]]
    full = " ".join([caption, *_note(table)])
    lines = [
        r"\begin{table}", r"\centering", rf"\caption{{{latex_escape(full)}}}",
        rf"\label{{{label}}}", rf"\begin{{tabular}}{{{''.join('r' if r else 'l' for r in right)}}}",
        r"\toprule", words[0], r"\midrule", *words[1:], r"\bottomrule", r"\end{tabular}",
        r"\end{table}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def to_csv(table: pd.DataFrame) -> str:
    """CSV text with every digit (`float` reads back the same number), LF line ends."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    columns = [table[name].tolist() for name in table.columns]
    for place, missing in enumerate(table.isna().to_numpy().T):
        for row in np.flatnonzero(missing):
            columns[place][row] = ""
    writer.writerows(zip(*columns, strict=True))
    return out.getvalue()


def latex_escape(text: str) -> str:
    """Text with every character that LaTeX reads as a command made literal.

    Letters that its old fonts lack become their number, `[U+4E2D]`, so that two names never look
    alike; of `--`, which would become a dash, the second sign is set apart.
    """
    known = "".join(c if " " <= c <= "~" or c in LATEX else f"[U+{ord(c):04X}]" for c in text)
    return re.sub("(?<=-)-", LATEX["-"], known.translate(_LATEX))


def present(table: pd.DataFrame) -> tuple[int, int]:
    """How many numbers a table has, and how many it would have without missing ones."""
    numbers = table.select_dtypes("number")
    return int(numbers.notna().to_numpy().sum()), numbers.size


def _texts(
    table: pd.DataFrame, escape: Callable[[str], str]
) -> tuple[list[str], list[bool], list[list[str]]]:
    """Column names, whether each is right-aligned, and rows, all as escaped text."""
    right = [pd.api.types.is_numeric_dtype(kind) and kind.kind != "b" for kind in table.dtypes]
    columns = [table[name].tolist() for name in table.columns]
    rows = [[escape(cell(value)) for value in row] for row in zip(*columns, strict=True)]
    return [escape(str(name)) for name in table.columns], right, rows


def _padded(row: list[str], widths: list[int], right: list[bool]) -> list[str]:
    return [text.rjust(w) if r else text.ljust(w)
            for text, w, r in zip(row, widths, right, strict=True)]  # fmt: skip


def _aligned(row: list[str], widths: list[int], right: list[bool]) -> str:
    return f"| {' | '.join(_padded(row, widths, right))} |"


def _note(table: pd.DataFrame, before: str = "") -> list[str]:
    there, full = present(table)
    return [] if there == full else [f"{before}{there} of {full} numbers; - is missing."]
