"""What a report says: its sections, from the pool, its rankings and what stands beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from scanner import doubts, findings, tables
from scanner.comparison import agreement, total_improvement
from scanner.pages import Card, Section
from scanner.pool import Pool
from scanner.ranking import MERITS, RANKINGS, rank
from scanner.rendering import Drawing
from scanner.teaching import EVERY, teaching_count, teaching_sentences
from scanner.uncertainty import Uncertainty, with_intervals

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
INTERVAL_TEXT = {
    "clean": "68 %: limits of the value, from resampled signals and seeds. first, first5: share of "
    "the resamples at place 1, and in the first five. like: lines of the same merit that cannot be "
    "told from this one (the 68 % interval of the difference holds 0).",
    "published": "Intervals are of the clean convention alone (uncertainty.csv).",
}
TAU_TEXT = (
    "Tau-b of the places of all models: 1 is the same order, 0 none in common, -1 the reverse; - "
    "where a method ties all models."
)
TAU_DIGITS = 3
FOLD = 20  # rows
COVERAGE_TEXT = (
    "One line per value of an axis of the grid, over all values of the other axes; a cell is done "
    "when its numbers are there."
)
WITHOUT_TEXT = (
    "They are saturated in every row, have a row that no ROC curve has, or repeat another model. "
    "The first of every method over all pairs, by name where several share the place; "
    "ranking_without.csv has every place, doubts.csv every flag of every row."
)
FLAG_TEXT = (
    "Every row and model is tested; nothing is dropped or repaired. An equal eps_S at two cuts is "
    "no measurement of the tighter one; identical models inflate places below them."
)


@dataclass(frozen=True)
class Findings:
    """What stands beside the rankings; every table has no rows where there is no result folder.

    Attributes:
        controls: What `findings.against_controls` returned.
        teaching: What `teaching.teaching` returned.
        seeds: What `findings.seed_table` returned.
        uncertainty: That of the clean rankings.
    """

    controls: pd.DataFrame
    teaching: pd.DataFrame
    seeds: pd.DataFrame
    uncertainty: Uncertainty


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


def sections(
    pool: Pool, shown: pd.DataFrame, found: Findings, convention: str,
    drawings: Sequence[Drawing] = (),
) -> list[Section]:  # fmt: skip
    """All sections of a report, by the parts of its page.

    Args:
        pool: What is ranked.
        shown: The ranking in the convention that is shown.
        found: What stands beside it.
        convention: Its name.
        drawings: Its figures.
    """
    channels = ["All", *sorted(set(pool.table["Chan"]))]
    parts = [*_coverage(pool), *_side_by_side(pool, shown, convention), *_agreement(shown)]
    parts += [_ranking(pool, shown, found, method, convention, channel)
              for channel in (channels if len(channels) > 2 else channels[:1])
              for method in RANKINGS]  # fmt: skip
    improvement = "Largest eps_S / sqrt(eps_B) per signal, over channels and the three cuts."
    parts.append(Section("Total improvement, the ten best medians", (improvement,),
                         total_improvement(pool.table).head(10)))  # fmt: skip
    parts += [*seed_sections(pool, found.seeds), *_searches(pool)]
    parts += [Section(one.title, (one.text,), figure=one.name, group="figures") for one in drawings]
    return [*parts, *_controls(pool, shown, found.controls), *teaching_sections(found.teaching),
            *_doubts(pool, shown, convention), *_origin(pool)]  # fmt: skip


def _doubts(pool: Pool, shown: pd.DataFrame, convention: str) -> list[Section]:
    """What is wrong with rows and models, and what the rankings are without the worst."""
    counts = Section("Rows and models to doubt", (FLAG_TEXT,), doubts.flags(pool.table),
                     group="controls")  # fmt: skip
    kept, gone = doubts.without(pool.table)
    if gone.empty or kept.empty:
        return [counts]
    again = rank(kept, convention, pool.channels)
    models = pool.table["Model"].nunique()
    text = f"{len(gone)} of {models} models are left out here. {WITHOUT_TEXT}"
    return [
        counts,
        Section("The rankings without the doubtful models", (text,),
                doubts.compared(shown, again), group="controls"),
        Section("Models left out of the rankings without", (), gone, folded=True, group="controls"),
    ]  # fmt: skip


def _side_by_side(pool: Pool, shown: pd.DataFrame, convention: str) -> list[Section]:
    """The first five of every method beside each other, a section per merit."""
    lists = {method: best(pool, shown, method, convention) for method in RANKINGS}
    parts = []
    for merit in MERITS:
        cards = []
        for method, ranking in RANKINGS.items():
            rows = lists[method][lists[method]["merit"] == merit].to_dict("records")
            cards.append(Card(ranking.title, f"{ranking.meaning}; {ranking.best} first", tuple(
                (int(row["place"]), str(row["model"]), tables.cell(row["value"]),
                 f"tie: {row['tie']}" if row["tie"] else "") for row in rows)))  # fmt: skip
        few = f" {MARK}" if merit in set(_few(pool)["merit"]) else ""
        parts.append(Section(f"Six rankings by {merit_words(merit)}{few}", cards=tuple(cards),
                             group="rankings", folded=merit != "AUC"))  # fmt: skip
    return parts


def merit_words(merit: str) -> str:
    """A merit as a heading has it."""
    return merit if merit == "AUC" else f"eps_S at eps_B = {merit}"


def _agreement(shown: pd.DataFrame) -> list[Section]:
    """Kendall's tau between the methods, a section per merit."""
    titles = {method: ranking.title for method, ranking in RANKINGS.items()}
    parts = []
    for merit in MERITS:
        taus = agreement(shown, merit).rename(index=titles, columns=titles)
        title = f"Kendall's tau between the methods, {merit_words(merit)}"
        table = taus.round(TAU_DIGITS).rename_axis("tau").reset_index()
        parts.append(Section(title, (TAU_TEXT,), table, folded=merit != "AUC", group="rankings"))
    return parts


