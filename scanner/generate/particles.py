"""Particles and reconstructed objects of many events as flat columns, GeV and radians."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
T = TypeVar("T", "Particles", "Towers", "Objects")
DARK_MATTER, NEUTRALINO = 52, 1000022
INVISIBLE = (12, 14, 16, DARK_MATTER, NEUTRALINO)


class Particles(NamedTuple):
    """Generated particles (P,) of all generations, grouped by event.

    Attributes:
        event: Number of the event in the batch, rising.
        code: Absolute PDG code.
        sign: Sign of the PDG code, +-1.
        final: Whether the particle is stable.
        px, py, pz, energy: Momentum and energy, GeV.
        pt, eta, phi: The same in the detector's coordinates.
    """

    event: Ints
    code: Ints
    sign: Ints
    final: Mask
    px: Floats
    py: Floats
    pz: Floats
    energy: Floats
    pt: Floats
    eta: Floats
    phi: Floats


class Towers(NamedTuple):
    """Calorimeter towers (T,) with energy in them, GeV."""

    event: Ints
    energy: Floats
    eta: Floats
    phi: Floats


class Objects(NamedTuple):
    """Reconstructed objects (M,): kind as in `scanner.events.KINDS`, from 1; GeV, radians."""

    event: Ints
    kind: Ints
    energy: Floats
    pt: Floats
    eta: Floats
    phi: Floats


def where(columns: T, mask: Mask | Ints) -> T:
    """The rows of a table where a mask is set, or at these indices."""
    return type(columns)(*(column[mask] for column in columns))  # type: ignore[arg-type]


def of_events(columns: T, keep: Mask) -> T:
    """The rows of the kept events (N,), which are numbered anew from 0."""
    chosen = where(columns, keep[columns.event])
    return chosen._replace(event=(np.cumsum(keep) - 1)[chosen.event])


def delta_phi(first: Floats, second: Floats) -> Floats:
    """Difference of azimuths, in [0, pi]."""
    apart = np.abs(first - second) % (2 * np.pi)
    return np.minimum(apart, 2 * np.pi - apart)


def pairs(left: Ints, right: Ints, events: int) -> tuple[Ints, Ints]:
    """Indices of all pairs of rows in the same event.

    Args:
        left: Event of each row of a table, in any order.
        right: Event of each row of another table, rising.
        events: Number of events.
    """
    counts = np.bincount(right, minlength=events)
    starts = np.cumsum(counts) - counts
    repeats = counts[left]
    first = np.repeat(np.arange(len(left)), repeats)
    inside = np.arange(len(first)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    return first, np.repeat(starts[left], repeats) + inside
