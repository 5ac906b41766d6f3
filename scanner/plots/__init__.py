"""Figures of a report: a table goes in, a matplotlib Figure comes out.

Figures are made without pyplot: no window, no global state, any backend. Nothing is saved here.
Make and render them inside `drawing()`, which holds the colours and sizes.
"""

from scanner.plots.boxes import box_figure, chosen
from scanner.plots.common import drawing
from scanner.plots.curves import MOST_SIGNALS, latent_figure, roc_figure, training_figure
from scanner.plots.overview import (
    heat_map,
    improvement_figure,
    improvement_scatter,
    seed_figure,
)

__all__ = [
    "MOST_SIGNALS",
    "box_figure",
    "chosen",
    "drawing",
    "heat_map",
    "improvement_figure",
    "improvement_scatter",
    "latent_figure",
    "roc_figure",
    "seed_figure",
    "training_figure",
]
