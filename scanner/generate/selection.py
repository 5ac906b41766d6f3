"""The channels' selection on generated events: every cut exact, with no slack for rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scanner.datasets.published import JET_PT, LEADING_JET_PT, SELECTIONS
from scanner.events import KIND_CODE, Events, ht, met, multiplicity

JET_HT_FRACTION = 1.4  # jets hold at most this of the towers' scalar sum, calibration included


def selected(channel: str, events: Events) -> NDArray[np.bool_]:
    """Which events (N,) the channel takes; the detector finds no lepton below the least pT."""
    least, total = SELECTIONS[channel], ht(events)
    leptons = multiplicity(events)[:, KIND_CODE["m+"] - 1:KIND_CODE["g"] - 1].sum(axis=1)
    chosen: NDArray[np.bool_] = (met(events) >= least.met) & (total >= least.ht)
    chosen &= (met(events) >= least.met_over_ht * total) & (leptons >= least.leptons)
    return chosen & (_jets_above(events, JET_PT) >= least.jets) & (
        _jets_above(events, LEADING_JET_PT) >= least.leading_jets)


def _jets_above(events: Events, pt: float) -> NDArray[np.int64]:
    event = np.repeat(np.arange(len(events)), np.diff(events.offsets))
    chosen = (events.kind <= KIND_CODE["b"]) & (events.pt > pt)
    return np.bincount(event[chosen], minlength=len(events))
