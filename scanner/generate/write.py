"""Write generated events as a dataset, with its recipe and a README, and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from scanner.datasets.darkmachines import write_text
from scanner.datasets.files import (
    BACKGROUND,
    check_name,
    parquet_name,
    parquet_options,
    write_index,
)
from scanner.datasets.folders import complete, resuming
from scanner.events import KINDS, Events, multiplicity, to_table
from scanner.generate.describe import describe
from scanner.generate.mixture import Yield
from scanner.generate.recipe import Recipe

PACKAGES = ("pythia8mc", "fastjet")
PB_PER_FB = 1e-3


class Made(NamedTuple):
    """One file of the dataset.

    Attributes:
        channel: Its channel.
        name: `background`, or the signal's name.
        events: The events.
        yields: What each process brought.
        luminosity: Of a background, 1/pb; 0 for a signal.
    """

    channel: str
    name: str
    events: Events
    yields: Mapping[str, Yield]
    luminosity: float = 0.0

    @property
    def text_file(self) -> str:
        """Name of its text file, as the challenge has them."""
        if self.name == BACKGROUND:
            return f"background_chan{self.channel}_{self.luminosity * PB_PER_FB:.4g}.csv"
        return f"{self.name}_chan{self.channel}.csv"


def write(recipe: Recipe, found: Sequence[Made], root: Path | None, csv: Path | None) -> str:
    """Write the dataset, complete or not at all, and say what it holds."""
    used = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    text = describe(recipe.name, used, recipe.text, found)
    with resuming(check_name(recipe.name, root)) as folder:
        for made in found:
            with complete(folder / parquet_name(made.channel, made.name)) as temporary:
                pq.write_table(to_table(made.events), temporary, **parquet_options())
        (folder / "README.md").write_text(text)
        write_index(folder, f"generated with {used}", {
            parquet_name(made.channel, made.name): _facts(made) for made in found})
    if csv is not None:
        for made in found:
            _write_text(made, csv)
    return text


def _write_text(made: Made, folder: Path) -> None:
    path = folder / f"chan{made.channel}" / made.text_file
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete(path) as temporary:
        write_text(made.events, temporary)


def _facts(made: Made) -> dict[str, object]:
    counts = dict(zip(KINDS, multiplicity(made.events).sum(axis=0).tolist(), strict=True))
    return {"channel": made.channel, "process": made.name, "events": len(made.events),
            "objects": counts, "source": made.text_file, "skipped": [], "warnings": [],
            "luminosity_per_pb": made.luminosity,
            "generated": {name: made._asdict() for name, made in made.yields.items()}}
