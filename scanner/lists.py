"""The rankings of a report as sections: side by side, each at length, and how far they agree."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import pandas as pd

from scanner import findings, tables
from scanner.comparison import agreement
from scanner.pages import Card, Section
from scanner.pool import Pool
from scanner.ranking import MERITS, RANKINGS
from scanner.uncertainty import Uncertainty, with_intervals

MARK = "†"
INTERVAL_TEXT = {
    "clean": "68 %: limits of the value, from resampled signals and seeds. first, first5: share of "
    "the resamples at place 1, and in the first five. like: lines of the same merit that cannot be "
    "told from this one (the 68 % interval of the difference holds 0).",
    "published": "Intervals are of the clean convention alone (uncertainty.csv).",
}
CARD_TEXT = (
    "Small: 68 % interval of the value over resampled signals and seeds; like: the lines of the "
    "card that cannot be told from this one."
)
TAU_TEXT = (
    "Tau-b of the places of all models: 1 is the same order, 0 none in common, -1 the reverse; - "
    "where a method ties all models."
)
TAU_DIGITS = 3


@dataclass(frozen=True)
class Findings:
    """What stands beside the rankings; every table has no rows where there is no result folder.

    Attributes:
        controls: What `findings.against_controls` returned.
        teaching: What `teaching.teaching` returned.
        seeds: What `findings.seed_table` returned.
        paper: What `paper.beside_paper` returned for it.
        uncertainty: That of the clean rankings.
    """

    controls: pd.DataFrame
    teaching: pd.DataFrame
    seeds: pd.DataFrame
    paper: pd.DataFrame
    uncertainty: Uncertainty


def best(
    pool: Pool, shown: pd.DataFrame, method: str, convention: str, channel: str = "All"
) -> pd.DataFrame:
    """`tables.best`, with the merits marked that rest on fewer than ten background events.

    The mark is in a further column, `few`, where the scan has such a merit in any channel.
    """
    table, few = tables.best(shown, method, convention, channel), few_events(pool)
    if few.empty:
        return table
    here = few if channel == "All" else few[few["channel"] == channel]
    return table.assign(few=table["merit"].isin(here["merit"]).map({True: MARK, False: ""}))


def listed(
    pool: Pool, shown: pd.DataFrame, found: Findings, method: str, convention: str,
    channel: str = "All",
) -> pd.DataFrame:  # fmt: skip
    """`best`, in the clean convention with the uncertainty of every line."""
    table = best(pool, shown, method, convention, channel)
    return with_intervals(table, found.uncertainty, method, channel) if (
        convention == "clean") else table  # fmt: skip


def side_by_side(
    pool: Pool, shown: pd.DataFrame, found: Findings, convention: str
) -> list[Section]:
    """The first five of every method beside each other, a section per merit."""
    lists = {method: listed(pool, shown, found, method, convention) for method in RANKINGS}
    parts = []
    for merit in MERITS:
        cards = []
        for method, ranking in RANKINGS.items():
            rows = lists[method][lists[method]["merit"] == merit].to_dict("records")
            cards.append(Card(ranking.title, f"{ranking.meaning}; {ranking.best} first", tuple(
                (int(row["place"]), str(row["model"]), f"{row['value']:.4g}",
                 row.get("68 %", "-"), _remark(row)) for row in rows)))  # fmt: skip
        few = f" {MARK}" if merit in set(few_events(pool)["merit"]) else ""
        parts.append(Section(f"Six rankings by {merit_words(merit)}{few}",
                             (CARD_TEXT,) if convention == "clean" else (), cards=tuple(cards),
                             group="rankings", folded=merit != "AUC"))  # fmt: skip
    return parts


def _remark(row: Mapping[Hashable, object]) -> str:
    """What stands under a line of a card: a tie, and the lines it cannot be told from."""
    words = [f"tie: {row['tie']}" if row["tie"] else "", f"like {like}" if (
        like := row.get("like", "")) else ""]  # fmt: skip
    return "; ".join(word for word in words if word)


def merit_words(merit: str) -> str:
    """A merit as a heading has it."""
    return merit if merit == "AUC" else f"eps_S at eps_B = {merit}"


def agreements(shown: pd.DataFrame) -> list[Section]:
    """Kendall's tau between the methods, a section per merit."""
    titles = {method: ranking.title for method, ranking in RANKINGS.items()}
    parts = []
    for merit in MERITS:
        taus = agreement(shown, merit).rename(index=titles, columns=titles)
        title = f"Kendall's tau between the methods, {merit_words(merit)}"
        table = taus.round(TAU_DIGITS).rename_axis("tau").reset_index()
        parts.append(Section(title, (TAU_TEXT,), table, folded=merit != "AUC", group="rankings"))
    return parts


def ranking(
    pool: Pool, shown: pd.DataFrame, found: Findings, method: str, convention: str, channel: str
) -> Section:
    """The list of one method and channel at length."""
    ranking = RANKINGS[method]
    where = "all pairs" if channel == "All" else f"channel {channel}"
    table = listed(pool, shown, found, method, convention, channel)
    return Section(
        f"{ranking.title}, {where}",
        (f"Value: {ranking.meaning}; {ranking.best} first.", INTERVAL_TEXT[convention]), table,
        folded=True, label=f"tab:{method}-{channel}".replace("_", "-"), group="rankings",
    )  # fmt: skip


def few_events(pool: Pool) -> pd.DataFrame:
    """Where fewer than ten background events pass a cut."""
    return findings.small_backgrounds(pool.results)
