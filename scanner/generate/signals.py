"""Signals by the challenge's names, which carry the masses; any masses that leave decays open.

All is leading order, without mixing, and with decays of our own choice. What stands in for
something else: `sqsq1` conserves R parity and its bino is stable, where the challenge's violates
it, so that ours has too much MET; the monojet is Z + jet at the mass of the Z'; monoV is a Z' and a
Higgs at the mass of the Z; the monotop is a bino and a squark at the mass of the top. `pp23mt_50`
and `pp24mt_50`, the Z' of L_mu - L_tau, are missing: made by PYTHIA as three-body decays, one event
of 10^3 to 10^4 is selected.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from scanner.generate.processes import (
    POWER_SHOWERS,
    W_TO_LEPTONS,
    Z_TO_LEPTONS,
    Gate,
    Process,
)
from scanner.generate.slha import (
    BINO,
    CHARGINO,
    GLUINO,
    SQUARKS,
    STOP,
    WINO,
    Decays,
    spectrum,
)

Builder: TypeAlias = Callable[[list[float]], tuple[tuple[str, ...], str]]

GLUINOS = ("SUSY:gg2gluinogluino=on", "SUSY:qqbar2gluinogluino=on")
STOPS = ("SUSY:gg2squarkantisquark=on", "SUSY:qqbar2squarkantisquark=on", f"SUSY:idA={STOP}")
SQUARK_PAIRS = ("SUSY:gg2squarkantisquark=on", "SUSY:qqbar2squarkantisquark=on",
                "SUSY:qq2squarksquark=on")
GAUGINO_DECAYS: Decays = {CHARGINO: (0.1, ((1.0, (BINO, 24)),)), WINO: (0.1, ((1.0, (BINO, 23)),))}
W_LEPTONIC, Z_LEPTONIC = 0.3257, 0.1010  # branching ratios into e, mu, tau
SIGNAL_CHUNK = 1000
LEPTONS = {"2a": 3, "2b": 2}


class Family(NamedTuple):
    """Signals that differ in masses.

    Attributes:
        example: A name of it.
        pattern: Regular expression of the names, one group per mass in GeV.
        gap_gev: By how much the first mass must exceed the second, or decays are closed.
        build: Masses -> PYTHIA settings and spectrum.
        decays_to: How many particles of the second mass come from one of the first.
        least_gev: Least first mass; far below it PYTHIA searches for an event without end.
    """

    example: str
    pattern: str
    gap_gev: float
    build: Builder
    decays_to: int = 1
    least_gev: float = 0.0


def _gluinos_to_quarks(masses: list[float]) -> tuple[tuple[str, ...], str]:
    decays = tuple((0.2, (quark, -quark, BINO)) for quark in range(1, 6))
    return GLUINOS, spectrum({GLUINO: masses[0], BINO: masses[1]}, {GLUINO: (1.0, decays)})


def _gluinos_to_tops(masses: list[float]) -> tuple[tuple[str, ...], str]:
    return GLUINOS, spectrum({GLUINO: masses[0], BINO: masses[1]},
                             {GLUINO: (1.0, ((1.0, (6, -6, BINO)),))})


def _stops_by_charginos(masses: list[float]) -> tuple[tuple[str, ...], str]:
    stop, bino = masses
    middle = bino + 0.43 * (stop - bino)
    light = {STOP: stop, BINO: bino, CHARGINO: middle, WINO: middle}
    return STOPS, spectrum(light, {STOP: (1.0, ((1.0, (CHARGINO, 5)),)), **GAUGINO_DECAYS})


def _stops_to_leptons(masses: list[float]) -> tuple[tuple[str, ...], str]:
    return STOPS, spectrum({STOP: masses[0]},
                           {STOP: (1.0, ((0.5, (-11, 5)), (0.5, (-13, 5))))})


def _squarks(codes: tuple[int, ...]) -> Builder:
    def build(masses: list[float]) -> tuple[tuple[str, ...], str]:
        light = dict.fromkeys(codes, masses[0]) | {BINO: masses[1]}
        decays = {code: (1.0, ((1.0, (BINO, code % 10)),)) for code in codes}
        return SQUARK_PAIRS, spectrum(light, decays)

    return build


def _gauginos(*settings: str) -> Builder:
    def build(masses: list[float]) -> tuple[tuple[str, ...], str]:
        light = {CHARGINO: masses[0], WINO: masses[0], BINO: masses[1]}
        return settings, spectrum(light, GAUGINO_DECAYS)

    return build


def _z_prime_and_jet(masses: list[float]) -> tuple[tuple[str, ...], str]:
    """The 2 -> 2 "Z + jet" with the Z at the mass of the Z'; its neutrinos are the dark matter.

    Only the sum of their momenta is seen, so that the mass of the dark matter has no effect.
    """
    return ("WeakBosonAndParton:qqbar2gmZg=on", "WeakBosonAndParton:qg2gmZq=on", "WeakZ0:gmZmode=2",
            f"23:m0={masses[0]:g}", f"23:mMin={masses[0] / 2:g}", "23:onMode=off",
            "23:onIfAny=12 14 16", "PhaseSpace:pTHatMin=200.", *POWER_SHOWERS), ""


def _z_prime_and_boson(masses: list[float]) -> tuple[tuple[str, ...], str]:
    """Z' -> dark matter with a Higgs at the Z mass that decays to quarks."""
    return ("DM:ffbar2ZpH=on", f"55:m0={masses[0]:g}", f"52:m0={masses[1]:g}", "55:onMode=off",
            "55:onIfAny=52", "25:m0=91.19", "25:mMin=60.", "25:mMax=120.", "25:onMode=off",
            "25:onIfAny=1 2 3 4 5"), ""


