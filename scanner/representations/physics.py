"""Object lists with logarithms, angles without a seam, one-hot types, and MET as an object."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from scanner.representations.arrays import Arrays, Layout
from scanner.representations.padded import ALL_OBJECTS

MET_CODE = 8


def physics() -> Layout:
    """40 rows (39 objects, MET): ln E, ln pT, eta, sin phi, cos phi and a one-hot type.

    The scaler sees real objects only, has one mean and sigma per kinematic column, and leaves
    padding and type alone.
    """
    return Layout(
        ALL_OBJECTS,
        multiplicity=False,
        features=features,
        kinematic=5,
        types=8,
        added=1,
        masked=True,
    )


def features(arrays: Arrays) -> Arrays:
    """The columns of `physics`; energies below 1 GeV count as 1 GeV, padding stays 0."""
    objects = torch.cat([arrays.objects, _met_object(arrays)[:, None]], dim=1)
    mask = torch.cat([arrays.mask, arrays.mask.new_ones(len(arrays.mask), 1)], dim=1)
    energy, pt, eta, phi, code = objects.unbind(-1)
    kinematic = [energy.clamp_min(1).log(), pt.clamp_min(1).log(), eta, phi.sin(), phi.cos()]
    kind = one_hot(code.long(), MET_CODE + 1)[..., 1:]
    table = torch.cat([torch.stack(kinematic, dim=-1), kind.to(objects.dtype)], dim=-1)
    return arrays._replace(objects=table * mask[..., None], mask=mask)


def _met_object(arrays: Arrays) -> Tensor:
    """(N, 5): a massless object of the size and direction of the MET, at eta 0."""
    met, code = arrays.hlf[:, 0], torch.full_like(arrays.met_phi, MET_CODE)
    return torch.stack([met, met, torch.zeros_like(met), arrays.met_phi, code], dim=1)
