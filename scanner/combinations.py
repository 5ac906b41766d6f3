"""Combinations of two scores: `a+b` is the average of an event's ranks by a and by b.

A rank is counted among the background test events of the trial, so that both scores weigh the same
whatever their units. No event is stored with it: two stored scores give it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from scanner.registry import SCORES

Scores = Mapping[str, Mapping[str, NDArray[np.floating]]]


def name_of(scores: Iterable[str]) -> str:
    """Name of a score or of a combination: its words in the order of the registry."""
    return "+".join(sorted(scores, key=list(SCORES).index))


def rank_averages(scores: Scores, prefix: str = "") -> dict[str, dict[str, NDArray[np.floating]]]:
    """Every combination of two scores, by process as the scores are, `background` among them.

    Args:
        scores: Process -> name of a score, after `prefix` -> one number per event.
        prefix: What precedes the names of the scores, and will precede those of the combinations.
    """
    names = [name for name in SCORES if prefix + name in scores["background"]]
    ranks = {
        process: {name: _ranks(scores["background"][prefix + name], values[prefix + name])
                  for name in names}
        for process, values in scores.items()
    }  # fmt: skip
    return {
        process: {prefix + name_of(pair): (found[pair[0]] + found[pair[1]]) / 2
                  for pair in combinations(names, 2)}
        for process, found in ranks.items()
    }  # fmt: skip


def _ranks(background: NDArray[np.floating], values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Background events below each value, ties counted half: whole and half numbers, exact."""
    ordered = np.sort(background)
    below = np.searchsorted(ordered, values, "left")
    return (below + np.searchsorted(ordered, values, "right")) / 2
