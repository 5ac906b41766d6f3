"""The six rankings of the Dark Machines challenge (arXiv:2105.14027), clean and as published.

The input is a table in the format of the challenge: `Signal`, `Model`, `Chan` (text), and the
fractions `AUC`, `1e-2`, `1e-3`, `1e-4` (eps_S at that eps_B). A pair is one (channel, signal).

A place counts from 1. Values that are equal to 12 decimals share the best place, as in a race
(1, 2, 2, 4), and are listed by model name; that order has no meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from scanner.errors import ResultError
from scanner.metrics import EPS_B

KEYS = ["Signal", "Model", "Chan"]
MERITS = ("AUC", *EPS_B)
COLUMNS = [*KEYS, *MERITS]
CHANNELS = ("1", "2a", "2b", "3")
CONVENTIONS = ("clean", "published")
DECIMALS = 12
STACKING = (
    "AE", "VAE", "DeepSetVAE", "ConvVAE_and_Flows", "CNN_VAE", "CNN_BVAE", "KDE", "Flow",
    "DeepSVDD", "Combined", "DAGMM", "ALAD", "MethodsInLatentSpaceOfVAE",
)  # fmt: skip
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """One way to order models.

    Attributes:
        title: Name in the challenge's words.
        meaning: What the value of a model is.
        of_places: Whether `value` reads places inside the pairs (0 = best) instead of scores.
        best: `largest` or `smallest` value first.
        value: (models, pairs) -> (models,).
        counts: Whether the value grows with the number of pairs.
    """

    title: str
    meaning: str
    of_places: bool
    best: str
    value: Callable[[Matrix], Matrix]
    counts: bool = False


def median(scores: Matrix) -> Matrix:
    """`np.median` of every row, a few times faster: sorting short rows beats selecting."""
    ordered, middle = np.sort(scores, axis=1), scores.shape[1] // 2
    if scores.shape[1] % 2:
        return ordered[:, middle]
    return (ordered[:, middle - 1] + ordered[:, middle]) / 2


RANKINGS = {
    "top1": Ranking("Top scorer", "pairs where no model scores higher", True, "largest",
                    lambda places: (places < 1).sum(axis=1), True),
    "top5": Ranking("Top-5 scorer", "pairs where fewer than five models score higher", True,
                    "largest", lambda places: (places < 5).sum(axis=1), True),
    "average_rank": Ranking("Average rank", "mean place over the pairs, from 0", True, "smallest",
                            lambda places: places.mean(axis=1)),
    "mean": Ranking("Highest mean", "mean score over the pairs", False, "largest",
                    lambda scores: scores.mean(axis=1)),
    "median": Ranking("Highest median", "median score over the pairs", False, "largest",
                      median),
    "min": Ranking("Highest minimum", "lowest score of all pairs", False, "largest",
                   lambda scores: scores.min(axis=1)),
}  # fmt: skip


def rank(
    table: pd.DataFrame, convention: str = "clean", channels: Iterable[str] = CHANNELS
) -> pd.DataFrame:
    """Every model's place by every method, merit and channel.

    Models without any row in some channel are left out (`drop_incomplete` names them). Merits are
    never mixed; "All" is over all pairs.

    Args:
        table: Challenge format. In the `published` convention the order of its rows decides ties.
        convention: `clean` (ties share a place, models matched by name) or `published` (the three
            rank-based methods with the artefacts of the challenge).
        channels: Channels that may occur.

    Returns:
        Rows (convention, channel, merit, method, place, model, value), best first; `channel` is
        `All` or one of the channels present.

    Raises:
        ResultError: Unknown convention or channel, a missing column, row or number, a row given
            twice, a number outside [0, 1], or no complete model.
    """
    if convention not in CONVENTIONS:
        raise ResultError(f"convention {convention!r}: expected one of {', '.join(CONVENTIONS)}")
    pool, _ = drop_incomplete(check(table, channels))
    refuse_gaps(pool)
    parts = []
    for channel in ["All", *sorted(set(pool["Chan"]))]:
        rows = pool if channel == "All" else pool[pool["Chan"] == channel]
        parts += [_ranked(rows, convention, channel, merit) for merit in MERITS]
    return pd.concat(parts, ignore_index=True)


def read_challenge(path: Path) -> pd.DataFrame:
    """A CSV file in challenge format: numbers to the last bit, names and channels as text.

    Raises:
        ResultError: No such file, not CSV, a column is missing, or a cell is not a number.
    """
    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' parser and Unicode errors are ValueErrors
        raise ResultError(f"{path}: not a readable CSV file ({error})") from error
    _refuse_missing_columns(raw, f"{path}: ")
    for merit in MERITS:
        raw[merit] = [_number(path, raw, row, merit, text) for row, text in enumerate(raw[merit])]
    return raw[COLUMNS]


def stacking_order(paths: Sequence[Path]) -> list[Path]:
    """The order in which the challenge stacks its files; other names last, in the given order.

    It decides ties in the `published` convention, and nothing else.
    """
    place = {stem: k for k, stem in enumerate(STACKING)}
    return sorted(paths, key=lambda path: place.get(path.stem, len(STACKING)))


def check(table: pd.DataFrame, channels: Iterable[str] = CHANNELS) -> pd.DataFrame:
    """The columns of the challenge format, each row once, each number a fraction in [0, 1].

    Raises:
        ResultError: The first fault found, with the rows that have it.
    """
    _refuse_missing_columns(table, "")
    if table.empty:
        raise ResultError("the table has no row to rank: give results or a CSV file with rows")
    allowed = set(channels)
    for fault, bad in (
        (f"unknown channel; allowed: {', '.join(sorted(allowed))}", ~table["Chan"].isin(allowed)),
        ("given twice; keep one of the rows", table.duplicated(KEYS)),
        ("not a number; leave the model out, or measure it", table[[*MERITS]].isna().any(axis=1)),
        ("not a fraction in [0, 1]; is it in percent?",
         ~((table[[*MERITS]] >= 0) & (table[[*MERITS]] <= 1)).all(axis=1)),
    ):  # fmt: skip
        if bad.any():
            rows = [_row(row) for row in table.loc[bad.to_numpy(), KEYS].to_numpy().tolist()]
            raise ResultError(f"{_some(rows)}: {fault}")
    return table[COLUMNS]


def drop_incomplete(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """The table without the models that have no row in some channel, and what each of them lacks.

    Raises:
        ResultError: No model has rows in every channel.
    """
    channels = set(table["Chan"])
    have = table.groupby("Model")["Chan"].agg(set)
    dropped = {m: sorted(channels - found) for m, found in have.items() if found != channels}
    if len(dropped) == len(have):
        text = f"no model has rows in all channels ({', '.join(sorted(channels))})"
        raise ResultError(f"{text}; report channels apart, or finish the scan")
    return table[~table["Model"].isin(dropped)], {str(m): gone for m, gone in dropped.items()}


def gaps(table: pd.DataFrame) -> dict[str, list[str]]:
    """Model -> the pairs ("channel/signal") that other models have and it has not."""
    if table.empty:
        return {}
    model, models = pd.factorize(table["Model"], sort=True)
    groups = table.groupby(["Chan", "Signal"], sort=True)
    there = np.zeros((len(models), groups.ngroups), dtype=bool)
    there[model, groups.ngroup()] = True
    words = [f"{channel}/{signal}" for channel, signal in groups.size().index.tolist()]
    missing: dict[str, list[str]] = {}
    for k, pair in np.argwhere(~there):
        missing.setdefault(str(models[k]), []).append(words[pair])
    return missing


def _ranked(rows: pd.DataFrame, convention: str, channel: str, merit: str) -> pd.DataFrame:
    scores = rows.pivot(index="Model", columns=["Chan", "Signal"], values=merit).sort_index(axis=1)
    places = _published_places(rows, merit) if convention == "published" else _shared_places(scores)
    parts = []
    for name, method in RANKINGS.items():
        matrix = places if method.of_places else scores
        value = np.round(method.value(matrix.to_numpy(dtype=np.float64)).astype(float), DECIMALS)
        place = rankdata(value if method.best == "smallest" else -value, method="min").astype(int)
        models = matrix.index.to_numpy(dtype=object)
        order = np.lexsort((models, place))
        parts.append(pd.DataFrame({
            "convention": convention, "channel": channel, "merit": merit, "method": name,
            "place": place[order], "model": models[order], "value": value[order],
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def places(scores: Matrix) -> NDArray[np.int32]:
    """Number of models with a higher score in the same pair; equal scores share the best place.

    Args:
        scores: (pairs, models), rounded to the decimals that count.
    """
    order = np.argsort(scores, axis=1)
    ordered = np.take_along_axis(scores, order, axis=1)
    models = scores.shape[1]
    last = np.full(scores.shape, models - 1, dtype=np.int32)  # of the run of equal scores
    ends = ordered[:, 1:] != ordered[:, :-1]
    last[:, :-1] = np.where(ends, np.arange(models - 1, dtype=np.int32), models - 1)
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    out = np.empty_like(last)
    np.put_along_axis(out, order, models - 1 - last, axis=1)
    return out


def _shared_places(scores: pd.DataFrame) -> pd.DataFrame:
    """Place of every model in every pair."""
    higher = places(scores.to_numpy().T.round(DECIMALS)).T
    return pd.DataFrame(higher, index=scores.index)


def _published_places(rows: pd.DataFrame, merit: str) -> pd.DataFrame:
    """Places as the challenge computed them, with its three artefacts.

    Ties fall where numpy's unstable sort of Python objects drops them, given the row order; the
    k-th row of a pair is credited to the k-th model of the table; a column is stored under the bare
    name of its signal, so that a signal keeps its last channel only.
    """
    labels = rows["Model"].drop_duplicates().tolist()
    columns = {}
    pairs = {f"{chan}/{signal}": (signal, group)
             for (chan, signal), group in rows.groupby(["Chan", "Signal"], sort=False)}  # fmt: skip
    for _, (signal, group) in sorted(pairs.items(), key=lambda item: item[0]):
        negated = np.array([-x for x in group[merit].tolist()], dtype=object)
        column = np.empty(len(labels))
        column[negated.argsort(kind="quicksort")] = np.arange(len(labels))
        columns[signal] = column
    return pd.DataFrame(columns, index=labels)


def _refuse_missing_columns(table: pd.DataFrame, where: str) -> None:
    if absent := [name for name in COLUMNS if name not in table.columns]:
        found = ", ".join(map(str, table.columns))
        text = f"{where}no column {', '.join(absent)}; expected {','.join(COLUMNS)}"
        raise ResultError(f"{text}; found {found}")


def refuse_gaps(table: pd.DataFrame) -> None:
    if missing := gaps(table):
        lines = [f"{model} lacks {_some(pairs)}" for model, pairs in missing.items()]
        raise ResultError(f"missing rows: {_some(lines)}; add them or leave these models out")


def _number(path: Path, raw: pd.DataFrame, row: int, column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        where = f"{path}: row {row + 1} ({_row(raw[KEYS].iloc[row].tolist())})"
        raise ResultError(f"{where}: {column} is {text!r}, expected a number in [0, 1]") from None


def _row(key: list[str]) -> str:
    signal, model, channel = key
    return f"{model} on {channel}/{signal}"


def _some(words: list[str]) -> str:
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return "; ".join(words[:3]) + more
