"""What each channel selects (arXiv:2105.14027): MET, HT, leptons and jets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scanner.datasets.published import SELECTIONS
from scanner.events import KIND_CODE, Events, ht, met, multiplicity

LEPTON_PT = 15.0
JET_HT_FRACTION = 1.4  # jets hold at most this of the towers' scalar sum, calibration included


class Jets(NamedTuple):
    """At least `least` jets or b-jets above `pt` (GeV)."""

    least: int
    pt: float


LEPTONS = {"1": 0, "2a": 3, "2b": 2, "3": 0}
JETS = {"1": (Jets(4, 50.0), Jets(1, 200.0)), "2a": (), "2b": (), "3": ()}


def selected(channel: str, events: Events) -> NDArray[np.bool_]:
    """Which events (N,) the channel takes."""
    least, total = SELECTIONS[channel], ht(events)
    chosen = (met(events) >= least.met) & (total >= least.ht)
    chosen &= met(events) >= least.met_over_ht * total
    chosen &= multiplicity(events)[:, KIND_CODE["m+"] - 1:KIND_CODE["g"] - 1].sum(1) >= (
        LEPTONS[channel])
    for jets in JETS[channel]:
        chosen &= _jets_above(events, jets.pt) >= jets.least
    return chosen


def _jets_above(events: Events, pt: float) -> NDArray[np.int64]:
    event = np.repeat(np.arange(len(events)), np.diff(events.offsets))
    chosen = (events.kind <= KIND_CODE["b"]) & (events.pt > pt)
    return np.bincount(event[chosen], minlength=len(events))
