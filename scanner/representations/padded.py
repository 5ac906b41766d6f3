"""Zero-padded object lists, one block of rows per kind (arXiv:2110.08508, section 3).

Blocks stand in the order jets, b-jets, mu+, mu-, e+, e-, photons, each by falling pT; the columns
are E, pT, eta, phi and the type code 1..7, 0 for padding.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from scanner.errors import DataError
from scanner.events import Events, ht, meff, multiplicity
from scanner.representations.arrays import Arrays, Layout

ALL_OBJECTS = (15, 4, 4, 4, 4, 4, 4)
LEADING_OBJECTS = (4, 3, 3, 3, 3, 3, 3)


def all_objects() -> Layout:
    """39 rows: 15 jets and 4 of each other kind."""
    return Layout(ALL_OBJECTS, multiplicity=False, features=unchanged)


def all_objects_mult() -> Layout:
    """`all_objects` and the multiplicities."""
    return Layout(ALL_OBJECTS, multiplicity=True, features=unchanged)


def truncated() -> Layout:
    """22 rows: 4 jets and 3 of each other kind."""
    return Layout(LEADING_OBJECTS, multiplicity=False, features=unchanged)


def truncated_mult() -> Layout:
    """`truncated` and the multiplicities before truncation."""
    return Layout(LEADING_OBJECTS, multiplicity=True, features=unchanged)


def unchanged(arrays: Arrays) -> Arrays:
    """The feature map of the paper: none."""
    return arrays


def pad(events: Events, slots: tuple[int, ...]) -> Arrays:
    """The leading objects of every kind in fixed rows, the events in their order.

    Args:
        events: Objects in the order of the kinds, by falling pT inside a kind.
        slots: Rows per kind.

    Raises:
        DataError: If the objects of an event are in another order.
    """
    total, rows = len(events), sum(slots)
    event = np.repeat(np.arange(total), np.diff(events.offsets))
    kind = events.kind.astype(np.int64)
    rank = _rank(event * 8 + kind, events.pt)
    keep = rank < np.array([0, *slots])[kind]
    first = np.concatenate([[0, 0], np.cumsum(slots)[:-1]])
    row = (event * rows + first[kind] + rank)[keep]
    objects = np.zeros((total * rows, 5), np.float32)
    for column, name in enumerate(("energy", "pt", "eta", "phi", "kind")):
        objects[row, column] = getattr(events, name)[keep]
    mask = np.zeros(total * rows, np.bool_)
    mask[row] = True
    high_level = np.stack([events.met, ht(events), meff(events)], axis=1).astype(np.float32)
    return Arrays(
        objects=torch.from_numpy(objects.reshape(total, rows, 5)),
        mask=torch.from_numpy(mask.reshape(total, rows)),
        multiplicity=torch.from_numpy(multiplicity(events).astype(np.int32)),
        hlf=torch.from_numpy(high_level),
        met_phi=torch.from_numpy(events.met_phi.astype(np.float32)),
    )


def _rank(group: NDArray[np.int64], pt: NDArray[np.float32]) -> NDArray[np.int64]:
    """Position of every object inside its run of equal `group` numbers."""
    step = np.diff(group)
    if ((step < 0) | ((step == 0) & (np.diff(pt) > 0))).any():
        raise DataError(
            "objects are not in the order of the kinds and by falling pT inside a kind; "
            "import the dataset again, or sort the events"
        )
    position = np.arange(len(group))
    start = np.concatenate([np.ones(min(1, len(group)), np.bool_), step > 0])
    rank: NDArray[np.int64] = position - np.maximum.accumulate(np.where(start, position, 0))
    return rank
