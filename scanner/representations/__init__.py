"""Representations: how events become arrays, and arrays the inputs of a model.

A registered representation is a function that returns its `Layout`.
"""

from __future__ import annotations

from scanner.events import Events
from scanner.registry import REPRESENTATIONS, resolve
from scanner.representations import scaler as scaling
from scanner.representations.arrays import Arrays, Inputs, Layout, Shape
from scanner.representations.padded import pad
from scanner.representations.scaler import Scaler
from scanner.trial import Variant

__all__ = ["Arrays", "Inputs", "Layout", "Scaler", "Shape", "encode", "fit_scaler", "shape_of"]


def encode(representation: Variant, events: Events) -> Arrays:
    """Events as arrays, in their order; kept objects are the leading ones of their kind."""
    return pad(events, layout_of(representation))


def fit_scaler(arrays: Arrays, representation: Variant, hlf: bool) -> Scaler:
    """The scaler of a representation, from background training events and nothing else."""
    return scaling.fit(arrays, layout_of(representation), hlf)


def shape_of(representation: Variant, hlf: bool) -> Shape:
    """Sizes of the inputs that `encode` and the scaler make."""
    layout = layout_of(representation)
    return Shape(
        slots=layout.rows,
        features=layout.kinematic + layout.types,
        extra=len(layout.slots) if layout.multiplicity else 0,
        hlf=3 if hlf else 0,
        kinematic=layout.kinematic,
    )


def layout_of(representation: Variant) -> Layout:
    """What a representation's name and settings stand for."""
    layout: Layout = resolve(REPRESENTATIONS[representation.name])(**representation.get())
    return layout
