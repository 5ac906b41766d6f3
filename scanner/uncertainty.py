"""Uncertainty of a report's numbers: bootstrap over seeds and signals, and binomial intervals.

Seeds are replicas, and signals are a sample of what could be searched for, so both are resampled:

* signals: as many as there are, with replacement, each with all its channels;
* seeds: of every training one fewer than there are, with replacement, each channel by itself (its
  networks are others). The scores of one training share the draw.

The bootstrap variance of a mean is too small by (n - 1) / n, which matters for few seeds (a fifth
for five); with n - 1 draws it is unbiased (McCarthy and Snowden 1985). The many signals need no
such care: the bootstrap of a median is rather too wide. So the 68 % percentile intervals of a
median over 20 signals and 5 seeds hold the truth in two thirds to three quarters of all cases,
whether the signals or common effects of the seeds dominate. They hold it more often where seeds
differ signal by signal only, since both draws see that spread (Owen 2007); with two or three seeds,
less often where these dominate. The lowest of several signals cannot be bootstrapped (an unseen one
may be lower): an interval of `min` says only how much rests on single signals and seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from scanner.bootstrap import FEW, Replicas, Samples, replicas, resample
from scanner.metrics import EPS_B, interval
from scanner.ranking import MERITS, RANKINGS, Matrix

RESAMPLES = 1000
LEVEL = 0.6827
QUANTILES = (0.5, (1 - LEVEL) / 2, (1 + LEVEL) / 2)
EVENTS = ["n_signal", "n_background"]
KEYS = ["name", "channel", "signal"]
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Uncertainty:
    """What `uncertainty` found.

    Attributes:
        values: A row per channel (`All` or one), merit, method and model: channel, merit, method,
            model, value (as ranked, clean), median, low, high (of the resamples: middle 68 %),
            first and first_five (probability of place 1, and of places 1 to 5; ties count). The
            last five are missing where there is neither a second seed nor a second signal.
        pairs: The first five models of each list, two by two: channel, merit, method, one, other,
            difference (one - other, as ranked), low, high (68 %), apart (whether 0 is outside;
            never where nothing can be resampled).
        notes: One sentence each on what the intervals lack.
    """

    values: pd.DataFrame
    pairs: pd.DataFrame
    notes: tuple[str, ...]


def uncertainty(
    table: pd.DataFrame, results: pd.DataFrame, ranked: pd.DataFrame, resamples: int = RESAMPLES
) -> Uncertainty:
    """Intervals, rank stability and undecided pairs of every clean ranking.

    Args:
        table: The ranked models, challenge format; those without seeds have one replica.
        results: Tidy rows with the column `name`; empty without result folders.
        ranked: What `ranking.rank` returned for `table` in the clean convention.
        resamples: Number of resamples, a multiple of four.
    """
    found = replicas(table, results)
    lists = dict(iter(ranked.groupby(["channel", "merit", "method"], sort=False)))
    values, pairs = [], []
    for merit in MERITS:
        for channel, samples in resample(found, merit, resamples).items():
            spread = _has_spread(found, channel)
            for k, method in enumerate(RANKINGS):
                key = (channel, merit, method)
                listed = lists[key]
                places = found.models.get_indexer(pd.Index(listed["model"]))
                values.append(_value_rows(key, listed, samples, k, places, spread))
                pairs.append(_pair_rows(key, listed, samples.values[k], places, spread))
    return Uncertainty(pd.concat(values, ignore_index=True), pd.concat(pairs, ignore_index=True),
                       tuple(_notes(found)))  # fmt: skip


def efficiency_intervals(table: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Clopper-Pearson 68 % intervals of every eps_S, from the number of signal test events alone.

    Args:
        table: The ranked models, challenge format.
        results: Tidy rows with the column `name`; models that have none are left out, since
            challenge tables do not tell their numbers of events.

    Returns:
        Columns model, channel, signal, merit, eps_s (median over the seeds), low, high, n_signal,
        n_background, passing (background events that the cut lets pass).
    """
    columns = ["model", "channel", "signal", "merit", "eps_s", "low", "high", *EVENTS, "passing"]
    if results.empty:
        return pd.DataFrame(columns=columns)
    done = results[(results["stage"] == "trained") & results["auc"].notna()]
    events = done.groupby(KEYS, observed=True)[EVENTS].min().astype(np.int64).reset_index()
    words = {"Model": "model", "Chan": "channel", "Signal": "signal"}
    names = dict(zip(KEYS, words.values(), strict=True))
    events = events.astype(dict.fromkeys(KEYS, "str")).rename(columns=names)
    wide = table.rename(columns=words).merge(events, on=list(words.values()))
    total, parts = wide["n_signal"].to_numpy(), []
    for merit, eps_b in EPS_B.items():
        passed = np.rint(wide[merit].to_numpy() * total).astype(np.int64)
        low, high = interval(passed, total, LEVEL)
        passing = (wide["n_background"] * eps_b).round(6)
        part = wide.assign(eps_s=wide[merit], merit=merit, low=low, high=high, passing=passing)
        parts.append(part[columns])
    return pd.concat(parts, ignore_index=True)


