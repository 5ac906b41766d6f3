"""One row of figures per channel and process of a dataset."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scanner.datasets.files import Dataset, processes, read
from scanner.datasets.published import outside_selection
from scanner.events import KINDS, Events, ht, meff, met, multiplicity


def inspect(dataset: Dataset) -> pd.DataFrame:
    """What a dataset holds.

    Returns:
        One row per channel and process: `events`, the mean number of objects of each kind (`j`,
        `b`, ...), medians `met`, `ht`, `meff` in GeV, the range of `weight`, and
        `outside_selection`, the number of events that miss the channel's MET and HT selection.
    """
    return pd.DataFrame([
        {"channel": channel, "process": process} | _row(channel, read(dataset, channel, process))
        for channel in dataset.channels for process in processes(dataset, channel)
    ])


def _row(channel: str, events: Events) -> dict[str, int | float]:
    means = multiplicity(events).mean(axis=0)
    medians = {f.__name__: float(np.median(f(events))) for f in (met, ht, meff)}
    return {"events": len(events), **dict(zip(KINDS, means.tolist(), strict=True)), **medians,
            "weight_min": float(events.weight.min()), "weight_max": float(events.weight.max()),
            "outside_selection": int(outside_selection(channel, events).sum())}
