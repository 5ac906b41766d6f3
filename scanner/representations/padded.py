"""Zero-padded object lists, one block of rows per kind (arXiv:2110.08508, section 3).

Blocks stand in the order jets, b-jets, mu+, mu-, e+, e-, photons, each by falling pT; the columns
are E, pT, eta, phi and the type code 1..7, 0 for padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scanner.errors import DataError
from scanner.events import Events, ht, meff, multiplicity
from scanner.representations.arrays import Arrays, Layout

ALL_OBJECTS = (15, 4, 4, 4, 4, 4, 4)
LEADING_OBJECTS = (4, 3, 3, 3, 3, 3, 3)
MET_CODE = 8


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


def unchanged(objects: Tensor) -> Tensor:
    """The feature map of the paper: none."""
    return objects


def pad(events: Events, layout: Layout) -> Arrays:
    """The leading objects of every kind in fixed rows, the events in their order.

    Args:
        events: Objects in the order of the kinds, by falling pT inside a kind.
        layout: Rows per kind, and the map of the objects to columns.

    Raises:
        DataError: If the objects of an event are in another order.
    """
    cells, kept = _cells(events, layout)
    phi = events.phi
    if layout.met:
        phi = phi - np.repeat(events.met_phi, np.diff(events.offsets))
    columns = (events.energy, events.pt, events.eta, phi, events.kind)
    real = layout.features(_table(*(column[kept] for column in columns)))
    objects = torch.zeros(len(events), layout.rows, real.shape[-1])
    mask = torch.zeros(len(events), layout.rows, dtype=torch.bool)
    objects.flatten(0, 1)[cells], mask.view(-1)[cells] = real, True
    if layout.met:
        zero = np.zeros(len(events), np.float32)
        met = _table(events.met, events.met, zero, zero, zero + MET_CODE)
        objects[:, -1], mask[:, -1] = layout.features(met), True
    return Arrays(
        objects=objects,
        mask=mask,
        multiplicity=torch.from_numpy(multiplicity(events).astype(np.int32)),
        hlf=_table(events.met, ht(events), meff(events)),
        met_phi=torch.from_numpy(events.met_phi.astype(np.float32)),
    )


def _table(*columns: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.stack(columns, axis=1, dtype=np.float32))


def _cells(events: Events, layout: Layout) -> tuple[Tensor, NDArray[np.bool_]]:
    """Numbers of the rows of the kept objects, counted over all events, and which are kept."""
    event = np.repeat(np.arange(len(events)), np.diff(events.offsets))
    kind = events.kind.astype(np.int64)
    rank = _rank(event * 8 + kind, events.pt)
    kept = rank < np.array([0, *layout.slots])[kind]
    first = np.concatenate([[0, 0], np.cumsum(layout.slots)[:-1]])
    cells = (event * layout.rows + first[kind] + rank)[kept]
    return torch.from_numpy(cells), kept


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
