"""Resamples of seeds and signals: what every ranking would say of other replicas and signals.

All models, methods and channels share the resamples: differences are paired, and the places within
a resample belong together. `scipy.stats.bootstrap` draws along one axis for one statistic; here the
draws along two axes serve thousands of models, and only the draws of seeds need new places.

A fifth of the resamples draw signals alone: what the seeds add, beyond the spread that draws of
signals see already, is told by both together.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanner.metrics import EPS_B
from scanner.ranking import DECIMALS, MERITS, RANKINGS, Matrix, median, places

PER_SEED_DRAW = 4  # draws of signals for each draw of seeds
SIGNALS_ALONE = 5  # one resample of so many draws signals alone
SEED_DRAWS = 64  # different draws of a training's seeds, to choose from
FEW = 5
ROUNDING = 0.5 * 10.0**-DECIMALS  # values that differ by less are a tie
MEASURES = {"AUC": "auc"} | {word: f"eps_s_{word}" for word in EPS_B}
Integers: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Replicas:
    """The numbers of all models with all their seeds.

    Attributes:
        numbers: (merits, seeds, pairs, models); a model's seeds come first, then NaN.
        seeds: Number of seeds, (pairs, models).
        pairs: Columns Chan and Signal, a row per pair.
        models: Names.
        training: Number of the training that a model is a score of, (models,).
    """

    numbers: Matrix
    seeds: Integers
    pairs: pd.DataFrame
    models: pd.Index
    training: Integers

    @property
    def entropy(self) -> list[int]:
        """Seed of the random numbers, made from the content: the same table gives the same."""
        digest = hashlib.sha256(np.ascontiguousarray(self.numbers).tobytes())
        digest.update("\n".join([*self.models, *self.pairs["Signal"]]).encode())
        return [int(word) for word in np.frombuffer(digest.digest(), dtype=np.uint32)]

    def selections(self) -> dict[str, Integers]:
        """`All` and every channel -> its pairs."""
        channel = self.pairs["Chan"].to_numpy()
        parts = {str(word): np.flatnonzero(channel == word) for word in sorted(set(channel))}
        return {"All": np.arange(len(channel))} | parts

    def signals(self, pairs: Integers) -> list[Integers]:
        """The pairs of every signal, of those given."""
        names = self.pairs["Signal"].to_numpy()[pairs]
        return [pairs[names == name] for name in sorted(set(names))]


@dataclass(frozen=True)
class Samples:
    """Resampled rankings of one selection and merit; methods are in the order of `RANKINGS`.

    Attributes:
        both: Seeds and signals drawn: (methods, draws of seeds, draws of signals, models); no
            draws of seeds where no model has a second one.
        signals: Signals alone drawn: (methods, draws, models).
        first: Share of the resamples in which a model has place 1, (methods, models): of those of
            seeds and signals where there are any.
        first_few: The same for places 1 to 5.
    """

    both: Matrix
    signals: Matrix
    first: Matrix
    first_few: Matrix


def replicas(table: pd.DataFrame, results: pd.DataFrame) -> Replicas:
    """The replicas of every ranked model.

    Args:
        table: The ranked models, challenge format; those without rows in `results` have one seed.
        results: Tidy rows with the column `name`; empty without result folders.
    """
    models = pd.Index(sorted(set(table["Model"])))
    pairs = table[["Chan", "Signal"]].drop_duplicates().sort_values(["Chan", "Signal"])
    pairs = pairs.reset_index(drop=True)
    cells = _cells(table["Model"], table["Chan"], table["Signal"], models, pairs)
    single = np.empty((len(MERITS), len(pairs) * len(models)))
    single[:, cells] = table[[*MERITS]].to_numpy().T
    seeds, training = np.ones(len(pairs) * len(models), dtype=np.int64), np.arange(len(models))
    numbers = single[:, None]
    rows = _trained(results, models)
    if len(rows):
        cells = _cells(rows["name"], rows["channel"], rows["signal"], models, pairs)
        slot = rows.groupby(cells).cumcount().to_numpy()
        numbers = np.full((len(MERITS), int(slot.max()) + 1, seeds.size), np.nan)
        numbers[:, 0] = single
        numbers[:, slot, cells] = rows[list(MEASURES.values())].to_numpy().T
        seeds = np.maximum(np.bincount(cells, minlength=seeds.size), 1)
        training = _trainings(rows, models)
    shape = (len(pairs), len(models))
    return Replicas(numbers.reshape(*numbers.shape[:2], *shape), seeds.reshape(shape), pairs,
                    models, training)  # fmt: skip


def resample(found: Replicas, merit: str, count: int) -> dict[str, Samples]:
    """The rankings of `count` resamples, for `All` and for every channel.

    Args:
        found: The replicas.
        merit: One of `MERITS`.
        count: Number of resamples, a multiple of twenty.
    """
    entropy, models = found.entropy, len(found.models)
    repeated = bool((found.seeds > 1).any())
    alone = count // SIGNALS_ALONE if repeated else count
    numbers = found.numbers[MERITS.index(merit)]
    combined = _combined(numbers, found.seeds, np.random.default_rng(entropy), repeated)
    members = {name: found.signals(pairs) for name, pairs in found.selections().items()}
    if len(members) == 2:  # one channel: it is `All`
        members = {"All": members["All"]}
    channel = pd.factorize(found.pairs["Chan"])[0]
    shape = (channel.max() + 1, found.training.max() + 1)
    cells = np.arange(found.seeds.size)
    values = {name: np.empty((len(RANKINGS), count, models)) for name in members}

    def one(first: int) -> dict[str, Matrix]:
        random = np.random.default_rng([*entropy, first])
        drawn = random.integers(1, len(combined), shape) if first >= alone else np.zeros(shape, int)
        chosen = drawn[channel[:, None], found.training]
        scores = combined.take(chosen.ravel() * cells.size + cells).reshape(chosen.shape)
        place, here = places(scores), slice(first, first + PER_SEED_DRAW)
        return {name: _ranked(scores, place, signals, values[name][:, here], random)
                for name, signals in members.items()}  # fmt: skip

    leaders = {name: np.zeros((2, len(RANKINGS), models)) for name in members}
    starts = range(0, count, PER_SEED_DRAW)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for first, part in zip(starts, pool.map(one, starts), strict=True):
            for name, seen in part.items():
                leaders[name] += seen if first >= alone or not repeated else 0
    counted = count - alone if repeated else count
    split = (len(RANKINGS), -1, PER_SEED_DRAW, models)
    out = {name: Samples(drawn[:, alone:].reshape(split) if repeated else drawn[:, :0, None],
                         drawn[:, :alone], *leaders[name] / counted)
           for name, drawn in values.items()}  # fmt: skip
    return {name: out.get(name, out["All"]) for name in found.selections()}


def _combined(
    numbers: Matrix, seeds: Integers, random: np.random.Generator, repeated: bool
) -> Matrix:
    """Medians over the seeds, (1 + draws, pairs, models): first of all seeds, then of drawn ones.

    Of n seeds n are drawn, but of two seeds one: the median of two is their mean, whose bootstrap
    variance is half of what it should be, while a median of three and more has no such lack. The
    draws are balanced: over all of them every seed comes equally often.
    """
    out = np.empty((1 + SEED_DRAWS if repeated else 1, *seeds.shape))
    for n in np.unique(seeds).tolist():
        here, size = seeds == n, n if n > 2 else 1
        own = numbers[:n, here]
        balanced = random.permutation(np.arange((len(out) - 1) * size) % n).reshape(-1, size)
        for draw, drawn in zip(out, [np.arange(n), *balanced], strict=True):
            draw[here] = median(own[drawn].T)
    return out.round(DECIMALS, out=out)


def _ranked(
    scores: Matrix, place: NDArray[np.int32], signals: list[Integers], out: Matrix,
    random: np.random.Generator,
) -> Matrix:  # fmt: skip
    """Draw signals, each with all its pairs, and rank.

    Args:
        scores: (pairs, models).
        place: The places of the scores.
        signals: The pairs of every signal.
        out: The values go here, (methods, draws, models).
        random: Draws the signals.

    Returns:
        How often a model is at place 1, and at places 1 to 5, (2, methods, models).
    """
    pairs, models = sum(map(len, signals)), scores.shape[1]
    for k in range(out.shape[1]):
        drawn = np.concatenate([signals[i] for i in random.integers(0, len(signals), len(signals))])
        some, theirs = scores[drawn].T, place[drawn].T
        for i, method in enumerate(RANKINGS.values()):
            value = method.value(theirs if method.of_places else some)
            out[i, k] = value * (pairs / len(drawn)) if method.counts else value
    signs = [1 if method.best == "largest" else -1 for method in RANKINGS.values()]
    merit = out * np.reshape(signs, (-1, 1, 1))
    edges = merit.max(axis=2), np.partition(merit, max(models - FEW, 0), axis=2)[
        :, :, max(models - FEW, 0)]  # fmt: skip
    return np.stack([(merit >= edge[:, :, None] - ROUNDING).sum(axis=1) for edge in edges])


def _trained(results: pd.DataFrame, models: pd.Index) -> pd.DataFrame:
    if results.empty:
        return results
    kept = (results["stage"] == "trained") & results["auc"].notna() & results["name"].isin(models)
    return results[kept].sort_values("seed", kind="stable")


def _trainings(rows: pd.DataFrame, models: pd.Index) -> Integers:
    """A number for every model; scores of one training have the same."""
    first = rows.drop_duplicates("name")
    words = dict(zip(first["name"], zip(first["scan"], first["model"], strict=True), strict=True))
    return pd.factorize(pd.Series([words.get(name, (name,)) for name in models]))[0]


def _cells(
    model: pd.Series, channel: pd.Series, signal: pd.Series, models: pd.Index, pairs: pd.DataFrame
) -> Integers:
    """Place of every row in a flat (pairs, models) array."""
    channels, signals = (pd.Index(pairs[word].unique()) for word in ("Chan", "Signal"))
    grid = np.full((len(channels), len(signals)), -1)
    grid[_codes(pairs["Chan"], channels), _codes(pairs["Signal"], signals)] = np.arange(len(pairs))
    pair = grid[_codes(channel, channels), _codes(signal, signals)]
    out: Integers = pair * len(models) + _codes(model, models)
    return out


def _codes(column: pd.Series, index: pd.Index) -> Integers:
    """Place of every value in an index; each distinct value is looked up once."""
    words = column.astype("category").cat
    return index.get_indexer(words.categories)[words.codes.to_numpy()]
