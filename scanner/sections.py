"""What a report says: its sections, from the pool, its rankings and what stands beside them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from scanner import doubts, findings
from scanner.comparison import total_improvement
from scanner.lists import MARK, Findings, agreements, few_events, ranking, side_by_side
from scanner.mending import mending
from scanner.pages import Section
from scanner.paper import as_printed
from scanner.pool import Pool
from scanner.ranking import RANKINGS, rank
from scanner.rendering import Drawing
from scanner.teaching import EVERY, teaching_count, teaching_sentences

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
LATENT_TEXT = (
    "No figure: the trials drawn here have no latent vectors in the result folder (latent/)."
)
PAPER_TEXT = (
    "Numbers of arXiv:2110.08508 (Front. Big Data 5, 803685), Tables S1 and S2, beside those of "
    "the models here with the same architecture, flow and loss. In percent: median over the pairs "
    "± spread over the seeds (beside_paper.csv has fractions with every digit). The paper's rows "
    "with a flow come from code that was never published."
)
DAMAGED = "Result files that cannot be read"
DAMAGED_TEXT = "Their numbers are left out; the command makes them again, then report again."
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


def notes(pool: Pool, convention: str) -> tuple[str, ...]:
    """One sentence for everything a reader must know beside the tables."""
    few = few_events(pool)
    words = [f"{row.passing:g} in channel {row.channel} at {row.merit}" for row in few.itertuples()]
    small = [f"Few {MARK}: fewer than ten background events pass the cut ({', '.join(words)})."]
    damaged = [f"Caution: {len(pool.damaged)} result files cannot be read and are left out, as if "
               f"they were missing: “{DAMAGED}” has the command that makes each again."]
    return (*pool.notes, *(damaged if pool.damaged else []), CONVENTION_TEXT[convention],
            *(small if words else []), TIE_TEXT)  # fmt: skip


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
    parts = [*_coverage(pool), *side_by_side(pool, shown, found, convention), *agreements(shown)]
    parts += [ranking(pool, shown, found, method, convention, channel)
              for channel in (channels if len(channels) > 2 else channels[:1])
              for method in RANKINGS]  # fmt: skip
    improvement = "Largest eps_S / sqrt(eps_B) per signal, over channels and the three cuts."
    parts.append(Section("Total improvement, the ten best medians", (improvement,),
                         total_improvement(pool.table).head(10)))  # fmt: skip
    parts += [*seed_sections(pool, found), *_searches(pool)]
    parts += [Section(one.title, (one.text,), figure=one.name, group="figures") for one in drawings]
    parts += _no_latent(pool, drawings)
    return [*parts, *_controls(pool, shown, found.controls), *teaching_sections(found.teaching),
            *_doubts(pool, shown, convention), *_origin(pool)]  # fmt: skip


def _no_latent(pool: Pool, drawings: Sequence[Drawing]) -> list[Section]:
    """A word in place of the figures of the latent space, where a scan has stored none."""
    if pool.results.empty or not drawings or any(one.name.startswith("latent") for one in drawings):
        return []
    return [Section("Latent space", (LATENT_TEXT,), group="figures")]


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


def _origin(pool: Pool) -> list[Section]:
    """Which code and data the numbers of the result folders come from."""
    if pool.results.empty:
        return []
    trained = pool.results[pool.results["stage"] == "trained"]
    rows = trained.groupby(["scan", "dataset", "commit"])["trial"].nunique().reset_index()
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


def seed_sections(pool: Pool, found: Findings) -> list[Section]:
    """The table of medians and their spread over the seeds, and the published ones beside."""
    table, text = found.seeds, [SEEDS_TEXT]
    if table.empty:
        return []
    if "sample" in set(pool.results["dataset"]):
        text.append(SAMPLE_TEXT)
    parts = [Section("Median over the signals, spread over the seeds", tuple(text),
                     table.round(DIGITS), folded=len(table) > FOLD, label="tab:table-s1",
                     file="table_s1.csv")]  # fmt: skip
    if len(found.paper):
        parts.append(Section("Beside the published tables", (PAPER_TEXT,),
                             as_printed(found.paper), label="tab:published"))  # fmt: skip
    return parts


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
    if pool.damaged:
        parts.append(Section(DAMAGED, (DAMAGED_TEXT,), mending(pool.damaged), group="scan"))
    if len(pool.left_out):
        text = "A model without every pair is not ranked; a missing number is never a zero."
        parts.append(Section("Models left out", (text,), pool.left_out, folded=True, group="scan"))
    return parts
