"""What the challenge publishes about its files (arXiv:2105.14027): selections and event counts."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scanner.events import KIND_CODE, Events, ht


class Selection(NamedTuple):
    """Lowest values of a channel's selection; momenta in GeV.

    Attributes:
        met: MET.
        ht: HT.
        met_over_ht: MET / HT.
        leptons: Number of electrons and muons with pT > 15 GeV.
        jets: Number of jets and b-jets with pT > 50 GeV.
        leading_jets: Number of jets and b-jets with pT > 200 GeV.
    """

    met: float
    ht: float = 0.0
    met_over_ht: float = 0.0
    leptons: int = 0
    jets: int = 0
    leading_jets: int = 0


Cuts: TypeAlias = dict[str, tuple[float, NDArray[np.bool_]]]
NO_SELECTION = Selection(0.0)
SELECTIONS = {"1": Selection(200.0, 600.0, 0.2, jets=4, leading_jets=1),
              "2a": Selection(50.0, leptons=3), "2b": Selection(50.0, 50.0, leptons=2),
              "3": Selection(100.0, 600.0)}
LEPTON_PT, JET_PT, LEADING_JET_PT = 15.0, 50.0, 200.0  # GeV
CHANNELS = tuple(SELECTIONS)
CHANNEL_FOLDERS = tuple(f"chan{channel}" for channel in CHANNELS)
LEPTONS, JETS = ("m+", "m-", "e+", "e-"), ("j", "b")
ROUNDING = 1e-5  # numbers of the text format have six significant digits

COUNTS = {
    "1": {
        "background": 214185, "monojet_Zp2000.0_DM_50.0": 1130, "monotop_200_A": 1581,
        "stlp_st1000": 8889, "sqsq1_sq1400_neut800": 4111, "sqsq_sq1800_neut800": 2822,
        "glgl1400_neutralino1100": 4096, "glgl1600_neutralino800": 10755,
        "stop2b1000_neutralino300": 5282},
    "2a": {
        "background": 20005, "pp23mt_50": 968, "pp24mt_50": 3781,
        "gluino_1000.0_neutralino_1.0": 5221, "chaneut_cha200_neut50": 222,
        "chaneut_cha250_neut150": 226, "chaneut_cha300_neut100": 311,
        "chaneut_cha400_neut200": 360},
    "2b": {
        "background": 340268, "pp23mt_50": 3402, "pp24mt_50": 8499, "stlp_st1000": 13626,
        "gluino_1000.0_neutralino_1.0": 58541, "chaneut_cha200_neut50": 1513,
        "chaneut_cha250_neut150": 1376, "chacha_cha300_neut140": 665,
        "chacha_cha400_neut60": 849, "chacha_cha600_neut200": 1205},
    "3": {
        "background": 8544111, "monojet_Zp2000.0_DM_50.0": 6399, "monoV_Zp2000.0_DM_1.0": 6120,
        "monotop_200_A": 7261, "stlp_st1000": 33397, "sqsq1_sq1400_neut800": 7632,
        "sqsq_sq1800_neut800": 8881, "glgl1400_neutralino1100": 8679,
        "glgl1600_neutralino800": 17484, "gluino_1000.0_neutralino_1.0": 918180,
        "stop2b1000_neutralino300": 9287},
}


def outside_selection(channel: str, events: Events) -> NDArray[np.bool_]:
    """Which events (N,) miss the channel's MET, HT or MET/HT selection, beyond rounding."""
    cuts = _energy_cuts(SELECTIONS.get(channel, NO_SELECTION), events)
    outside: NDArray[np.bool_] = np.any([fails for _, fails in cuts.values()], axis=0)
    return outside


def failed_cuts(channel: str, events: Events) -> dict[str, NDArray[np.bool_]]:
    """Which events (N,) fail each cut of a channel's selection, beyond rounding.

    Every cut is looked at for itself: an event can fail several. A channel that the challenge has
    not has no cuts.
    """
    least = SELECTIONS.get(channel, NO_SELECTION)
    cuts = _energy_cuts(least, events) | _object_cuts(least, events)
    return {name: fails for name, (value, fails) in cuts.items() if value}


def _energy_cuts(least: Selection, events: Events) -> Cuts:
    met, total, slack = events.met, ht(events), 1.0 - ROUNDING
    return {
        f"MET >= {least.met:g} GeV": (least.met, met < least.met * slack),
        f"HT >= {least.ht:g} GeV": (least.ht, total < least.ht * slack),
        f"MET/HT >= {least.met_over_ht:g}":
            (least.met_over_ht, met < least.met_over_ht * total * slack)}


def _object_cuts(least: Selection, events: Events) -> Cuts:
    wanted = ((least.leptons, LEPTONS, LEPTON_PT, "leptons"),
              (least.jets, JETS, JET_PT, "(b-)jets"),
              (least.leading_jets, JETS, LEADING_JET_PT, "(b-)jets"))
    return {f">= {number} {name} with pT > {pt:g} GeV":
            (number, _count(events, kinds, pt * (1.0 - ROUNDING)) < number)
            for number, kinds, pt, name in wanted}


def _count(events: Events, kinds: tuple[str, ...], pt: float) -> NDArray[np.int64]:
    """Number of objects of these kinds above a pT (N,)."""
    chosen = np.isin(events.kind, [KIND_CODE[kind] for kind in kinds]) & (events.pt > pt)
    sums = np.concatenate([[0], np.cumsum(chosen)])
    counts: NDArray[np.int64] = sums[events.offsets[1:]] - sums[events.offsets[:-1]]
    return counts
