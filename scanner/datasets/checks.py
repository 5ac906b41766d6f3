"""What no event of a dataset may be, with the number of the first that is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scanner.datasets.published import ROUNDING
from scanner.errors import DataError
from scanner.events import KINDS, Events

PER_EVENT, PER_OBJECT = ("weight", "met", "met_phi"), ("energy", "pt", "eta", "phi")
MAGNITUDES = ("met", "energy", "pt")
MOST_GEV = 50_000.0  # half of what the largest collider that is thought of collides
MOST_ETA = 20.0  # a proton of such a beam has 12
AZIMUTH = (np.pi + ROUNDING, "is not from -pi to pi (is it in radians?)")
LARGEST = {"met_phi": AZIMUTH, "phi": AZIMUTH,
           "eta": (MOST_ETA, f"is not from -{MOST_ETA:g} to {MOST_ETA:g}, where all particles are")}


def check_events(events: Events, where: str, first: int) -> None:
    """Refuse events that no network should see.

    Args:
        events: The events.
        where: What to call them.
        first: Number of the first of them.

    Raises:
        DataError: With the number of an event that is wrong, and what is wrong with it.
    """
    unknown = (events.kind < 1) | (events.kind > len(KINDS))
    faults = {"the event has no object": np.diff(events.offsets) < 1,
              f"kind is not 1 to {len(KINDS)} ({', '.join(KINDS)})": _per_event(events, unknown)}
    for name in (*PER_EVENT, *PER_OBJECT):
        values = getattr(events, name)
        wrong = {"is not a finite number": ~np.isfinite(values)}
        if name in MAGNITUDES:
            wrong |= {"is below zero": values < 0, f"is above {MOST_GEV:,.0f} GeV, which no "
                      "collider reaches (divide by 1000 if it is in MeV)": values > MOST_GEV}
        if name in LARGEST:
            most, text = LARGEST[name]
            wrong[text] = np.abs(values) > most
        faults |= {f"{name} {text}": found if name in PER_EVENT else _per_event(events, found)
                   for text, found in wrong.items()}
    below = events.energy < events.pt * (1.0 - ROUNDING)
    faults["energy is below pt, which no particle's is"] = _per_event(events, below)
    for text, bad in faults.items():
        if bad.any():
            raise DataError(f"{where}: {text}: {which(bad, first)}")


def which(bad: NDArray[np.bool_], first: int) -> str:
    """How many events (N,) are bad, and which; the first of them all has the number `first`."""
    return (f"{int(bad.sum())} events, the first is event {first + int(np.argmax(bad))}; correct "
            "them or leave them out")


def _per_event(events: Events, wrong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which events (N,) have an object that is wrong (M,)."""
    sums = np.concatenate([[0], np.cumsum(wrong)])
    found: NDArray[np.bool_] = sums[events.offsets[1:]] > sums[events.offsets[:-1]]
    return found
