"""Uncertainty of a report's numbers: bootstrap over seeds and signals, and binomial intervals.

Seeds are replicas and signals are a sample of what could be searched for, so both are resampled.
The same resamples serve all models, methods and merits: differences are paired, and the places of
models in one resample belong together.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

RESAMPLES = 1000
LISTED = 5  # models per table that are compared with each other


@dataclass(frozen=True)
class Uncertainty:
    """What `uncertainty` found; every table has no rows where nothing can be resampled.

    Attributes:
        values: A row per channel (`All` or one), merit, method and model: channel, merit, method,
            model, value (as ranked, clean), median, low, high (of the resamples: middle 68 %),
            first and first_five (probability of place 1, and of places 1 to 5; ties count).
        pairs: The models of places 1 to 5, two by two: channel, merit, method, one, other,
            difference (one - other), low, high (68 %), apart (whether 0 is outside).
        notes: One sentence each on what the intervals hold and lack.
    """

    values: pd.DataFrame
    pairs: pd.DataFrame
    notes: tuple[str, ...]


def uncertainty(
    table: pd.DataFrame, results: pd.DataFrame, resamples: int = RESAMPLES
) -> Uncertainty:
    """Intervals, rank stability and undecided pairs of every clean ranking.

    Args:
        table: The ranked models, challenge format; those without seeds have one replica.
        results: Tidy rows with the column `name`; empty without result folders.
        resamples: Number of resamples.
    """
    raise NotImplementedError


def efficiency_intervals(table: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Clopper-Pearson 68 % intervals of every eps_S, from the number of signal test events alone.

    Returns:
        Columns model, channel, signal, merit, eps_s (median over the seeds), low, high, n_signal,
        n_background, passing (background events that the cut lets pass).
    """
    raise NotImplementedError
