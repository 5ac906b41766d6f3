"""The pages of a report: its sections, and their text as Markdown, LaTeX and one HTML file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
import pandas as pd

from scanner import findings, tables
from scanner.pool import Pool
from scanner.ranking import RANKINGS, total_improvement
from scanner.teaching import EVERY, teaching_count, teaching_sentences

MARK = "†"
DIGITS = 4  # of an AUC or an efficiency on a page; CSV files have all
TIE_TEXT = (
    "Tie “2 of 9”: nine models share the value, and the two shown are the first by name. "
    "No model is the best as such: each method has its own order."
)
CONVENTION_TEXT = {
    "clean": "Convention clean: equal scores share the best place and every pair counts once.",
    "published": "Convention published: the three rank-based methods have the artefacts of the "
    "challenge's own code (arbitrary ties, one channel per signal).",
}
CONTROL_TEXT = (
    "Controls need no training: single variables, and the networks before their training. They are "
    "in no ranking. AUC is compared, for the first model by AUC of each method: with every single "
    "variable and its own untrained network. A control not beaten means no gain from training."
)
TEACHING_TEXT = (
    "Median AUC over the (channel, signal) pairs, seeds combined by the median: the trained "
    "networks of an architecture, the same networks before training, and what needs no network. "
    "gain: trained - untrained. mult: multiplicity. >x: on how many pairs the trained AUC is "
    "above that of x."
)
SEEDS_TEXT = (
    "Median over the (channel, signal) pairs, seeds combined by the median. sd: standard deviation "
    "over the seeds of the median of one seed; - with one seed. In the form of Table S1 of "
    "arXiv:2110.08508, as fractions."
)
SAMPLE_TEXT = (
    "Dataset sample: the bundled events are not the published data, and nothing here may be "
    "compared with the published Table S1."
)
SEARCH_TEXT = (
    "Objective: validation loss per background event, always with the grid's own HLF weight. "
    "default: of the grid's own training settings; best: of the training that is ranked, with its "
    "settings. Of several seeds each has its own search."
)
FOLD = 20  # rows
FLAG_TEXT = (
    "Every row and model is tested; nothing is dropped or repaired. An equal eps_S at two cuts is "
    "no measurement of the tighter one; identical models inflate places below them."
)


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
    """

    title: str
    text: tuple[str, ...] = ()
    table: pd.DataFrame | None = None
    figure: str = ""
    folded: bool = False
    label: str = ""


@dataclass(frozen=True)
class Findings:
    """What stands beside the rankings; every table has no rows where there is no result folder.

    Attributes:
        controls: What `findings.against_controls` returned.
        teaching: What `teaching.teaching` returned.
        seeds: What `findings.seed_table` returned.
    """

    controls: pd.DataFrame
    teaching: pd.DataFrame
    seeds: pd.DataFrame


def best(
    pool: Pool, shown: pd.DataFrame, method: str, convention: str, channel: str = "All"
) -> pd.DataFrame:
    """`tables.best`, with the merits marked that rest on fewer than ten background events.

    The mark is in a further column, `few`, where the scan has such a merit in any channel.
    """
    table, few = tables.best(shown, method, convention, channel), _few(pool)
    if few.empty:
        return table
    here = few if channel == "All" else few[few["channel"] == channel]
    return table.assign(few=table["merit"].isin(here["merit"]).map({True: MARK, False: ""}))


def notes(pool: Pool, convention: str) -> tuple[str, ...]:
    """One sentence for everything a reader must know beside the tables."""
    few = _few(pool)
    words = [f"{row.passing:g} in channel {row.channel} at {row.merit}" for row in few.itertuples()]
    small = [f"Few {MARK}: fewer than ten background events pass the cut ({', '.join(words)})."]
    return (*pool.notes, CONVENTION_TEXT[convention], *(small if words else []), TIE_TEXT)


def sections(pool: Pool, shown: pd.DataFrame, found: Findings, convention: str) -> list[Section]:
    """All sections of a report.

    Args:
        pool: What is ranked.
        shown: The ranking in the convention that is shown.
        found: What stands beside it.
        convention: Its name.
    """
    channels = ["All", *sorted(set(pool.table["Chan"]))]
    parts = [_ranking(pool, shown, method, convention, channel)
             for channel in (channels if len(channels) > 2 else channels[:1])
             for method in RANKINGS]  # fmt: skip
    improvement = "Largest eps_S / sqrt(eps_B) per signal, over channels and the three cuts."
    parts.append(Section("Total improvement, the ten best medians", (improvement,),
                         total_improvement(pool.table).head(10)))  # fmt: skip
    doubt = Section("Rows and models to doubt", (FLAG_TEXT,), findings.flags(pool.table))
    beside = [*teaching_sections(found.teaching), *seed_sections(pool, found.seeds)]
    return [*parts, *beside, *_controls(pool, shown, found.controls), *_searches(pool),
            *_coverage(pool), doubt]  # fmt: skip


