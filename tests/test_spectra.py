"""Spectra: every event is in one bin, the stack adds up, lines tell apart without colour."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from scanner.spectra import BINS, GREYS, LINES, Quantity, bin_edges, histogram, spectra

random = np.random.default_rng(0)
BACKGROUND = random.exponential(100, 1000).astype("f4") + 50
GROUPS = random.integers(0, 3, 1000)
NAMES = ["njets", "ttbar", "others"]
SIGNALS = {f"signal_{k}": random.exponential(300, 200 + k).astype("f4") + 60 for k in range(6)}
ENERGY = Quantity("MET [GeV]", BACKGROUND, GROUPS, SIGNALS)
COUNT = Quantity("jets", (BACKGROUND // 60).astype("i2"), GROUPS, {"x": np.array([0, 9])}, True)


@pytest.mark.parametrize("quantity", [ENERGY, COUNT], ids=["energy", "count"])
def test_every_event_is_in_one_bin(quantity):
    table = histogram(quantity, NAMES)
    assert table[NAMES].sum().sum() == pytest.approx(1)
    for number, name in enumerate(NAMES):
        assert table[name].sum() == pytest.approx((number == GROUPS).mean())
    for name in quantity.signals:
        assert table[name].sum() == pytest.approx(1)
    assert (table["low"][1:].to_numpy() == table["high"][:-1].to_numpy()).all()


def test_a_bin_of_counts_is_one_number_and_a_bin_of_energies_counts_what_it_spans():
    counts = histogram(COUNT, NAMES)
    assert counts.loc[counts["x"] > 0, ["low", "high"]].to_numpy().tolist() == [[-0.5, 0.5],
                                                                               [8.5, 9.5]]
    table = histogram(ENERGY, NAMES)
    assert len(table) == BINS
    row = table.iloc[3]
    inside = (row["low"] <= BACKGROUND) & (row["high"] > BACKGROUND)
    assert row[NAMES].sum() == pytest.approx(inside.mean())
    last = table.iloc[-1]
    assert last["signal_0"] == pytest.approx((SIGNALS["signal_0"] >= last["low"]).mean())


@pytest.mark.parametrize("values", [[7.0], [0.0, 0.0], [5.0, 5.0, 1e6]])
def test_edges_rise_and_hold_the_smallest_value(values):
    edges = bin_edges(Quantity("HT", None, GROUPS[:0], {"x": np.array(values, "f4")}))
    assert (np.diff(edges) > 0).all()
    assert edges[0] == min(values)


def test_a_figure_has_a_row_for_every_four_signals_and_each_once():
    tables = {q.title: histogram(q, NAMES) for q in (ENERGY,)}
    panels, legends = np.reshape(spectra("Channel 3", tables, NAMES).axes, (2, 2)).T
    labels = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in legends]
    assert labels == [[*NAMES, *list(SIGNALS)[:4]], [*NAMES, *list(SIGNALS)[4:]]]
    for axes, legend in zip(panels, legends, strict=True):
        drawn = {patch.get_label(): patch for patch in axes.patches}
        for shown, name in zip(legend.get_legend().legend_handles, labels[0], strict=False):
            assert name not in NAMES or shown.get_facecolor() == drawn[name].get_facecolor()
        tops = [patch.get_data() for patch in axes.patches]
        stacked = tables["MET [GeV]"][NAMES].sum(axis=1).to_numpy()
        np.testing.assert_allclose(tops[2].values, stacked)
        np.testing.assert_allclose(tops[1].values, tops[2].baseline)


def test_a_channel_without_a_background_or_without_signals_is_drawn():
    for quantity, names in ((Quantity("HT", None, GROUPS[:0], SIGNALS), []),
                            (Quantity("HT", BACKGROUND, GROUPS, {}), NAMES)):
        axes = spectra("one", {"HT": histogram(quantity, names)}, names).axes
        assert len(axes) == 2 * (1 if names else 2)
        assert axes[0].patches


def test_lines_and_greys_tell_apart_without_colour():
    assert len({repr(dashes) for _, dashes in LINES}) == len(LINES)
    luminances = [sum(to_rgb(grey)) / 3 for grey in GREYS]
    assert (np.diff(luminances) > 0.05).all()