def _origin(pool: Pool) -> list[Section]:
    """Which code and data the numbers of the result folders come from."""
    if pool.results.empty:
        return []
    rows = pool.results.groupby(["scan", "dataset", "commit"])["trial"].nunique().reset_index()
    return [Section("Where the numbers come from", (), rows.rename(columns={"trial": "trials"}),
                    group="provenance")]  # fmt: skip


def teaching_sections(table: pd.DataFrame) -> list[Section]:
    """Does training teach anything: per architecture, and folded per model."""
    if table.empty:
        return []
    whole, short = table["model"] == EVERY, table.rename(columns=_short).round(DIGITS)
    return [
        Section("Does training teach anything?", (TEACHING_TEXT, teaching_count(table)),
                short[whole].drop(columns="model"), group="controls"),
        Section("Does training teach anything, per architecture and score",
                tuple(teaching_sentences(table)), folded=True, group="controls"),
        Section("Does training teach anything, per model", (TEACHING_TEXT,),
                short[~whole].drop(columns=["architecture", "score", "models"]), folded=True,
                group="controls"),
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


def _few(pool: Pool) -> pd.DataFrame:
    return findings.small_backgrounds(pool.results)


def _ranking(
    pool: Pool, shown: pd.DataFrame, found: Findings, method: str, convention: str, channel: str
) -> Section:
    ranking = RANKINGS[method]
    where = "all pairs" if channel == "All" else f"channel {channel}"
    table = best(pool, shown, method, convention, channel)
    if convention == "clean":
        table = with_intervals(table, found.uncertainty, method, channel)
    return Section(
        f"{ranking.title}, {where}",
        (f"Value: {ranking.meaning}; {ranking.best} first.", INTERVAL_TEXT[convention]), table,
        folded=True, label=f"tab:{method}-{channel}".replace("_", "-"), group="rankings",
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
        Section("Controls: what needs no training", (CONTROL_TEXT, count), summary,
                group="controls"),
        Section("Controls per signal (AUC)", sentences, controls, folded=True,
                group="controls"),
    ]


def _searches(pool: Pool) -> list[Section]:
    if pool.searches.empty:
        return []
    rows, title = pool.searches.drop(columns="complete"), "Searches: default against best"
    return [Section(title, (SEARCH_TEXT,), rows, folded=len(rows) > FOLD)]


def _coverage(pool: Pool) -> list[Section]:
    parts = []
    if len(pool.cells):
        parts.append(Section("Coverage: cells done of cells planned", (COVERAGE_TEXT,),
                             findings.coverage_matrix(pool.cells), group="scan"))  # fmt: skip
        count = pd.crosstab(pool.cells["channel"], pool.cells["status"])
        count = count.reindex(columns=["done", "diverged", "missing"], fill_value=0)
        count["planned"] = count.sum(axis=1)
        parts.append(Section("Coverage: cells per channel", (), count.reset_index(), folded=True,
                             group="scan"))  # fmt: skip
    for status in ("diverged", "missing"):
        rows = pool.cells[pool.cells["status"] == status] if len(pool.cells) else pool.cells
        if len(rows):
            trials = rows[["trial", "model", "channel", "seed"]].drop_duplicates()
            title = f"Trials that {'are missing' if status == 'missing' else 'diverged'}"
            parts.append(Section(title, (), trials, folded=True, group="scan"))
    if len(pool.left_out):
        text = "A model without every pair is not ranked; a missing number is never a zero."
        parts.append(Section("Models left out", (text,), pool.left_out, folded=True, group="scan"))
    return parts
