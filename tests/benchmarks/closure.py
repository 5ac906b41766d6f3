"""`python -m tests.benchmarks.closure`: calibrated jets against particle jets, in pT and eta bins.

A particle jet is an anti-kT jet of all stable particles but muons and invisible ones. It is
compared with the tower jet nearest to it where it is away from every other particle jet. Bias is
the median of the ratio of their pT, minus one; width is half of the range of its middle 68 %.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import awkward as ak
import fastjet
import numpy as np

from scanner.generate.detector import calorimeter
from scanner.generate.jets import RADIUS, calibrated, cluster
from scanner.generate.particles import INVISIBLE, delta_phi, pairs, where
from scanner.generate.processes import QCD, TOP_PAIR, Process
from scanner.generate.pythia import Generator
from scanner.store import write_text

from .rows import aligned

REPORT = Path("reports/benchmarks/closure.md")
EVENTS, SEED = 4000, 7
QCD_PT = (15, 40, 100, 250, 600)  # least pT of the hard process, GeV
PT = (25, 40, 60, 100, 200, 400, 800, 1600)
ETA = (0.0, 0.8, 1.7, 2.5, 3.2, 4.5)
MATCH, ALONE, NEIGHBOUR_PT, FEWEST = 0.2, 1.0, 7.0, 50
MUON = 13


def particle_jets(stable, events):
    """Event, pT, eta and phi of the jets of visible particles, in the order of the events."""
    seen = where(stable, ~np.isin(stable.code, (*INVISIBLE, MUON)))
    counts = np.bincount(seen.event, minlength=events)
    columns = {"px": seen.px, "py": seen.py, "pz": seen.pz, "E": seen.energy}
    momenta = ak.zip({name: ak.unflatten(ak.Array(column), counts)
                      for name, column in columns.items()}, with_name="Momentum4D")
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    found = fastjet.ClusterSequence(momenta, definition).inclusive_jets(min_pt=NEIGHBOUR_PT)
    x, y, z = (ak.to_numpy(ak.flatten(found[name])) for name in ("px", "py", "pz"))
    event = np.repeat(np.arange(events), ak.to_numpy(ak.num(found.px)))
    return event, np.hypot(x, y), np.arcsinh(z / np.hypot(x, y)), np.arctan2(y, x)


def apart(one, other, events):
    """All pairs of jets of an event, and how far apart they are."""
    left, right = pairs(one[0], other[0], events)
    return left, right, np.hypot(one[2][left] - other[2][right],
                                 delta_phi(one[3][left], other[3][right]))


def responses(process, events, seed):
    """True pT, |eta|, and measured over true pT, of every matched jet of a process."""
    rng, found = np.random.default_rng(seed), []
    for _, size, particles in Generator(process, seed).batches(events):
        stable = where(particles, particles.final)
        true = particle_jets(stable, size)
        jets = calibrated(cluster(calorimeter(stable, rng), size))
        left, right, distance = apart(true, true, size)
        crowded = np.bincount(left[(distance < ALONE) & (left != right)], minlength=len(true[0]))
        left, right, distance = apart(true, (jets.event, jets.pt, jets.eta, jets.phi), size)
        near = (distance < MATCH) & (crowded[left] == 0)
        true_pt = true[1][left[near]]
        found.append((true_pt, np.abs(true[2][left[near]]), jets.pt[right[near]] / true_pt))
    return np.concatenate(found, axis=1)


def table(found):
    """Bias and width in percent, and the number of jets, for each bin of pT and eta."""
    pt, eta, ratio = found
    lines = [["pT, GeV", *(f"{low} < abs eta < {high}" for low, high in pairwise(ETA))]]
    for low, high in pairwise(PT):
        cells = []
        for inner, outer in pairwise(ETA):
            here = ratio[(pt >= low) & (pt < high) & (eta >= inner) & (eta < outer)]
            below, middle, above = np.quantile(here, (0.16, 0.5, 0.84)) if len(here) else [0] * 3
            cells.append(f"{middle - 1:+.1%}, {(above - below) / 2:.1%} ({len(here)})"
                         if len(here) >= FEWEST else "-")
        lines.append([f"{low} to {high}", *cells])
    return aligned(lines)


def main():
    """Measure and write the report."""
    dijets = [responses(Process("njets", (*QCD, f"PhaseSpace:pTHatMin={pt}")), EVENTS, SEED + pt)
              for pt in QCD_PT]
    top = responses(Process("ttbar", TOP_PAIR), EVENTS, SEED)
    text = (f"# Closure of the jet calibration\n\n`python -m tests.benchmarks.closure`: {EVENTS} "
            f"events of QCD jets above each of {', '.join(map(str, QCD_PT))} GeV, and of top "
            "pairs. Each cell: bias, width (number of jets) of the calibrated over the particle "
            f"jet's pT, in bins of the latter, where there are {FEWEST}.\n\n## QCD jets\n\n"
            f"{table(np.concatenate(dijets, axis=1))}\n\n## Top pairs\n\n{table(top)}\n")
    write_text(REPORT, text)
    print(text)


if __name__ == "__main__":
    main()
