"""Rendered figures: three kinds, the same bytes again, and an SVG that fits into a page."""

import re

import numpy as np
import pandas as pd
import pytest

from scanner.errors import ScannerError
from scanner.plots import heat_map, training_figure
from scanner.rendering import KINDS, Drawing, inline, rendered

HISTORY = pd.DataFrame({
    "channel": "3", "model": "m", "seed": 0, "epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0],
    "validation_loss": [3.0, 2.0, 2.5], "best_epoch": 2,
})  # fmt: skip


def drawings():
    columns = pd.MultiIndex.from_product([["3"], ["sa", "s<b"]])
    wide = pd.DataFrame(np.eye(2), index=["a", "b"], columns=columns)
    return [Drawing("curves", "Training", "", lambda: training_figure(HISTORY, "Training")),
            Drawing("heat", "Heat", "", lambda: heat_map(wide, "AUC", (0, 1), "Heat"))]  # fmt: skip


@pytest.fixture(scope="module")
def files():
    return dict(rendered(drawings()))


def test_every_kind_of_every_figure_and_the_same_bytes_again(files):
    assert list(files) == [f"{name}.{kind}" for name in ("curves", "heat") for kind in KINDS]
    starts = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    for name, content in files.items():
        assert content.startswith(starts[name[-3:]])
    assert dict(rendered(drawings())) == files


def test_a_figure_is_drawn_once():
    calls = []
    one = Drawing("a", "A", "", lambda: calls.append(0) or training_figure(HISTORY, "t"))
    assert len(list(rendered([one]))) == len(KINDS)
    assert len(calls) == 1


def test_an_unknown_style_is_an_error_before_anything_is_drawn():
    with pytest.raises(ScannerError, match="mplhep"):
        list(rendered([Drawing("a", "A", "", lambda: pytest.fail("drawn"))], "NoSuchStyle"))


@pytest.mark.parametrize("name", ["curves", "heat"])
def test_an_inline_figure_needs_nothing_else(files, name):
    text = inline(files[f"{name}.svg"].decode(), name, "T & <t>")
    assert text.startswith("<svg viewBox=")
    assert 'aria-label="T &amp; &lt;t&gt;"' in text
    assert "http" not in text
    assert "<?xml" not in text
    assert "<metadata" not in text
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert ids
    assert all(id_.startswith(f"{name}-") for id_ in ids)
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', text)) <= set(ids)


def test_an_inline_figure_takes_the_colours_of_its_page(files):
    text = inline(files["curves.svg"].decode(), "curves", "t")
    for word in ("var(--ink)", "var(--paper)", "var(--line)"):
        assert word in text
    assert "#1c2430" not in text


def test_inline_coordinates_are_rounded_and_nothing_else(files):
    before = files["curves.svg"].decode()
    after = inline(before, "curves", "t")
    old, new = (re.findall(r' d="([^"]*)"', text) for text in (before, after))
    assert len(old) == len(new)
    for one, other in zip(old, new, strict=True):
        numbers = [np.array(re.findall(r"-?\d+\.?\d*", text), float) for text in (one, other)]
        np.testing.assert_allclose(*numbers, atol=0.01)
    scales = [re.findall(r"(?:scale|matrix)\([^)]*\)", text) for text in (before, after)]
    assert scales[0] == scales[1]
