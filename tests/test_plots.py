"""Figures: the union rule, the boxes, and a layout that holds for long names."""

import io
import sys
from itertools import pairwise
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb, to_rgba

from scanner.comparison import improvements
from scanner.errors import ScannerError
from scanner.plots import (
    box_figure,
    chosen,
    drawing,
    heat_map,
    improvement_figure,
    improvement_scatter,
    latent_figure,
    roc_figure,
    seed_figure,
    training_figure,
)
from scanner.plots.boxes import OTHER_FACE, PLACES
from scanner.plots.common import BASE, DASHES, HUES, INK, LINE, PAPER
from scanner.ranking import COLUMNS, MERITS, RANKINGS, rank


def make(models, signals=8, seed=0, merits=(1.0, 0.5, 0.1, 0.02)):
    random = np.random.default_rng(seed)
    rows = [(f"s{k}", m, "3", *(random.random() * np.array(merits)))
            for m in models for k in range(signals)]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture(autouse=True)
def _drawing():
    with drawing():
        yield


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
        expected = [to_rgba(PLACES[picks[merit][m] - 1] if m in picks[merit] else OTHER_FACE)
                    for m in union]  # fmt: skip
        assert [box.get_facecolor() for box in axes.patches] == expected


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


def assert_inside(figure):
    """Every text lies in the figure, and the labels of rows do not touch each other."""
    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()
    width, height = figure.bbox.width, figure.bbox.height
    labels = [label for axes in figure.axes for label in axes.get_yticklabels() if label.get_text()]
    others = [axes.xaxis.label for axes in figure.axes] + [axes.title for axes in figure.axes]
    notes = [text for axes in figure.axes for text in axes.texts]
    for text in [*labels, *figure.texts, *others, *notes]:
        box = text.get_window_extent(renderer)
        if text.get_text() and text.get_visible():
            assert box.x0 >= -1, text
            assert box.x1 <= width + 1, text
            assert box.y0 >= -1, text
            assert box.y1 <= height + 1, text
    rows = [text.get_window_extent(renderer) for text in figure.axes[0].get_yticklabels()]
    assert all(a.y1 <= b.y0 + 1 or a.y0 >= b.y1 - 1 for a, b in pairwise(rows))


@pytest.mark.parametrize(("models", "length"), [(1, 1), (3, 60), (40, 80)])
def test_everything_is_inside_the_figure(models, length):
    table = make([f"m{k:02d}".ljust(length, "x") for k in range(models)])
    figure = box_figure(table, ranked(table), "top1", "A title")
    assert_inside(figure)
    assert figure.axes[0].get_position().width * figure.bbox.width > 80


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
        with drawing():
            box_figure(table, ranked(table), "mean", "t").savefig(buffer, format="png")
        images.append(buffer.getvalue())
    assert images[0] == images[1]
    assert dict(mpl.rcParams) == before


