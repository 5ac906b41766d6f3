"""From a batch of generated particles to the events that a channel selects.

Cheap cuts that the selection implies come first, so that jets are built for few events only.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scanner.datasets.darkmachines import write_text
from scanner.datasets.parse import parse
from scanner.datasets.published import SELECTIONS
from scanner.events import KIND_CODE, Events
from scanner.generate.detector import calorimeter, leptons_and_photons, missing_momentum
from scanner.generate.jets import jets
from scanner.generate.particles import Floats, Ints, Mask, Objects, Particles, of_events, where
from scanner.generate.selection import JET_HT_FRACTION, selected

Names = NDArray[np.object_]


def reconstruct(particles: Particles, names: Names, channel: str,
                rng: np.random.Generator) -> Events | None:
    """The selected events of a batch, None if there are none.

    Args:
        particles: Particles of all generations.
        names: Process and event ID of each event of the batch, shape (2, N).
        channel: Whose selection.
        rng: Random numbers of the detector.
    """
    least, events = SELECTIONS[channel], names.shape[1]
    others = leptons_and_photons(where(particles, particles.final), events, rng)
    keep = _leptons(others, events) >= least.leptons
    particles, others, names = _keep(keep, particles, others, names)
    events, stable = names.shape[1], where(particles, particles.final)
    towers = calorimeter(stable, rng)
    met, met_phi = missing_momentum(towers, stable, events, rng)
    scalar = np.bincount(towers.event, towers.energy / np.cosh(towers.eta), events)
    keep = (met >= least.met) & (JET_HT_FRACTION * scalar >= least.ht)
    if not keep.any():
        return None
    towers = of_events(towers, keep)
    particles, others, names = _keep(keep, particles, others, names)
    found = jets(towers, particles, others, names.shape[1], rng)
    raw = _events(found, others, met[keep], met_phi[keep], names)
    made = rounded(raw.take(np.diff(raw.offsets) > 0))
    chosen = selected(channel, made)
    return made.take(chosen) if chosen.any() else None


def rounded(events: Events) -> Events:
    """The events as the text format holds them: six significant digits, objects sorted."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.csv"
        write_text(events, path)
        return parse(path.read_bytes())


def _keep(keep: Mask, particles: Particles, others: Objects,
          names: Names) -> tuple[Particles, Objects, Names]:
    return of_events(particles, keep), of_events(others, keep), names[:, keep]


def _leptons(others: Objects, events: int) -> Ints:
    leptons = (others.kind >= KIND_CODE["m+"]) & (others.kind < KIND_CODE["g"])
    return np.bincount(others.event[leptons], minlength=events)


def _events(found: Objects, others: Objects, met: Floats, met_phi: Floats,
            names: Names) -> Events:
    objects = Objects(*(np.concatenate(columns) for columns in zip(found, others, strict=True)))
    order = np.argsort(objects.event, kind="stable")
    counts = np.bincount(objects.event, minlength=len(met))
    energy, pt, eta, phi = (column[order].astype(np.float32) for column in objects[2:])
    return Events(names[0], names[1], np.ones(len(met)), met.astype(np.float32),
                  met_phi.astype(np.float32), np.concatenate([[0], np.cumsum(counts)]),
                  objects.kind[order].astype(np.int8), energy, pt, eta, phi)
