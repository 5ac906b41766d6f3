"""A parametric detector with numbers typical of a general-purpose one: towers, leptons, photons.

| part | response |
|---|---|
| field | 2 T: charged particles below 0.35 GeV (abs eta < 2) curl up, others hit at a shifted phi |
| towers | 0.1 x 2 pi / 64, twice that beyond abs eta 3.2, up to 4.9 |
| electromagnetic | 10 % / sqrt(E) + 0.7 %; forward 28.5 % + 3.5 % |
| hadronic | 52 % / sqrt(E) + 3 % + 1.6 GeV up to abs eta 1.7; 70 % + 5 %; forward 100 % + 9 % |
| threshold | 2 sigma of the tower, and 0.5 GeV electromagnetic, 1 GeV hadronic |
| electrons | abs eta < 2.47 without 1.37-1.52, efficiency 88 %, 78 % beyond 1.5, less at low pT |
| muons | abs eta < 2.7, efficiency 95 % (60 % below 0.1), resolution 1.8 % + 0.012 %/GeV pT |
| photons | abs eta < 2.37 without the gap, efficiency 85 %, pT > 20 GeV |
| MET | towers, and 96 % of the muons above 4 GeV with their true momenta, not the measured ones |
| isolation | pT in a cone of 0.4 below 12 % (muons 20 %) of the object's; leptons pT > 15 GeV |
"""

from __future__ import annotations

import numpy as np