def _has_spread(found: Replicas, channel: str) -> bool:
    pairs = found.selections()[channel]
    return len(found.signals(pairs)) > 1 or bool((found.seeds[pairs] > 1).any())


def _value_rows(
    key: Key, listed: pd.DataFrame, samples: Samples, method: int, places: np.ndarray, spread: bool
) -> pd.DataFrame:
    numbers = np.full((5, len(listed)), np.nan)
    if spread:
        numbers[:3] = _quantiles(samples.values[method])[:, places]
        numbers[3:] = samples.first[method, places], samples.first_few[method, places]
    names = ("median", "low", "high", "first", "first_five")
    found = dict(zip(names, numbers, strict=True))
    return _labelled(key, {"model": listed["model"].to_numpy(), "value": listed["value"].to_numpy(),
                           **found})  # fmt: skip


def _pair_rows(
    key: Key, listed: pd.DataFrame, samples: Matrix, places: np.ndarray, spread: bool
) -> pd.DataFrame:
    two = np.array(list(combinations(range(min(FEW, len(listed))), 2)), dtype=int).reshape(-1, 2)
    model, value = listed["model"].to_numpy(), listed["value"].to_numpy(dtype=float)
    one, other = two.T
    low = high = np.full(len(two), np.nan)
    if spread and len(two):
        _, low, high = _quantiles(samples[:, places[one]] - samples[:, places[other]])
    return _labelled(key, {
        "one": model[one], "other": model[other], "difference": value[one] - value[other],
        "low": low, "high": high, "apart": (low > 0) | (high < 0),
    })  # fmt: skip


def _quantiles(samples: Matrix) -> Matrix:
    """Median and 68 % interval of every column."""
    return np.quantile(samples, QUANTILES, axis=0)


def _labelled(key: Key, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    channel, merit, method = key
    return pd.DataFrame({"channel": channel, "merit": merit, "method": method, **columns})


def _notes(found: Replicas) -> Iterator[str]:
    single, models = int((found.seeds.max(axis=0) == 1).sum()), len(found.models)
    many = len(found.signals(np.arange(len(found.pairs)))) > 1
    if single == models and not many:
        yield "One seed and one signal: there is nothing to resample, and no interval."
        return
    if single == models:
        yield "One seed per model: the intervals hold no spread over seeds."
    elif single:
        text = f"{single} of {models} models have one seed"
        yield f"{text}: their intervals hold no spread over seeds."
    lone = [name for name, pairs in found.selections().items()
            if name != "All" and len(found.signals(pairs)) == 1]  # fmt: skip
    if lone:
        yield f"One signal in channel {', '.join(lone)}: no spread over signals in its intervals."
