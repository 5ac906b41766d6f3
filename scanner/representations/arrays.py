"""What events become on the way to a model, and how a representation describes itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Arrays(NamedTuple):
    """N encoded events before scaling, in GeV and radians.

    Attributes:
        objects: (N, n, F) float32, padding 0; E, pT, eta, phi, type code for padded object lists.
        mask: (N, n) bool, true for real objects.
        multiplicity: (N, 7) int32, objects of each kind before truncation.
        hlf: (N, 3) float32: MET, HT, mEff.
        met_phi: (N,) float32.
    """

    objects: Tensor
    mask: Tensor
    multiplicity: Tensor
    hlf: Tensor
    met_phi: Tensor


class Inputs(NamedTuple):
    """B events as a model sees them, scaled; any leading batch shape.

    Attributes:
        objects: (B, n, F), kinematic columns first, then those of the type.
        mask: (B, n) float, 1 for real objects.
        extra: (B, X) multiplicities, or (B, 0).
        hlf: (B, 3) high-level features, or (B, 0).
    """

    objects: Tensor
    mask: Tensor
    extra: Tensor
    hlf: Tensor


@dataclass(frozen=True)
class Shape:
    """Sizes of `Inputs`: all that a model needs to know of a representation.

    Attributes:
        slots: n, rows of the object table.
        features: F, columns of the object table.
        extra: X, extra inputs of the encoder.
        hlf: High-level features, inputs that are also reconstructed.
        kinematic: Leading columns that are kinematic; the other columns are the type.
    """

    slots: int
    features: int
    extra: int
    hlf: int
    kinematic: int = 4


@dataclass(frozen=True)
class Layout:
    """A representation: what the encoding, the scaler and the models must know of it.

    Attributes:
        slots: Kept objects per kind, in the order of `events.KINDS`.
        multiplicity: Whether the true multiplicities are an extra input.
        features: Map from objects (R, 5), with columns E, pT, eta, phi and type code, to the
            model's columns (R, F).
        kinematic: Leading kinematic columns of `features`.
        types: Columns of `features` for the object type.
        met: Whether the last row is the MET, a massless object at eta 0 with the type code 8, and
            phi is measured from it.
        masked: Whether the scaler has one mean per kinematic column, over real objects only, and
            leaves padding and type alone; else one per (row, column), padding and type included.
    """

    slots: tuple[int, ...]
    multiplicity: bool
    features: Callable[[Tensor], Tensor]
    kinematic: int = 4
    types: int = 1
    met: bool = False
    masked: bool = False

    @property
    def rows(self) -> int:
        """n, rows of the object table."""
        return sum(self.slots) + self.met
