"""Supersymmetric spectra for PYTHIA as SLHA text (hep-ph/0311123): masses and decays, no mixing.

The lightest neutralino is a bino, the second one and the lighter chargino are winos, and whatever
is given no mass is decoupled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Channel: TypeAlias = tuple[float, tuple[int, ...]]
Decays: TypeAlias = Mapping[int, tuple[float, tuple[Channel, ...]]]

DECOUPLED_GEV = 2.0e4
SQUARKS = (1000001, 1000002, 1000003, 1000004, 2000001, 2000002, 2000003, 2000004)
STOP, GLUINO, BINO, WINO, CHARGINO = 1000006, 1000021, 1000022, 1000023, 1000024
SLEPTONS = (*range(1000011, 1000017), 2000011, 2000013, 2000015)
SPARTICLES = (*SQUARKS, 1000005, STOP, 2000005, 2000006, *SLEPTONS, GLUINO)
# Factors of the decoupled mass that keep the neutralinos and charginos in their order.
GAUGINOS = {BINO: 0.8, WINO: 0.9, CHARGINO: 0.9, 1000025: 1.0, 1000035: 1.05, 1000037: 1.05}
HALF = 2**-0.5
NEUTRALINO_MIXING = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, HALF, HALF), (0, 0, HALF, -HALF))
INPUTS = """BLOCK MODSEL
 1 0
BLOCK SMINPUTS
 1 127.9
 2 1.166E-05
 3 0.118
 4 91.1876
 5 4.18
 6 173.
 7 1.777
BLOCK MINPAR
 3 10.
BLOCK ALPHA
 -0.1
BLOCK HMIX Q= 1000.
 1 5000.
 2 10.
 3 246.
 4 4.E8
BLOCK GAUGE Q= 1000.
 1 0.36
 2 0.64
 3 1.05
"""
UNIT_MIXINGS = ("UMIX", "VMIX", "STOPMIX", "SBOTMIX", "STAUMIX")


def spectrum(masses_gev: Mapping[int, float], decays: Decays) -> str:
    """SLHA text.

    Args:
        masses_gev: Masses of the light sparticles by PDG code.
        decays: PDG code -> total width in GeV and (branching ratio, products) of each decay.
    """
    masses = dict.fromkeys(SPARTICLES, DECOUPLED_GEV)
    masses |= {code: factor * DECOUPLED_GEV for code, factor in GAUGINOS.items()}
    masses |= {24: 80.4, 25: 125.0, 35: 2.0e4, 36: 2.0e4, 37: 2.0e4, **masses_gev}
    lines = [INPUTS + "BLOCK MASS", *(f" {code} {mass:.6g}" for code, mass in masses.items())]
    lines += ["BLOCK NMIX", *(f" {i} {j} {value:.8f}" for i, row in enumerate(NEUTRALINO_MIXING, 1)
                              for j, value in enumerate(row, 1))]
    lines += [f"BLOCK {name}\n 1 1 1.\n 1 2 0.\n 2 1 0.\n 2 2 1." for name in UNIT_MIXINGS]
    for code, (width, channels) in decays.items():
        lines.append(f"DECAY {code} {width:.6g}")
        lines += [f" {ratio:.8f} {len(products)} " + " ".join(map(str, products))
                  for ratio, products in channels]
    return "\n".join(lines) + "\n"
