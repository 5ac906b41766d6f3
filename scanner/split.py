"""The one division of a channel's background into training, validation and test events."""

from __future__ import annotations

import numpy as np

from scanner.errors import DataError
from scanner.trial import PUBLISHED_TEST, Split

PUBLISHED = {"1": 10_000, "2a": 5_868, "2b": 89_000, "3": 1_025_333}


def split_indices(events: int, split: Split, channel: str) -> tuple[np.ndarray, ...]:
    """Rows of the training, validation and test events: every event in exactly one, sorted.

    Args:
        events: Number of background events.
        split: The fractions or numbers.
        channel: Channel, for the published numbers of test events (arXiv:2110.08508, Table 1).

    Raises:
        DataError: If a part would be empty.
    """
    _, validation, test = split_sizes(events, split, channel)
    order = np.random.default_rng(split.seed).permutation(events)
    cuts = np.split(order, [test, test + validation])
    return np.sort(cuts[2]), np.sort(cuts[1]), np.sort(cuts[0])


def split_sizes(events: int, split: Split, channel: str) -> tuple[int, int, int]:
    """Numbers of the training, validation and test events of `split_indices`, its errors too."""
    wanted = PUBLISHED.get(channel, 0) if split.test == PUBLISHED_TEST else split.test
    test = round(wanted * events) if wanted < 1 else int(wanted)
    validation = round(split.validation * (events - test))
    if min(test, validation, events - test - validation) < 1:
        text = f"channel {channel}: {events} background events cannot give {test} for the test and"
        raise DataError(f"{text} {validation} for validation; change `split` in the grid")
    return events - test - validation, validation, test
