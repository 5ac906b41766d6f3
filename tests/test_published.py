"""The challenge's selections: each cut for itself, at its edge, within the text's rounding."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.datasets.custom import make_events
from scanner.datasets.published import COUNTS, SELECTIONS, failed_cuts, outside_selection

FOUR_JETS = [300.0, 200.1, 60.0, 50.1]
LEPTONS = [40.0, 20.0, 15.1]


def failing(channel, met, jets=(), leptons=(), kinds=("b", "j")):
    """Names of the cuts that an event of these pT fails."""
    kind = [kinds[k % 2] for k in range(len(jets))] + ["e+", "m-", "e-", "m+"][:len(leptons)]
    pt = [*jets, *leptons]
    zeros = [[0.0] * len(pt)]
    events = make_events(met=[met], met_phi=[0.0], kind=[kind], pt=[pt], energy=[pt],
                         eta=zeros, phi=zeros)
    failed = [name for name, fails in failed_cuts(channel, events).items() if fails[0]]
    energy = any(name.startswith(("MET", "HT")) for name in failed)
    assert outside_selection(channel, events).tolist() == [energy]
    return failed


@pytest.mark.parametrize(("event", "expected"), [
    (("1", 250.0, FOUR_JETS), []),
    (("1", 199.9, FOUR_JETS), ["MET >= 200 GeV"]),
    (("1", 200.0 * (1 - 1e-6), FOUR_JETS), []),
    (("1", 250.0, [300.0, 200.1, 60.0, 39.0]), ["HT >= 600 GeV",
                                              ">= 4 (b-)jets with pT > 50 GeV"]),
    (("1", 250.0, [199.0, 199.0, 160.0, 60.0]), [">= 1 (b-)jets with pT > 200 GeV"]),
    (("1", 250.0, [500.0, 500.0, 240.0, 49.0]), ["MET/HT >= 0.2",
                                               ">= 4 (b-)jets with pT > 50 GeV"]),
    (("2a", 50.0, [], LEPTONS), []),
    (("2a", 50.0, [], [40.0, 20.0, 14.9]), [">= 3 leptons with pT > 15 GeV"]),
    (("2a", 49.0, [500.0], LEPTONS[:2]), ["MET >= 50 GeV", ">= 3 leptons with pT > 15 GeV"]),
    (("2b", 50.0, [51.0], LEPTONS[:2]), []),
    (("2b", 50.0, [49.0], LEPTONS[:2]), ["HT >= 50 GeV"]),
    (("2b", 50.0, [51.0], LEPTONS[:1]), [">= 2 leptons with pT > 15 GeV"]),
    (("3", 100.0, [601.0]), []),
    (("3", 99.0, [599.0]), ["MET >= 100 GeV", "HT >= 600 GeV"]),
    (("own", 1.0, [21.0]), [])], ids=str)
def test_each_cut_at_its_edge(event, expected):
    assert failing(*event) == expected


def test_the_selections_are_those_of_the_channels_with_counts():
    assert list(SELECTIONS) == list(COUNTS)
    assert np.all([selection.met > 0 for selection in SELECTIONS.values()])