from scanner.events import KIND_CODE
from scanner.generate.particles import (
    INVISIBLE,
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

ELECTRON, MUON, PHOTON = 11, 13, 22
CHARGED = (11, 13, 211, 321, 2212, 3112, 3222, 3312, 3334)
PARTLY_ELECTROMAGNETIC = {11: 1.0, 22: 1.0, 310: 0.3, 3122: 0.3}
LARGEST_CODE = 6000
EDGE, STEP, FORWARD, COLUMNS = 4.9, 0.1, 3.2, 64
ROWS = round(2 * EDGE / STEP)
CURL_PT, FIELD_ETA = 0.35, 2.0
MUON_SEEN, MUON_SEEN_PT = 0.96, 4.0
CONE = 0.4


def _table(values: dict[int, float]) -> Floats:
    table = np.zeros(LARGEST_CODE)
    table[list(values)] = list(values.values())
    return table


IS_CHARGED = _table(dict.fromkeys(CHARGED, 1.0)) > 0
IS_HIDDEN = _table({code: 1.0 for code in (*INVISIBLE, MUON) if code < LARGEST_CODE}) > 0
ELECTROMAGNETIC = _table(PARTLY_ELECTROMAGNETIC)


def calorimeter(stable: Particles, rng: np.random.Generator) -> Towers:
    """The towers that stable particles leave, muons and invisible ones not among them."""
    hit = _reaching(stable)
    code = np.minimum(hit.code, LARGEST_CODE - 1)
    sideways = np.where(rng.random(len(hit.pt)) < 0.5, -1.0, 1.0)
    bend = np.arcsin(np.minimum(1.0, 0.345 / np.maximum(hit.pt, 0.345)))
    curved = IS_CHARGED[code] & (np.abs(hit.eta) < FIELD_ETA)
    key, inverse = np.unique(_cell(hit, hit.phi + np.where(curved, sideways * bend, 0.0)),
                             return_inverse=True)
    fraction = ELECTROMAGNETIC[code]
    electromagnetic, hadronic = (_sums(inverse, hit.energy * part, len(key))
                                 for part in (fraction, 1.0 - fraction))
    return _measured(key, electromagnetic, hadronic, rng)


def _reaching(stable: Particles) -> Particles:
    code = np.minimum(stable.code, LARGEST_CODE - 1)
    hidden = IS_HIDDEN[code] | np.isin(stable.code, INVISIBLE)
    curling = IS_CHARGED[code] & (stable.pt < CURL_PT) & (np.abs(stable.eta) < FIELD_ETA)
    inside = (np.abs(stable.eta) < EDGE) & (stable.energy > 0.0)
    return where(stable, inside & ~hidden & ~curling)


def _sums(index: Ints, values: Floats, rows: int) -> Floats:
    return np.bincount(index, values, rows).astype(np.float64)


def _cell(hit: Particles, phi: Floats) -> Ints:
    """One number per event and tower; forward towers are twice as wide both ways."""
    row = np.clip(np.floor((hit.eta + EDGE) / STEP).astype(np.int64), 0, ROWS - 1)
    column = np.floor(phi % (2 * np.pi) / (2 * np.pi) * COLUMNS).astype(np.int64) % COLUMNS
    forward = np.abs(hit.eta) > FORWARD
    row, column = (np.where(forward, index // 2 * 2, index) for index in (row, column))
    cells: Ints = (hit.event * ROWS + row) * COLUMNS + column
    return cells


def _measured(key: Ints, electromagnetic: Floats, hadronic: Floats,
              rng: np.random.Generator) -> Towers:
    """Towers after resolution and threshold, at a random point inside each."""
    row, column = key // COLUMNS % ROWS, key % COLUMNS
    depth = np.abs(-EDGE + STEP * (row + 0.5))
    width = np.where(depth > FORWARD, 2.0, 1.0)
    eta = -EDGE + STEP * (row + width * rng.random(len(key)))
    phi = 2 * np.pi / COLUMNS * (column + width * rng.random(len(key)))
    energy = _smeared(electromagnetic, _electromagnetic_sigma(electromagnetic, depth), 0.5, rng)
    energy += _smeared(hadronic, _hadronic_sigma(hadronic, depth), 1.0, rng)
    return where(Towers(key // (COLUMNS * ROWS), energy, eta, phi), energy > 0.0)


def _electromagnetic_sigma(energy: Floats, depth: Floats) -> Floats:
    forward = depth > FORWARD
    stochastic, constant = np.where(forward, 0.285, 0.10), np.where(forward, 0.035, 0.007)
    sigma: Floats = np.sqrt(stochastic**2 * energy + (constant * energy) ** 2)
    return sigma


def _hadronic_sigma(energy: Floats, depth: Floats) -> Floats:
    region = np.digitize(depth, [1.7, FORWARD])
    stochastic, constant, noise = (np.array(values)[region] for values in (
        (0.52, 0.70, 1.00), (0.03, 0.05, 0.09), (1.6, 0.0, 0.0)))
    sigma: Floats = np.sqrt(stochastic**2 * energy + (constant * energy) ** 2 + noise**2)
    return sigma


def _smeared(energy: Floats, sigma: Floats, least: float, rng: np.random.Generator) -> Floats:
    seen = energy + sigma * rng.standard_normal(len(energy))
    return np.where((energy > 0.0) & (seen > least) & (seen > 2.0 * sigma), seen, 0.0)


def missing_momentum(towers: Towers, stable: Particles, events: int,
                     rng: np.random.Generator) -> tuple[Floats, Floats]:
    """MET (N,) in GeV and its azimuth, from towers and muons."""
    muons = where(stable, (stable.code == MUON) & (np.abs(stable.eta) < 2.7)
                  & (stable.pt > MUON_SEEN_PT) & (rng.random(len(stable.pt)) < MUON_SEEN))
    pt = towers.energy / np.cosh(towers.eta)
    x, y = (-np.bincount(towers.event, pt * turn(towers.phi), events)
            - np.bincount(muons.event, momentum, events)
            for turn, momentum in ((np.cos, muons.px), (np.sin, muons.py)))
    return np.hypot(x, y), np.arctan2(y, x)


def leptons_and_photons(stable: Particles, events: int, rng: np.random.Generator) -> Objects:
    """Identified and isolated electrons, muons and photons."""
    candidates = np.flatnonzero(_candidates(stable))
    found = where(stable, candidates)
    identified = rng.random(len(candidates)) < _efficiency(found)
    spread = _resolution(found) * rng.standard_normal(len(candidates))
    scale = np.clip(1.0 + spread, 0.2, 2.0)
    muon, photon = found.code == MUON, found.code == PHOTON
    loose = _cone_pt(stable, candidates, events) < np.where(muon, 0.20, 0.12) * found.pt
    good = identified & loose & (found.pt * scale > np.where(photon, 20.0, 15.0))
    code = np.where(muon, 1, 3) + KIND_CODE["m+"] - 1
    kind = np.where(photon, KIND_CODE["g"], code + (found.sign > 0))
    return where(Objects(found.event, kind, found.energy * scale, found.pt * scale, found.eta,
                         found.phi), good)


def _candidates(stable: Particles) -> Mask:
    depth = np.abs(stable.eta)
    gap = (depth > 1.37) & (depth < 1.52)
    electron = (stable.code == ELECTRON) & (depth < 2.47) & (stable.pt > 12.0) & ~gap
    muon = (stable.code == MUON) & (depth < 2.7) & (stable.pt > 12.0)
    photon = (stable.code == PHOTON) & (depth < 2.37) & (stable.pt > 17.0) & ~gap
    found: Mask = electron | muon | photon
    return found


def _efficiency(found: Particles) -> Floats:
    depth = np.abs(found.eta)
    electron = np.where(depth < 1.5, 0.88, 0.78) * (1 - 0.25 * np.exp((10.0 - found.pt) / 12.0))
    muon = np.where(depth < 0.1, 0.60, 0.95)
    return np.where(found.code == ELECTRON, electron, np.where(found.code == MUON, muon, 0.85))


def _resolution(found: Particles) -> Floats:
    """Relative resolution: tracks for muons, the calorimeter for the others."""
    calorimeter = np.sqrt(0.10**2 / found.energy + 0.007**2 + (0.2 / found.energy) ** 2)
    return np.where(found.code == MUON, np.hypot(0.018, 1.2e-4 * found.pt), calorimeter)


def _cone_pt(stable: Particles, candidates: Ints, events: int) -> Floats:
    """Sum of pT of the visible particles around each candidate, muons not among them."""
    code = np.minimum(stable.code, LARGEST_CODE - 1)
    hidden = IS_HIDDEN[code] | np.isin(stable.code, INVISIBLE)
    visible = np.flatnonzero(~hidden & (stable.pt > 0.5) & (np.abs(stable.eta) < 3.2))
    left, right = pairs(stable.event[candidates], stable.event[visible], events)
    one, other = candidates[left], visible[right]
    near = np.hypot(stable.eta[one] - stable.eta[other],
                    delta_phi(stable.phi[one], stable.phi[other])) < CONE
    near &= one != other
    return _sums(left[near], stable.pt[other[near]], len(candidates))
