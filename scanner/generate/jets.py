"""Anti-kT jets (arXiv:0802.1189) by FastJet: clustering, calibration, overlap removal, b tags.

Jets start at 25 GeV, where the challenge's start at 20.
"""

from __future__ import annotations

import awkward as ak
import fastjet
import numpy as np

from scanner.events import KIND_CODE
from scanner.generate.particles import (
    Floats,
    Ints,
    Mask,
    Objects,
    Particles,
    Towers,
    delta_phi,
    pairs,
    where,
)

RADIUS, LEAST_PT, LARGEST_ETA = 0.4, 25.0, 4.5
UNCALIBRATED_PT = 12.0
OVERLAP, MATCH = 0.3, 0.3
HADRON_PT, TAG_ETA = 5.0, 2.5
BOTTOM, CHARM = 5, 4
# Correction of the pT of tower jets: the inverse of the median response to particle jets in dijets.
# What is left (reports/benchmarks/closure.md): the median is off by 2.3 % at most in QCD jets; in
# top pairs, whose jets are of other flavours, by 7 % at 25 to 40 GeV and 2 % at 100 to 200 GeV for
# |eta| < 0.8, and by less further out.
CALIBRATION_PT = (15, 20, 25, 30, 40, 55, 80, 120, 200, 350, 600, 1000, 2000)
CALIBRATION_ETA = (0.8, 1.7, 2.5, 3.2)
CALIBRATION = (
    (1.244, 1.233, 1.203, 1.176, 1.145, 1.109, 1.081, 1.055, 1.035, 1.021, 1.013, 1.008, 1.007),
    (1.137, 1.133, 1.111, 1.094, 1.076, 1.059, 1.043, 1.031, 1.021, 1.014, 1.009, 1.004, 1.003),
    (1.038, 1.033, 1.038, 1.025, 1.017, 1.017, 1.015, 1.010, 1.006, 1.006, 1.010, 1.012, 1.012),
    (1.009, 1.004, 1.002, 0.999, 0.998, 1.002, 1.004, 1.000, 1.002, 1.005, 1.005, 1.005, 1.005),
    (1.034, 1.033, 1.025, 1.016, 1.009, 1.007, 1.014, 1.020, 1.020, 1.020, 1.020, 1.020, 1.020),
)


def jets(towers: Towers, particles: Particles, others: Objects, events: int,
         rng: np.random.Generator) -> Objects:
    """Calibrated jets and b-jets that are none of the electrons and photons in `others`."""
    found = calibrated(cluster(towers, events))
    found = where(found, (found.pt > LEAST_PT) & (np.abs(found.eta) < LARGEST_ETA))
    electromagnetic = where(others, others.kind >= KIND_CODE["e+"])
    found = where(found, ~_near(found, electromagnetic, OVERLAP, events))
    tagged = rng.random(len(found.pt)) < _tag_probability(found, particles, events)
    return found._replace(kind=np.where(tagged, KIND_CODE["b"], KIND_CODE["j"]))


def cluster(towers: Towers, events: int) -> Objects:
    """Anti-kT jets of every event, pT before calibration."""
    counts = np.bincount(towers.event, minlength=events)
    pt = towers.energy / np.cosh(towers.eta)
    columns = {"px": pt * np.cos(towers.phi), "py": pt * np.sin(towers.phi),
               "pz": pt * np.sinh(towers.eta), "E": towers.energy}
    momenta = ak.zip({name: ak.unflatten(ak.Array(column), counts)
                      for name, column in columns.items()}, with_name="Momentum4D")
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    found = fastjet.ClusterSequence(momenta, definition).inclusive_jets(min_pt=UNCALIBRATED_PT)
    event = np.repeat(np.arange(events), ak.to_numpy(ak.num(found.px)))
    x, y, z, energy = (ak.to_numpy(ak.flatten(found[name])) for name in ("px", "py", "pz", "E"))
    jet_pt = np.hypot(x, y)
    return Objects(event, np.full(len(event), KIND_CODE["j"]), energy, jet_pt,
                   np.arcsinh(z / jet_pt), np.arctan2(y, x))


def calibrated(found: Objects) -> Objects:
    region = np.digitize(np.abs(found.eta), CALIBRATION_ETA)
    factor = np.ones(len(found.pt))
    for index, row in enumerate(CALIBRATION):
        chosen = region == index
        factor[chosen] = np.interp(np.log(found.pt[chosen]), np.log(CALIBRATION_PT), row)
    return found._replace(pt=found.pt * factor, energy=found.energy * factor)


def _near(found: Objects, others: Objects | Particles, radius: float, events: int) -> Mask:
    """Which jets (J,) lie within `radius` of one of the others."""
    order = np.argsort(others.event, kind="stable")
    left, right = pairs(found.event, others.event[order], events)
    right = order[right]
    close = np.hypot(found.eta[left] - others.eta[right],
                     delta_phi(found.phi[left], others.phi[right])) < radius
    near: Mask = np.bincount(left[close], minlength=len(found.pt)) > 0
    return near


def _holds(code: Ints, quark: int) -> Mask:
    """Which codes are hadrons that hold this quark."""
    hadron = (code > 100) & (code < 100_000)
    mask: Mask = hadron & ((code // 100 % 10 == quark) | (code // 1000 % 10 == quark))
    return mask


def _tag_probability(found: Objects, particles: Particles, events: int) -> Floats:
    """Chance of a b tag: 74 % for b at 150 GeV, less at both ends; a seventh of it for c."""
    hard = particles.pt > HADRON_PT
    bottom, charm = (_near(found, where(particles, hard & _holds(particles.code, quark)), MATCH,
                           events) for quark in (BOTTOM, CHARM))
    away = np.log(np.clip(found.pt, 25.0, 2000.0) / 150.0)
    for_b = np.clip(0.74 - 0.10 * away**2 * np.where(away < 0, 0.45, 0.55), 0.15, 0.8)
    chance = np.where(bottom, for_b, np.where(charm, 0.154 * for_b, 0.004 + 1.2e-5 * found.pt))
    return chance * (np.abs(found.eta) < TAG_ETA)
