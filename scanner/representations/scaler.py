"""Standardisation fitted on background training events only, and applied to every other event."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from scanner.errors import DataError
from scanner.representations.arrays import Arrays, Inputs, Layout

CHUNK = 1024


@dataclass(frozen=True)
class Scaler:
    """Means and sigmas of one channel's background training events; tensors only.

    Attributes:
        mean: (n, F), or (1, F) where all rows share it.
        sigma: Like `mean`; 1 where a column never varies.
        scale_padding: 0-d bool, false where padding stays 0.
        extra_mean: (7,) of the multiplicities, or (0,) where they are no input.
        extra_sigma: Like `extra_mean`.
        hlf_mean: (3,) of MET, HT, mEff in GeV, or (0,) where they are no input.
        hlf_sigma: Like `hlf_mean`.
    """

    mean: Tensor
    sigma: Tensor
    scale_padding: Tensor
    extra_mean: Tensor
    extra_sigma: Tensor
    hlf_mean: Tensor
    hlf_sigma: Tensor

    def apply(self, arrays: Arrays) -> Inputs:
        """The scaled inputs of a model, in the order of the events."""
        objects = (arrays.objects - self.mean).div_(self.sigma)
        if not self.scale_padding:
            objects.mul_(arrays.mask[..., None])
        counts = arrays.multiplicity[:, : len(self.extra_mean)]
        high_level = arrays.hlf[:, : len(self.hlf_mean)]
        return Inputs(
            objects=objects,
            mask=arrays.mask.to(objects.dtype),
            extra=(counts - self.extra_mean) / self.extra_sigma,
            hlf=(high_level - self.hlf_mean) / self.hlf_sigma,
        )

    def state(self) -> dict[str, Tensor]:
        """The tensors by name, for a weights file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Scaler:
        """The scaler whose `state` this is."""
        return cls(**state)


def fit(arrays: Arrays, layout: Layout, hlf: bool) -> Scaler:
    """A scaler of these events alone.

    Raises:
        DataError: If there is no event.
    """
    if not len(arrays.objects):
        raise DataError("no background training event to fit the scaler on; lower the test split")
    mean, sigma = _moments(arrays.objects[arrays.mask] if layout.masked else arrays.objects)
    if layout.masked:
        mean[layout.kinematic :], sigma[layout.kinematic :] = 0, 1
    extra = arrays.multiplicity if layout.multiplicity else arrays.multiplicity[:, :0]
    extra_mean, extra_sigma = _moments(extra)
    hlf_mean, hlf_sigma = _moments(arrays.hlf if hlf else arrays.hlf[:, :0])
    return Scaler(
        mean=mean.reshape(-1, mean.shape[-1]),
        sigma=sigma.reshape(-1, mean.shape[-1]),
        scale_padding=torch.tensor(not layout.masked),
        extra_mean=extra_mean,
        extra_sigma=extra_sigma,
        hlf_mean=hlf_mean,
        hlf_sigma=hlf_sigma,
    )


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and sigma over the first axis, in double precision; sigma 1 for constants."""
    origin = rows[0].double()
    total, square = torch.zeros(2, *rows.shape[1:], dtype=torch.float64)
    for part in torch.split(rows, CHUNK):
        offset = part.double() - origin
        total += offset.sum(0)
        square += (offset * offset).sum(0)
    shift = total / len(rows)
    sigma = (square / len(rows) - shift * shift).clamp_min(0).sqrt()
    return (origin + shift).float(), torch.where(sigma == 0, 1.0, sigma).float()
