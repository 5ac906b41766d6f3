"""Histograms of scores: every finite event in one bin, shares of all events, cuts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import StepPatch

from scanner.histograms import BINS, bin_edges, score_figure

values = st.lists(st.floats(-(2.0**100), 2.0**100, width=32) | st.just(np.inf) | st.just(np.nan),
                  min_size=1, max_size=30).map(lambda x: np.array(x, np.float32))  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(values, values, st.booleans())
def test_every_finite_event_is_in_a_bin(background, new, ranks):
    edges = bin_edges(background, new, ranks=ranks)
    assert edges.shape == (BINS + 1,)
    assert (np.diff(edges) > 0).all()
    both = np.concatenate([background, new])
    finite = both[np.isfinite(both)].astype(np.float64)
    assert np.histogram(finite, edges)[0].sum() == finite.size


@pytest.mark.parametrize(
    ("name", "low", "scale"),
    [("kl", 0.5, "log"), ("kl", -1.0, "linear"), ("kl", 0.0, "linear"), ("kl+rz", 0.5, "linear")],
)
def test_the_axis_is_logarithmic_where_all_values_are_above_zero(name, low, scale):
    rng = np.random.default_rng(0)
    background, new = (low + rng.exponential(size=n).astype(np.float32) for n in (400, 100))
    background[0] = low
    figure = score_figure({name: background}, {name: new}, {name: 2.0}, "title", "cut")
    (axes,) = figure.axes
    assert axes.get_xscale() == scale
    filled, line = (p for p in axes.patches if isinstance(p, StepPatch))
    for patch in (filled, line):
        assert patch.get_data().values.sum() == pytest.approx(1)
    (cut,) = axes.lines
    assert list(cut.get_xdata()) == [2.0, 2.0]


def test_shares_are_of_all_events_and_no_cut_is_drawn_where_all_pass():
    new = np.array([1, 2, np.nan, np.inf], np.float32)
    names = ("a", "b", "c", "d")
    samples = {name: np.ones(5, np.float32) for name in names}
    figure = score_figure(samples, dict.fromkeys(names, new), dict.fromkeys(names, -np.inf),
                          "title", "cut")  # fmt: skip
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_xlabel() for axes in shown] == list(names)
    for axes in shown:
        assert not axes.lines
        assert axes.patches[1].get_data().values.sum() == pytest.approx(0.5)


@pytest.mark.parametrize("decades", [0.1, 0.5, 1.5, 2.5, 5])
def test_a_logarithmic_axis_has_numbers_however_short_it_is(decades):
    values = 0.03 * 10 ** (decades * np.linspace(0, 1, 50))
    figure = score_figure({"kl": values}, {"kl": values}, {"kl": 0.03}, "title", "cut")
    axis = figure.axes[0].xaxis
    figure.draw_without_rendering()
    low, high = axis.get_view_interval()
    shown = [tick.label1.get_text() for tick in axis.get_major_ticks()
             if low <= tick.get_loc() <= high]  # fmt: skip
    assert len([text for text in shown if text]) >= 2
