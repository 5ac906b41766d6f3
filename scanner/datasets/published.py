"""What the challenge publishes about its files (arXiv:2105.14027): selections and event counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scanner.events import Events, ht


class Selection(NamedTuple):
    """Lowest values of a channel's selection, GeV; its lepton and jet cuts are not repeated."""

    met: float
    ht: float = 0.0
    met_over_ht: float = 0.0


SELECTIONS = {"1": Selection(200.0, 600.0, 0.2), "2a": Selection(50.0),
              "2b": Selection(50.0, 50.0), "3": Selection(100.0, 600.0)}
CHANNELS = tuple(SELECTIONS)
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
    least, slack = SELECTIONS[channel], 1.0 - ROUNDING
    met, total = events.met, ht(events)
    return (met < least.met * slack) | (total < least.ht * slack) | (
        met < least.met_over_ht * total * slack)
