"""Uncertainty of a report's numbers: bootstrap over seeds and signals, and binomial intervals.

Seeds are replicas, and signals are a sample of what could be searched for, so both are resampled
(`bootstrap.py`): signals with replacement, each with all its channels; the seeds of every training
with replacement, each channel by itself (its networks are others). The scores of one training share
the draw. An interval is then

    sin^2( arcsin(sqrt(f)) -+ t sqrt(v) ),

* f is the value as a fraction of its range (a score is one; a count of the number of pairs; a mean
  place of the number of other models). On the scale of the arcsine a fraction near 0 or 1 varies as
  much as one in the middle, and no limit leaves the range.
* v = v(signals) + v(seeds), both on that scale: v(signals) is the variance of resamples that draw
  signals alone. Resamples of both count three times what seeds do to single signals (McCullagh
  2000, Bernoulli 6, 285; Owen 2007, arXiv:0712.1111; Owen and Eckles 2012, arXiv:1106.2125): their
  spread within a draw of seeds is v(signals) and once that part, the spread between draws of seeds
  is v(seeds) and once that part. So both parts can be told, and each counts once.
* t is the quantile of Student's t for 68 % with the degrees of freedom of v by Satterthwaite: the
  number of signals less one, and the seeds of every channel less one each. Two seeds are one
  degree of freedom, and t is 1.84 where they dominate; a percentile interval of two seeds cannot be
  wider than from one to the other, which holds the truth in half of all cases (Hesterberg 2015,
  The American Statistician 69, 371: percentile intervals are too short for few values).

Of medians of 2, 3, 5 and 10 seeds on 10, 20 and 34 signals, whether signals, seeds, both or what
seeds do to single signals dominates, these intervals hold the truth in 60 to 76 % of all cases
(`tests/test_uncertainty.py`). They hold it more often where five seeds or more dominate and scatter
by factors (eps_S far below 1): up to 79 %. The lowest of several signals cannot be bootstrapped (an
unseen one may be lower): an interval of `min` says only how much rests on single signals and seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import t as student

from scanner.bootstrap import FEW, ROUNDING, Integers, Replicas, Samples, replicas, resample
from scanner.metrics import EPS_B, interval
from scanner.ranking import DECIMALS, MERITS, RANKINGS, Matrix

RESAMPLES = 600
LEVEL = 0.6827
TAIL = (1 + LEVEL) / 2
EVENTS = ["n_signal", "n_background"]
KEYS = ["name", "channel", "signal"]
# Few words in very many rows; lists are picked by them over and over.
LABELS = dict.fromkeys(("channel", "merit", "method"), "category")
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Uncertainty:
    """What `uncertainty` found.

    Attributes:
        values: A row per channel (`All` or one), merit, method and model: channel, merit, method,
            model, value (as ranked, clean), low, high (68 %), first and first_five (probability of
            place 1, and of places 1 to 5; ties count). The last four are missing where there is
            neither a second seed nor a second signal.
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
        resamples: Number of resamples, a multiple of twenty.
    """
    found = replicas(table, results)
    lists = dict(iter(ranked.groupby(["channel", "merit", "method"], sort=False)))
    values, pairs = [], []
    for merit in MERITS:
        for channel, samples in resample(found, merit, resamples).items():
            freedom = _freedom(found, channel)
            for k, method in enumerate(RANKINGS):
                key = (channel, merit, method)
                places = found.models.get_indexer(pd.Index(lists[key]["model"]))
                some = _Some(samples, k, places, freedom)
                values.append(_value_rows(key, lists[key], some, len(found.selections()[channel])))
                pairs.append(_pair_rows(key, lists[key], some))
    numbers, two = (pd.concat(rows, ignore_index=True).astype(LABELS) for rows in (values, pairs))
    return Uncertainty(numbers, two, tuple(_notes(found)))


def with_intervals(
    table: pd.DataFrame, found: Uncertainty, method: str, channel: str
) -> pd.DataFrame:
    """A short list of one method with the uncertainty of its lines.

    Args:
        table: What `tables.best` returned for the clean convention.
        found: The uncertainty of its ranking.
        method: Its method.
        channel: Its channel or `All`.

    Returns:
        The list with the columns `68 %` (limits of the value), first and first5 (probabilities),
        and like: the lines of the same merit (from 1) that cannot be told from this one.
    """
    values, pairs = (part[(part["channel"] == channel) & (part["method"] == method)]
                     for part in (found.values, found.pairs))  # fmt: skip
    place = table.groupby("merit", sort=False).cumcount() + 1
    line = dict(zip(zip(table["merit"], table["model"], strict=True), place, strict=True))
    same: dict[tuple[str, str], list[int]] = {key: [] for key in line}
    for merit, one, other in pairs.loc[~pairs["apart"], ["merit", "one", "other"]].to_numpy():
        for mine, theirs in (((merit, one), (merit, other)), ((merit, other), (merit, one))):
            if mine in line and theirs in line:
                same[mine].append(line[theirs])
    numbers = values.set_index(["merit", "model"]).loc[list(line)]
    limits = zip(numbers["low"], numbers["high"], strict=True)
    words = ["-" if low != low else f"{low:.3g} to {high:.3g}" for low, high in limits]
    extra = pd.DataFrame({
        "68 %": words, "first": numbers["first"].round(2).to_numpy(),
        "first5": numbers["first_five"].round(2).to_numpy(),
        "like": [", ".join(map(str, sorted(same[key]))) for key in line],
    }, index=table.index)  # fmt: skip
    return table.join(extra)


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


@dataclass(frozen=True)
class _Some:
    """The resamples of one method, for the models of one list."""

    samples: Samples
    method: int
    places: Integers
    freedom: tuple[int, Integers]

    @property
    def spread(self) -> bool:
        """Whether there is anything to resample."""
        signals, seeds = self.freedom
        return signals > 0 or bool((seeds > 0).any())

    def drawn(self, places: Integers) -> tuple[Matrix, Matrix]:
        """The resamples of both and of signals alone, of the models at these places."""
        return (self.samples.both[self.method][..., places],
                self.samples.signals[self.method][..., places])  # fmt: skip


def _freedom(found: Replicas, channel: str) -> tuple[int, Integers]:
    """Degrees of freedom: of the signals, and of the seeds of every model."""
    pairs = found.selections()[channel]
    words = found.pairs["Chan"].to_numpy()[pairs]
    seeds = sum(found.seeds[pairs[words == word]].min(axis=0) - 1 for word in sorted(set(words)))
    return len(found.signals(pairs)) - 1, np.asarray(seeds)


def half_width(both: Matrix, signals: Matrix, freedom: tuple[int, Integers]) -> Matrix:
    """Half the width of 68 % intervals; the formula is at the head of this module.

    Args:
        both: Resamples of seeds and signals, (draws of seeds, draws of signals, values).
        signals: Resamples of signals alone, (draws, values).
        freedom: Degrees of freedom of the signals, and of the seeds, (values,).
    """
    of_signals = signals.var(axis=0, ddof=1)
    of_seeds = np.zeros_like(of_signals)
    if len(both):
        within = both.var(axis=1, ddof=1).mean(axis=0)
        between = both.mean(axis=1).var(axis=0, ddof=1) - within / both.shape[1]
        of_seeds = np.maximum(between - np.maximum(within - of_signals, 0), 0)
    total = of_signals + of_seeds
    squares = of_signals**2 / max(freedom[0], 1) + of_seeds**2 / np.maximum(freedom[1], 1)
    degrees = np.divide(total**2, squares, out=np.ones_like(total), where=squares > 0)
    out: Matrix = student.ppf(TAIL, degrees) * np.sqrt(total)
    return out


def _angle(values: Matrix, largest: float) -> Matrix:
    """Values from 0 to `largest` on the scale of the arcsine."""
    out: Matrix = np.arcsin(np.sqrt(np.clip(values / largest, 0, 1)))
    return out


def _value_rows(key: Key, listed: pd.DataFrame, some: _Some, pairs: int) -> pd.DataFrame:
    method, value = RANKINGS[key[2]], listed["value"].to_numpy(dtype=float)
    largest = pairs if method.counts else max(len(value) - 1, 1) if method.of_places else 1
    numbers = np.full((4, len(listed)), np.nan)
    if some.spread:
        both, signals = (_angle(drawn, largest) for drawn in some.drawn(some.places))
        half = half_width(both, signals, (some.freedom[0], some.freedom[1][some.places]))
        centre = _angle(value, largest)
        limits = np.clip([centre - half, centre + half], 0, np.pi / 2)
        numbers[:2] = (largest * np.sin(limits) ** 2).round(DECIMALS)
        numbers[2] = some.samples.first[some.method, some.places]
        numbers[3] = some.samples.first_few[some.method, some.places]
    found = dict(zip(("low", "high", "first", "first_five"), numbers, strict=True))
    return _labelled(key, {"model": listed["model"].to_numpy(), "value": value, **found})


def _pair_rows(key: Key, listed: pd.DataFrame, some: _Some) -> pd.DataFrame:
    two = np.array(list(combinations(range(min(FEW, len(listed))), 2)), dtype=int).reshape(-1, 2)
    model, value = listed["model"].to_numpy(), listed["value"].to_numpy(dtype=float)
    one, other = two.T
    difference = value[one] - value[other]
    half = np.full(len(two), np.nan)
    if some.spread and len(two):
        ones, others = (some.drawn(some.places[side]) for side in (one, other))
        seeds = np.minimum(*(some.freedom[1][some.places[side]] for side in (one, other)))
        half = half_width(ones[0] - others[0], ones[1] - others[1], (some.freedom[0], seeds))
    return _labelled(key, {
        "one": model[one], "other": model[other], "difference": difference,
        "low": difference - half, "high": difference + half,
        "apart": np.abs(difference) > half + ROUNDING,
    })  # fmt: skip


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
