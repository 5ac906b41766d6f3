"""Object lists with logarithms, angles from the MET, one-hot types, and MET as an object."""

from __future__ import annotations

import torch
from torch import Tensor

from scanner.representations.arrays import Layout
from scanner.representations.padded import ALL_OBJECTS, MET_CODE


def physics() -> Layout:
    """40 rows (39 objects, MET): ln E, ln pT, eta, sin phi, cos phi and a one-hot type.

    phi is measured from the MET: a turn of the event about the beam changes nothing.
    The scaler sees real objects only, has one mean and sigma per kinematic column, and leaves
    padding and type alone.
    """
    return Layout(
        ALL_OBJECTS,
        multiplicity=False,
        features=features,
        kinematic=5,
        types=MET_CODE,
        met=True,
        masked=True,
    )


def features(objects: Tensor) -> Tensor:
    """(R, 13) columns of `physics`; E and pT below 1 GeV count as 1 GeV."""
    energy, pt, eta, phi, code = objects.unbind(-1)
    kinematic = [energy.clamp_min(1).log(), pt.clamp_min(1).log(), eta, phi.sin(), phi.cos()]
    kinds = [code == kind for kind in range(1, MET_CODE + 1)]
    return torch.stack([*kinematic, *(kind.to(objects.dtype) for kind in kinds)], dim=-1)
