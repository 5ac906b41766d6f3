"""The report: rank the models of result folders and challenge tables, and write reports/<name>/.

The same results give the same bytes: no file holds a path of this machine, and the only times and
hosts are those of the trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa

from scanner import origins
from scanner.atomic import write_atomic
from scanner.comparison import total_improvement
from scanner.doubts import doubts, without
from scanner.errors import ResultError
from scanner.figures import planned
from scanner.findings import against_controls, control_rows, seed_table
from scanner.lists import Findings, listed
from scanner.pages import Section, latex, long_tables, markdown, page
from scanner.paper import beside_paper
from scanner.pool import Pool, read_pool
from scanner.ranking import CONVENTIONS, RANKINGS, rank
from scanner.rendering import rendered
from scanner.sections import notes, sections, seed_sections, teaching_sections
from scanner.store import write_rows
from scanner.tables import to_csv, to_markdown
from scanner.teaching import teaching
from scanner.uncertainty import LABELS, efficiency_intervals, uncertainty

RANKING = "ranking.parquet"  # as ranking.csv
WORDS = {"convention": "category", **LABELS}


@dataclass(frozen=True)
class Report:
    """What `report` made.

    Attributes:
        name: Name of the report.
        folder: Where its files lie.
        convention: Convention of the tables and figures.
        tables: Method -> its best five models per merit, over all pairs.
        notes: What a reader must know beside the tables.
        files: The files written.
    """

    name: str
    folder: Path
    convention: str
    tables: dict[str, pd.DataFrame]
    notes: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def text(self) -> str:
        """The six tables, the notes and where the page is, for a terminal."""
        parts = []
        for method, table in self.tables.items():
            ranking = RANKINGS[method]
            parts.append(f"{ranking.title} ({method}): {ranking.meaning}\n\n{to_markdown(table)}")
        return "\n".join([*parts, *self.notes, f"Written: {self.page}"])

    @property
    def page(self) -> Path:
        """The page."""
        return next(path for path in self.files if path.suffix == ".html")


def report(
    sources: Sequence[Path | str],
    out: Path | None = None,
    convention: str = "clean",
    reports_root: Path = Path("reports"),
    style: str = "",
) -> Report:
    """Rank models and write tables and figures.

    Args:
        sources: Result folders and CSV files in challenge format; none for the newest scan in
            `results`.
        out: Folder of the report, or `<file>.html` for its page alone, which then links to no file
            beside it; `reports_root`/<name> if not given.
        convention: `clean` or `published`: what tables and figures show. `ranking.csv` has both.
        reports_root: Where reports without `out` go.
        style: A style of mplhep for the figures, where it is installed.

    Raises:
        ResultError: A source cannot be read, there is nothing complete to rank, or the convention
            or style is unknown.
    """
    if convention not in CONVENTIONS:
        raise ResultError(f"convention {convention!r}: expected one of {', '.join(CONVENTIONS)}")
    given = list(dict.fromkeys(map(Path, sources))) or [newest_scan(Path("results"))]
    pool = read_pool(given)
    made = origins.read_sources(given)
    pool = replace(pool, notes=(*pool.notes, *origins.cautions(made)))
    rankings = {word: rank(pool.table, word, pool.channels).astype(WORDS) for word in CONVENTIONS}
    name = _name(given)
    place = reports_root / name if out is None else Path(out)
    damaged = dict(pool.damaged)
    drawings = planned(name, pool, rankings[convention], [p for p in given if p.is_dir()], damaged)
    pool = replace(pool, damaged=damaged)
    found = _found(pool, rankings, convention)
    heading = (*notes(pool, convention), *found.uncertainty.notes)
    figures = dict(rendered(drawings, style))
    parts = sections(pool, rankings[convention], found, convention, drawings)
    lists = {method: listed(pool, rankings[convention], found, method, convention)
             for method in RANKINGS}  # fmt: skip
    if place.suffix == ".html":
        text = page(name, heading, parts, figures, alone=True)
        written = _write(place.parent, {place.name: text.encode()})
        return Report(name, place.parent, convention, lists, heading, written)
    texts = _texts(name, pool, rankings, found, heading, parts)
    texts |= {"index.html": page(name, heading, parts, figures)}
    texts |= origins.files(name, given, made, pool.cells, "ranking")
    written = _write(place, {file: text.encode() for file, text in texts.items()} | figures)
    every = pa.Table.from_pandas(pd.concat(rankings.values()), preserve_index=False)
    write_rows(place / RANKING, every, {})
    return Report(name, place, convention, lists, heading, (*written, place / RANKING))


def _write(folder: Path, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    for file, content in files.items():
        write_atomic(folder / file, partial(Path.write_bytes, data=content))
    return tuple(folder / file for file in files)


def newest_scan(root: Path) -> Path:
    """The result folder whose `scan.json` was written last.

    Raises:
        ResultError: There is none.
    """
    found = [(p.stat().st_mtime_ns, p.parent.name, p.parent) for p in root.glob("*/scan.json")]
    if not found:
        text = f"no scan in {root}/: run `scanner launch GRID` first"
        raise ResultError(f"{text}, or name result folders or challenge CSV files")
    return max(found)[-1]


def _name(sources: list[Path]) -> str:
    words = [path.resolve().name if path.is_dir() else path.stem for path in sources]
    joined = "+".join(words)
    return joined if len(joined) <= 60 else f"{words[0]}+{len(words) - 1}"


def _texts(
    name: str, pool: Pool, rankings: Mapping[str, pd.DataFrame], found: Findings,
    heading: Sequence[str], parts: Sequence[Section],
) -> dict[str, str]:  # fmt: skip
    """Every file of the report but its page, its figures and those of `origins`."""
    texts = {
        "ranking.csv": to_csv(pd.concat(rankings.values())),
        "ranking.md": markdown(name, heading, parts),
        "ranking.tex": latex(parts),
        "metrics.csv": to_csv(pool.table),
        "total_improvement.csv": to_csv(total_improvement(pool.table)),
        "uncertainty.csv": to_csv(found.uncertainty.values),
        "undecided.csv": to_csv(found.uncertainty.pairs),
        "doubts.csv": to_csv(doubts(pool.table)),
    }
    if len(pool.results):
        texts["efficiencies.csv"] = to_csv(efficiency_intervals(pool.table, pool.results))
    if len(found.paper):
        texts["beside_paper.csv"] = to_csv(found.paper)
    if len(found.controls):
        texts["controls.csv"] = to_csv(found.controls)
    if len(found.teaching):
        texts["teaching.csv"] = to_csv(found.teaching)
        texts["teaching.md"] = markdown(name, heading, teaching_sections(found.teaching))
    if len(found.seeds):
        texts["table_s1.csv"] = to_csv(found.seeds)
        texts["table_s1.md"] = markdown(name, heading, seed_sections(pool, found))
        texts["table_s1.tex"] = latex(seed_sections(pool, found))
    kept, gone = without(pool.table)
    if len(gone) and len(kept):
        again = [rank(kept, word, pool.channels) for word in CONVENTIONS]
        texts["ranking_without.csv"] = to_csv(pd.concat(again))
    return texts | long_tables(parts)


def _found(pool: Pool, rankings: Mapping[str, pd.DataFrame], convention: str) -> Findings:
    seeds = seed_table(pool.table, pool.results)
    return Findings(
        _controls(pool, rankings[convention]), teaching(pool.results),
        seeds, beside_paper(seeds, pool.cells),
        uncertainty(pool.table, pool.results, rankings["clean"]),
    )  # fmt: skip


def _controls(pool: Pool, shown: pd.DataFrame) -> pd.DataFrame:
    if pool.results.empty or (pool.results["stage"] == "trained").all():
        return pd.DataFrame()
    return against_controls(pool.table, shown, control_rows(pool.results))