def curves(signals=3, models=2, seeds_differ=True):
    grid = np.logspace(-4, 0, 9)
    rows = [(f"s{s}", f"m{m}", x, x**0.5, x**0.5 * (0.8 if seeds_differ else 1), x**0.5)
            for s in range(signals) for m in range(models) for x in grid]  # fmt: skip
    columns = ["signal", "model", "eps_b", "median", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def test_roc_curves_have_a_band_over_seeds_and_a_zone_of_few_events():
    figure = roc_figure(curves(), 3e-3, "title")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["s0", "s1", "s2"]
    for axes in figure.axes:
        assert axes.get_xlim() == axes.get_ylim() == (1e-4, 1)
        zone = axes.patches[0]
        assert zone.get_x() + zone.get_width() == pytest.approx(3e-3)
        assert len(axes.collections) == 2  # a band per model
        line = axes.lines[1]
        np.testing.assert_allclose(line.get_ydata(), np.sqrt(line.get_xdata()))
    assert_inside(figure)
    alone = roc_figure(curves(seeds_differ=False), 1e-6, "one seed")
    assert not any(axes.collections for axes in alone.axes)


def test_a_signal_efficiency_of_zero_is_not_drawn():
    table = curves(1, 1).assign(median=[0.0] * 4 + [0.5] * 5)
    assert np.isnan(roc_figure(table, 0, "t").axes[0].lines[1].get_ydata()).sum() == 4


def latent(events=300, flow=True, seed=0):
    random = np.random.default_rng(seed)
    widths = np.linspace(0.1, 2, 15) * np.where(np.arange(15) == 4, 9, 1)
    z0 = random.normal(size=(events, 15)) * widths
    columns = {f"z0_{k}": z0[:, k] for k in range(15)}
    columns |= {f"zk_{k}": 3 * z0[:, k] + 1 for k in range(15)} if flow else {}
    process = np.where(np.arange(events) < events // 2, "background", "sa")
    return pd.DataFrame({"process": process, **columns})


def test_latent_space_is_shown_where_the_background_varies_most():
    figure = latent_figure({"m": latent()}, "title")
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == ["dimension 4, before", "dimension 4, after", "dimension 14, before",
                      "dimension 14, after", "components 1, 2, before",
                      "components 1, 2, after"]  # fmt: skip
    before, after = (figure.axes[k].collections[0].get_offsets() for k in (4, 5))
    np.testing.assert_allclose(abs(after), abs(3 * before), rtol=1e-6)  # a map of scale 3
    assert all(part.get_rasterized() for axes in figure.axes for part in axes.collections)
    assert_inside(figure)


def test_a_model_without_flow_has_nothing_after_it():
    figure = latent_figure({"a": latent(), "b": latent(flow=False)}, "title")
    empty = [axes for axes in figure.axes if [t.get_text() for t in axes.texts] == ["no flow"]]
    assert empty == [figure.axes[k] for k in (7, 9, 11)]


def test_labels_choose_no_dimension():
    one, other = latent(), latent()
    other.loc[other["process"] == "sa", "z0_2"] *= 1000
    labels = [[axes.get_xlabel() for axes in latent_figure({"m": table}, "t").axes]
              for table in (one, other)]  # fmt: skip
    assert labels[0] == labels[1]


def test_training_curves_mark_the_epoch_that_was_kept():
    rows = [(channel, "m", seed, epoch, 1 / epoch, 2 / epoch, 2)
            for channel in ("2b", "3") for seed in (0, 1) for epoch in (1, 2, 3)]  # fmt: skip
    columns = ["channel", "model", "seed", "epoch", "loss", "validation_loss", "best_epoch"]
    figure = training_figure(pd.DataFrame(rows, columns=columns), "title")
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert axes.get_yscale() == "log"
        marks = [line for line in axes.lines if line.get_marker() == "o"]
        assert [line.get_xydata().tolist() for line in marks] == [[[2, 1]]] * 2
    negative = pd.DataFrame(rows, columns=columns).assign(loss=-1.0)
    assert training_figure(negative, "t").axes[0].get_yscale() == "linear"


def test_every_seed_is_a_point():
    seeds = pd.DataFrame([("b", s, *(0.1 * s + 0.1 * k for k in range(4))) for s in (0, 1, 2)]
                         + [("a", s, 0.5, 0.4, 0.3, 0.2) for s in (0, 1)],
                         columns=["model", "seed", *MERITS])  # fmt: skip
    figure = seed_figure(seeds, list(MERITS), "title")
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["a", "b"]  # b on top
    points = [line.get_xdata().tolist() for line in figure.axes[0].lines
              if line.get_marker() == "o"]  # fmt: skip
    assert points == [[0.5, 0.5], pytest.approx([0, 0.1, 0.2])]
    assert_inside(figure)


def test_the_highest_improvement_is_named_with_channel_and_cut():
    table = make(["a", "b"], signals=2)
    table.loc[(table["Model"] == "b") & (table["Signal"] == "s1"), "1e-4"] = 0.5
    figure = improvement_figure(improvements(table), "title")
    words = [text.get_text() for text in figure.axes[0].texts]
    assert any(word == "50: b, channel 3, 1e-4" for word in words)
    assert len(words) == 2
    assert_inside(figure)


def test_improvements_beyond_the_axis_stay_on_its_edge():
    totals = pd.DataFrame({"model": ["a", "b"], "min": [0.0, 1.0], "median": [500.0, 2.0],
                           "max": [900.0, 3.0], "family": ["x", "y"]})  # fmt: skip
    figure = improvement_scatter(totals, "title")
    for axes in figure.axes:
        points = np.concatenate([part.get_offsets() for part in axes.collections])
        low, high = axes.get_xlim()
        assert ((points > low) & (points < high)).all()
        assert [text.get_text() for text in axes.texts] == ["1", "2"]
    assert_inside(figure)


def test_a_heat_map_has_a_cell_per_model_and_signal():
    wide = make(["a", "b"]).pivot(index="Model", columns=["Chan", "Signal"], values="AUC")
    figure = heat_map(wide, "AUC", (0, 1), "title")
    drawn = figure.axes[0].images[0]
    np.testing.assert_array_equal(drawn.get_array(), wide.to_numpy())
    assert drawn.get_clim() == (0, 1)
    shades = drawn.cmap(np.linspace(0, 1, 9))[:, :3] @ (0.299, 0.587, 0.114)
    assert (np.diff(shades) > 0).all()  # the order holds in grey
    assert_inside(figure)


def test_lines_differ_without_colour():
    assert len(set(DASHES)) == len(DASHES) == len(HUES)


def test_hues_are_seen_on_white_and_on_black():
    grey = [np.dot(to_rgb(hue), (0.2126, 0.7152, 0.0722)) for hue in HUES]
    assert all(0.2 < shade < 0.8 for shade in grey)
    assert len({INK, PAPER, LINE} & {*HUES, *PLACES}) == 0  # those change with the page's theme


def test_a_style_of_mplhep_changes_ticks_and_keeps_sizes(monkeypatch):
    styles = {"CMS": {"xtick.direction": "in", "font.size": 26, "figure.figsize": (10, 10),
                      "not.a.setting": 1}, "use": print}  # fmt: skip
    monkeypatch.setitem(sys.modules, "mplhep", SimpleNamespace(style=SimpleNamespace(**styles)))
    with drawing("CMS"):
        assert mpl.rcParams["xtick.direction"] == "in"
        assert mpl.rcParams["font.size"] == BASE["font.size"]
    with pytest.raises(ScannerError, match=r"'Atlas' is not a style of mplhep.*CMS"), \
            drawing("Atlas"):  # fmt: skip
        pass
    monkeypatch.setitem(sys.modules, "mplhep", None)
    with pytest.raises(ScannerError, match=r"--style CMS: mplhep is not installed; `pip install"), \
            drawing("CMS"):  # fmt: skip
        pass
