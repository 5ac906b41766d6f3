"""Figures: the union rule, the boxes, and a layout that holds for long names."""

import io
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from scanner.plots import OTHER_FACE, PLACES, box_figure, chosen
from scanner.ranking import COLUMNS, MERITS, RANKINGS, rank


def make(models, signals=8, seed=0, merits=(1.0, 0.5, 0.1, 0.02)):
    random = np.random.default_rng(seed)
    rows = [(f"s{k}", m, "3", *(random.random() * np.array(merits)))
            for m in models for k in range(signals)]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def ranked(table):
    out = rank(table)
    return out[out["channel"] == "All"]


@pytest.mark.parametrize("method", RANKINGS)
def test_the_union_of_the_best_of_every_merit(method):
    rows = ranked(make([f"m{k}" for k in range(20)]))
    picks = chosen(rows, method, 5)
    for merit, places in picks.items():
        part = rows[(rows["method"] == method) & (rows["merit"] == merit)].head(5)
        if RANKINGS[method].best == "largest":
            part = part[part["value"] > 0]
        assert places == dict(zip(part["model"], part["place"], strict=True))


def test_models_with_the_value_zero_are_not_chosen():
    table = make(["a", "b", "c"])
    table.loc[table["Model"] != "a", "1e-4"] = 0.0
    assert set(chosen(ranked(table), "min")["1e-4"]) == {"a"}


@pytest.mark.parametrize("method", ["average_rank", "min"])
def test_a_figure_shows_the_union_by_name_in_four_panels(method):
    table = make([f"m{k:02d}" for k in range(20)])
    rows = ranked(table)
    figure = box_figure(table, rows, method, "title")
    union = sorted(set().union(*chosen(rows, method).values()))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == union
    assert len(figure.axes) == len(MERITS)
    assert figure.axes[0].get_xlim() == (0, 1)
    for axes in figure.axes[1:]:
        assert axes.get_xscale() == "log"
        assert axes.get_xlim() == (1e-4, 1)


def test_colours_are_places():
    table = make([f"m{k}" for k in range(12)])
    rows = ranked(table)
    figure = box_figure(table, rows, "mean", "title")
    picks = chosen(rows, "mean")
    union = sorted(set().union(*picks.values()))
    for axes, merit in zip(figure.axes, MERITS, strict=True):
        expected = [to_rgb(PLACES[picks[merit][m] - 1] if m in picks[merit] else OTHER_FACE)
                    for m in union]  # fmt: skip
        assert [box.get_facecolor()[:3] for box in axes.patches] == expected


def test_places_differ_in_grey():
    grey = [np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) for colour in PLACES]
    assert all(b - a > 0.08 for a, b in pairwise(grey))


def test_statistics_are_in_linear_space_and_zeros_are_off_the_axis():
    table = make(["a"], signals=4)
    table["1e-2"] = [0.0, 0.0, 0.2, 0.4]
    axes = box_figure(table, ranked(table), "mean", "t").axes[1]
    box = axes.patches[0].get_path().vertices[:, 0]
    assert box.max() == pytest.approx(0.25)
    assert box.min() == pytest.approx(1e-10)
    medians = [line.get_xdata() for line in axes.lines if len(set(line.get_xdata())) == 1]
    assert any(x[0] == pytest.approx(0.1) for x in medians if len(x))
    assert "◂2" in [text.get_text() for text in axes.texts]


@pytest.mark.parametrize(("models", "length"), [(1, 1), (3, 60), (40, 80)])
def test_everything_is_inside_the_figure(models, length):
    table = make([f"m{k:02d}".ljust(length, "x") for k in range(models)])
    figure = box_figure(table, ranked(table), "top1", "A title")
    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()
    width, height = figure.bbox.width, figure.bbox.height
    labels = figure.axes[0].get_yticklabels()
    for text in [*labels, *figure.texts, *figure.axes[-1].texts, figure.axes[0].xaxis.label]:
        box = text.get_window_extent(renderer)
        assert box.x0 >= -1
        assert box.x1 <= width + 1
        assert box.y0 >= -1
        assert box.y1 <= height + 1
    rows = [text.get_window_extent(renderer) for text in labels]
    assert all(a.y1 <= b.y0 + 1 for a, b in pairwise(rows))
    assert figure.axes[0].get_position().width * width > 80


def test_all_zero_and_all_tied_values_are_drawn():
    table = make(["a", "b"]).assign(**dict.fromkeys(MERITS, 0.0))
    for method in ("top1", "min"):
        box_figure(table, ranked(table), method, "zeros").savefig(io.BytesIO(), format="png")


def test_figures_leave_no_global_state_and_are_deterministic():
    before = dict(mpl.rcParams)
    table = make(["a", "b"])
    images = []
    for _ in range(2):
        buffer = io.BytesIO()
        box_figure(table, ranked(table), "mean", "t").savefig(buffer, format="png")
        images.append(buffer.getvalue())
    assert images[0] == images[1]
    assert dict(mpl.rcParams) == before