def _invisible_and_top(masses: list[float]) -> tuple[tuple[str, ...], str]:
    """A bino with a squark at the top mass that decays as a top."""
    squark = SQUARKS[1]
    return (("SUSY:qg2chi0squark=on", f"SUSY:idA={BINO}", f"SUSY:idB={squark}"),
            spectrum({squark: 173.0, BINO: masses[0]}, {squark: (1.5, ((1.0, (5, 24)),))}))


MASS = r"(\d+(?:\.\d+)?)"
FAMILIES = {
    "gluino pairs, to quarks": Family(
        "glgl1400_neutralino1100", f"glgl{MASS}_neutralino{MASS}", 20.0, _gluinos_to_quarks),
    "gluino pairs, to tops": Family(
        "gluino_1000.0_neutralino_1.0", f"gluino_{MASS}_neutralino_{MASS}", 350.0,
        _gluinos_to_tops),
    "stop pairs": Family(
        "stop2b1000_neutralino300", f"stop2b{MASS}_neutralino{MASS}", 250.0, _stops_by_charginos),
    "stop pairs, R-parity violating": Family(
        "stlp_st1000", f"stlp_st{MASS}", 0, _stops_to_leptons, least_gev=100.0),
    "squark pairs, left squarks of two generations": Family(
        "sqsq1_sq1400_neut800", f"sqsq1_sq{MASS}_neut{MASS}", 5.0, _squarks(SQUARKS[:4])),
    "squark pairs": Family(
        "sqsq_sq1800_neut800", f"sqsq_sq{MASS}_neut{MASS}", 5.0, _squarks(SQUARKS)),
    "chargino and neutralino": Family(
        "chaneut_cha200_neut50", f"chaneut_cha{MASS}_neut{MASS}", 92.0,
        _gauginos("SUSY:qqbar2chi+-chi0=on", f"SUSY:idA={CHARGINO}", f"SUSY:idB={WINO}")),
    "chargino pairs": Family(
        "chacha_cha300_neut140", f"chacha_cha{MASS}_neut{MASS}", 81.0,
        _gauginos("SUSY:qqbar2chi+chi-=on", f"SUSY:idA={CHARGINO}", f"SUSY:idB={CHARGINO}")),
    "Z' to dark matter, and a jet": Family(
        "monojet_Zp2000.0_DM_50.0", f"monojet_Zp{MASS}_DM_{MASS}", 0, _z_prime_and_jet,
        decays_to=2),
    "Z' to dark matter, and a W or Z": Family(
        "monoV_Zp2000.0_DM_1.0", f"monoV_Zp{MASS}_DM_{MASS}", 0, _z_prime_and_boson, decays_to=2),
    "invisible particle and a top": Family(
        "monotop_200_A", f"monotop_{MASS}_A", 0, _invisible_and_top),
}


def signal(name: str, channel: str) -> Process:
    """The signal of this name in a channel; leptonic channels ask for leptons early.

    Raises:
        ValueError: No family has such names, or the masses close the decays; the text says what
            would be right.
    """
    for family in FAMILIES.values():
        if match := re.fullmatch(family.pattern, name):
            masses = [float(mass) for mass in match.groups()]
            _check(family, masses)
            settings, slha = family.build(masses)
            made = Process(name, settings, Gate(LEPTONS.get(channel, 0)), chunk=SIGNAL_CHUNK,
                           slha=slha)
            return _forced(made, channel)
    known = ", ".join(family.example for family in FAMILIES.values())
    raise ValueError(f"one of these, with any masses: {known}")


def _check(family: Family, masses: list[float]) -> None:
    if not all(0.0 < mass <= 6000.0 for mass in masses):
        raise ValueError("a name with masses above 0 and up to 6000 GeV")
    if masses[0] < family.least_gev:
        raise ValueError(f"a name with a mass of {family.least_gev:g} GeV or more")
    products_gev = family.gap_gev + family.decays_to * sum(masses[1:])
    if masses[0] <= products_gev:
        raise ValueError(f"a name with the first mass above {products_gev:g} GeV, or its decays "
                         "are closed")


def _forced(process: Process, channel: str) -> Process:
    """Leptonic decays of W and Z where nothing else can pass; the ratios go into `scale`.

    PYTHIA does not fold forced decays inside SLHA cascades into its cross section.
    """
    if process.name.startswith("chacha") and channel in LEPTONS:
        return replace(process, settings=process.settings + W_TO_LEPTONS, scale=W_LEPTONIC**2)
    if process.name.startswith("chaneut") and channel == "2a":
        return replace(process, settings=process.settings + Z_TO_LEPTONS + W_TO_LEPTONS,
                       scale=Z_LEPTONIC * W_LEPTONIC)
    if process.name.startswith("chaneut") and channel == "2b":
        return replace(process, settings=process.settings + Z_TO_LEPTONS, scale=Z_LEPTONIC)
    return process