def teaching_sections(table: pd.DataFrame) -> list[Section]:
    """Does training teach anything: per architecture, and folded per model."""
    if table.empty:
        return []
    whole, short = table["model"] == EVERY, table.rename(columns=_short).round(DIGITS)
    return [
        Section("Does training teach anything?", (TEACHING_TEXT, teaching_count(table)),
                short[whole].drop(columns="model")),
        Section("Does training teach anything, per architecture and score",
                tuple(teaching_sentences(table)), folded=True),
        Section("Does training teach anything, per model", (TEACHING_TEXT,),
                short[~whole].drop(columns=["architecture", "score", "models"]), folded=True),
    ]  # fmt: skip


def _short(column: str) -> str:
    return column.replace("multiplicity", "mult").replace("beats_", ">")


def seed_sections(pool: Pool, table: pd.DataFrame) -> list[Section]:
    """The table of medians and their spread over the seeds."""
    if table.empty:
        return []
    text = (SEEDS_TEXT, SAMPLE_TEXT) if "sample" in set(pool.results["dataset"]) else (SEEDS_TEXT,)
    return [Section("Median over the signals, spread over the seeds", text, table.round(DIGITS),
                    folded=len(table) > FOLD, label="tab:table-s1")]  # fmt: skip


def markdown(name: str, heading: Sequence[str], parts: Sequence[Section]) -> str:
    """The report as one Markdown file; figures are linked."""
    lines = [f"# {name}", *(f"- {note}" for note in heading)]
    text = [lines[0], "\n".join(lines[1:])]
    for part in parts:
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

    Args:
        name: Name of the report.
        heading: The notes.
        parts: The sections.
        figures: File name -> content, with `<figure>.png` for every figure of a section.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("scanner", "templates"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    images = {file.removesuffix(".png"): base64.b64encode(content).decode()
              for file, content in figures.items() if file.endswith(".png")}  # fmt: skip
    return environment.get_template("report.html.j2").render(
        name=name, notes=heading, sections=parts, images=images, to_html=tables.to_html
    )


def _few(pool: Pool) -> pd.DataFrame:
    return findings.small_backgrounds(pool.results)


def _ranking(
    pool: Pool, shown: pd.DataFrame, method: str, convention: str, channel: str
) -> Section:
    ranking = RANKINGS[method]
    where = "all pairs" if channel == "All" else f"channel {channel}"
    every = channel == "All"
    return Section(
        f"{ranking.title}, {where}",
        (f"Value: {ranking.meaning}; {ranking.best} first.",),
        best(pool, shown, method, convention, channel),
        method if every else "", not every, f"tab:{method}-{channel}".replace("_", "-"),
    )  # fmt: skip


def _controls(pool: Pool, shown: pd.DataFrame, controls: pd.DataFrame) -> list[Section]:
    if controls.empty:
        return []
    wins, pairs = int(controls["beats_all"].sum()), len(controls)
    count = (f"The highest trained model of each (channel, signal) pair beats all controls on "
             f"{wins} of {pairs} signals.")  # fmt: skip
    rows = findings.control_rows(pool.results)
    summary = findings.control_summary(pool.table, shown, rows)
    sentences = tuple(findings.control_sentences(controls))
    return [
        Section("Controls: what needs no training", (CONTROL_TEXT, count), summary),
        Section("Controls per signal (AUC)", sentences, controls, folded=True),
    ]


def _searches(pool: Pool) -> list[Section]:
    if pool.searches.empty:
        return []
    rows, title = pool.searches.drop(columns="complete"), "Searches: default against best"
    return [Section(title, (SEARCH_TEXT,), rows, folded=len(rows) > FOLD)]


def _coverage(pool: Pool) -> list[Section]:
    parts = []
    if len(pool.cells):
        count = pd.crosstab(pool.cells["channel"], pool.cells["status"])
        count = count.reindex(columns=["done", "diverged", "missing"], fill_value=0)
        count["planned"] = count.sum(axis=1)
        parts.append(Section("Coverage: cells per channel", (), count.reset_index()))
    for status in ("diverged", "missing"):
        rows = pool.cells[pool.cells["status"] == status] if len(pool.cells) else pool.cells
        if len(rows):
            trials = rows[["trial", "model", "channel", "seed"]].drop_duplicates()
            parts.append(Section(f"Trials that are {status}" if status == "missing" else
                                 "Trials that diverged", (), trials, folded=True))  # fmt: skip
    if len(pool.left_out):
        text = "A model without every pair is not ranked; a missing number is never a zero."
        parts.append(Section("Models left out", (text,), pool.left_out, folded=True))
    return parts
