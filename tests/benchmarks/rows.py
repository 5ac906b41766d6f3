"""Measured figures as rows, and the tables made of them."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        part: `training`, `scoring`, `report`, `launch`, `import`, `roofline`.
        name: What was measured: an architecture and a flow, or words.
        size: Members of the pack; None where there is no pack.
        value: The figure.
        unit: Its unit.
        plain: The same of the plain loop; None where there is none.
        ratio: How many times the plain loop's rate, the median over interleaved repeats.
    """

    part: str
    name: str
    size: int | None
    value: float
    unit: str
    plain: float | None = None
    ratio: float | None = None


def shown(value):
    """Three digits; thousands as whole numbers."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def wide(rows):
    """Rows with packs as a Markdown table: a line per name, a pair of columns per pack."""
    sizes = sorted({row.size for row in rows if row.size is not None})
    titles = ["name", "plain loop", *(f"pack of {n}" if n > 1 else "alone" for n in sizes)]
    lines = []
    for name in dict.fromkeys(row.name for row in rows):
        found = {row.size: row for row in rows if row.name == name}
        cells = [_with_ratio(found[n]) if n in found else "-" for n in sizes]
        lines.append([name, shown(next(iter(found.values())).plain), *cells])
    return aligned([titles, *lines])


def long(rows):
    """Rows without packs as a Markdown table."""
    lines = [[r.name, shown(r.value), r.unit, shown(r.plain), _times(r.ratio)] for r in rows]
    return aligned([["name", "value", "unit", "plain loop", "ratio"], *lines])


def to_csv(rows, facts):
    """All rows, after the facts as comments."""
    text = io.StringIO()
    text.writelines(f"# {key}: {value}\n" for key, value in facts.items())
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def aligned(lines):
    """A Markdown table of equal columns, all but the first to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    return "\n".join(
        "| " + " | ".join([line[0].ljust(widths[0]),
                           *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]) + " |"
        for line in [lines[0], rule, *lines[1:]]
    )  # fmt: skip


def _with_ratio(row):
    return f"{shown(row.value)} ({_times(row.ratio)})"


def _times(ratio):
    return "-" if ratio is None else f"{ratio:.3g} x"
