"""Rows and models that deserve doubt, one by one, and the pool without the worst of them.

`table` is in challenge format. Nothing here drops or repairs a row of it: a report shows its
rankings with and without.
"""

from __future__ import annotations

from itertools import pairwise

import pandas as pd

from scanner.metrics import EPS_B
from scanner.ranking import MERITS

ROUNDING = 1e-12
COARSE = 0.01
WHOLE = "all"
SATURATED, IDENTICAL = "saturated model: 1e-3 equals 1e-4 everywhere", "identical models"
IMPOSSIBLE = "impossible: AUC < eps_S (1 - eps_B)"


def row_flags(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Flag -> whether each row has it.

    eps_S equal at two neighbouring cuts and above zero; an AUC that no ROC curve with this eps_S
    has; eps_S that rises while eps_B falls; an AUC below 0.5; zeros.
    """
    cuts = list(EPS_B)
    tests = {f"saturated: eps_S the same at {a} and {b}": (table[a] == table[b]) & (table[b] > 0)
             for a, b in pairwise(cuts)}  # fmt: skip
    tests[IMPOSSIBLE] = pd.concat(
        [table["AUC"] < table[c] * (1 - e) - ROUNDING for c, e in EPS_B.items()], axis=1
    ).any(axis=1)
    tests["not monotone: eps_S rises while eps_B falls"] = (
        table[cuts].diff(axis=1).gt(0).any(axis=1)
    )
    tests["inverted: AUC < 0.5"] = table["AUC"] < 0.5
    return tests | {f"zero eps_S at {c}": table[c] == 0 for c in cuts}


def model_flags(table: pd.DataFrame) -> dict[str, list[str]]:
    """Flag -> the models that have it: saturated in every row, or rounded to two decimals."""
    same = (table["1e-3"] == table["1e-4"]).groupby(table["Model"]).all()
    some = (table["1e-3"] > 0).groupby(table["Model"]).any()
    scaled = table[[*MERITS]] / COARSE
    coarse = ((scaled - scaled.round()).abs() < 1e-9).all(axis=1).groupby(table["Model"]).all()
    return {
        SATURATED: list(same.index[same & some]),
        "coarse model: every number a multiple of 0.01": list(coarse.index[coarse]),
    }


def identical(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """Groups of models that are equal in every number, each by name."""
    wide = table.pivot(index="Model", columns=["Chan", "Signal"], values=[*MERITS])
    groups: dict[tuple[float, ...], list[str]] = {}
    for model, values in zip(wide.index, wide.to_numpy().tolist(), strict=True):
        groups.setdefault(tuple(values), []).append(str(model))
    return [tuple(names) for names in groups.values() if len(names) > 1]


def doubts(table: pd.DataFrame) -> pd.DataFrame:
    """Every flag of every row and model.

    Returns:
        Columns flag, model, channel, signal, with; channel and signal are `all` for a flag of the
        model. `with` names the models it is identical to. A model that is identical in some
        channels only has a row for each of these.
    """
    lines = [
        (flag, model, channel, signal, "")
        for flag, bad in row_flags(table).items()
        for signal, model, channel in table.loc[bad, ["Signal", "Model", "Chan"]].itertuples(
            index=False, name=None)
    ]  # fmt: skip
    lines += [(flag, model, WHOLE, WHOLE, "") for flag, names in model_flags(table).items()
              for model in names]  # fmt: skip
    every = identical(table)
    lines += _twins(every, WHOLE)
    for channel, rows in sorted(table.groupby("Chan")):
        here = identical(rows)
        lines += _twins([names for names in here if names not in every], str(channel))
    return pd.DataFrame(lines, columns=["flag", "model", "channel", "signal", "with"])


def flags(table: pd.DataFrame) -> pd.DataFrame:
    """How many rows and models have each flag: columns flag, found, of, examples."""
    name = table["Model"] + " on " + table["Chan"] + "/" + table["Signal"]
    rows = [_count(flag, name[bad].tolist(), len(table)) for flag, bad in row_flags(table).items()]
    models, twins = table["Model"].nunique(), identical(table)
    rows += [_count(flag, names, models) for flag, names in model_flags(table).items()]
    distinct = models - sum(len(names) - 1 for names in twins)
    joined = [" = ".join(names) for names in twins]
    rows.append(_count(f"{IDENTICAL} ({distinct} distinct)", joined, models))
    return pd.DataFrame(rows, columns=["flag", "found", "of", "examples"])


def compared(ranked: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """The first model of every method and merit over all pairs, with and without what is doubtful.

    Args:
        ranked: Rows of `ranking.rank` of the whole pool, of one convention.
        kept: The same of the pool of `without`.

    Returns:
        Columns method, merit, first, value, first without, value without; of models that share
        the first place the first by name.
    """
    keys = ["method", "merit"]
    one, two = (rows[rows["channel"] == "All"].groupby(keys, sort=False)[["model", "value"]].first()
                for rows in (ranked, kept))  # fmt: skip
    names = {"model": "first", "value": "value"}
    others = {name: f"{word} without" for name, word in names.items()}
    return one.rename(columns=names).join(two.rename(columns=others)).reset_index()


def without(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pool without the models whose numbers cannot be what they say, and these.

    Left out are models that are saturated in every row, models with a row that no ROC curve has,
    and of every group of identical models all but the first by name. Rounding, zeros and single
    saturated rows are no reason: they are coarse, not wrong.

    Returns:
        The rows of the others in their order, and a table with columns model, reason.
    """
    impossible = set(table.loc[row_flags(table)[IMPOSSIBLE], "Model"])
    reasons: dict[str, list[str]] = {}
    for model in model_flags(table)[SATURATED]:
        reasons.setdefault(model, []).append("saturated in every row")
    for model in sorted(impossible):
        reasons.setdefault(model, []).append("a row that no ROC curve has")
    for first, *others in identical(table):
        for model in others:
            reasons.setdefault(model, []).append(f"identical to {first}")
    lines = [(model, "; ".join(why)) for model, why in sorted(reasons.items())]
    return (table[~table["Model"].isin(reasons)],
            pd.DataFrame(lines, columns=["model", "reason"]))  # fmt: skip


def _twins(groups: list[tuple[str, ...]], channel: str) -> list[tuple[str, str, str, str, str]]:
    return [(IDENTICAL, model, channel, WHOLE, "; ".join(n for n in names if n != model))
            for names in groups for model in names]  # fmt: skip


def _count(flag: str, names: list[str], total: int) -> tuple[str, int, int, str]:
    more = "; ..." if len(names) > 3 else ""
    return flag, len(names), total, "; ".join(names[:3]) + more
