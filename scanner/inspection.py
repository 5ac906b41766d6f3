"""Inspecting a dataset: its tables as text, and as a page with figures and CSV files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scanner.atomic import write_atomic
from scanner.datasets import Dataset, open_dataset
from scanner.datasets import verify as verify_files
from scanner.datasets.files import BACKGROUND, read_index
from scanner.datasets.summary import Columns, Summary, summarise
from scanner.events import KINDS
from scanner.pages import Section, page
from scanner.tables import to_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG_DPI = 130
GROUPS = 5  # of the background, before all others
OTHERS = "others"
ENERGY_LABELS = {"met": "MET [GeV]", "ht": "HT [GeV]", "meff": "mEff [GeV]"}
COUNT_LABELS = {"all objects": KINDS, "jets": ("j",), "b-jets": ("b",), "electrons and muons":
                ("m+", "m-", "e+", "e-"), "photons": ("g",)}  # fmt: skip
TITLES = {
    "processes": "Events, mean number of objects of each kind, and medians in GeV",
    "composition": "What each background is made of",
    "cuts": "Events that fail a cut of the channel's selection",
    "published": "Events found and published",
    "files": "Files",
}
FOLDED = ("cuts", "files")
PARTS = {"events": "Events", "figures": "Figures", "tables": "Tables"}  # of the page


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found.

    Attributes:
        dataset: The dataset.
        summary: Its tables.
        verified: Whether every file was compared with its sha256.
        written: The files written.
    """

    dataset: Dataset
    summary: Summary
    verified: bool
    written: tuple[Path, ...]

    @property
    def text(self) -> str:
        """The tables for a terminal."""
        heading = [f"dataset {self.dataset.name} in {self.dataset.path}", *_notes(self)]
        cuts = self.summary.cuts
        shown = _tables(self.summary) | {"cuts": cuts[cuts["failing"] > 0] if len(cuts) else cuts}
        tables = {name: table for name, table in shown.items() if name != "files" and len(table)}
        parts = [f"{TITLES[name]}\n{_plain(table)}" for name, table in tables.items()]
        ends = [f"Written: {self.written[0]}"] if self.written else []
        return "\n\n".join(["\n".join(heading), *parts, *ends])


def inspect(name: str, root: Path | None = None, *, out: Path | None = None,
            verify: bool = False) -> Inspection:
    """Count and summarise the events of a dataset.

    Args:
        name: The dataset.
        root: Folder of the datasets.
        out: Folder for ``index.html``, the figures as PNG and PDF and the tables as CSV.
        verify: Compare the sha256 of every file with the one of its import first.

    Raises:
        DataError: No such dataset, or it is damaged.
        ResultError: `out` cannot be written.
    """
    dataset = open_dataset(name, root)
    if verify:
        verify_files(dataset)
    found = Inspection(dataset, summarise(dataset), verify, ())
    files = _files(found) if out else {}
    paths = tuple(Path(out or "") / file for file in files)
    for path, content in zip(paths, files.values(), strict=True):
        write_atomic(path, partial(Path.write_bytes, data=content))
    return Inspection(dataset, found.summary, verify, paths)


def _tables(summary: Summary) -> dict[str, pd.DataFrame]:
    return {name: getattr(summary, name) for name in TITLES}


def _notes(found: Inspection) -> list[str]:
    rows = found.summary.processes
    outside = int(rows["outside_selection"].sum())
    origin = read_index(found.dataset.path).get("origin")
    notes = [f"{rows['events'].sum()} events in {len(rows)} files; sha256 of the dataset: "
             f"{found.dataset.digest}"]  # fmt: skip
    notes += [f"fetched from {origin['url']}, sha256 {origin['sha256']}, published checksum: "
              f"{origin['published_checksum']}"] if origin else []  # fmt: skip
    notes += ["every file agrees with its sha256"] if found.verified else []
    notes += [f"{outside} events fail a cut of their channel's selection" if outside else
              "every event passes its channel's selection"]  # fmt: skip
    weighted = rows[(rows["process"] == BACKGROUND) & (rows["weight_max"] != rows["weight_min"])]
    notes += [f"the background of channel {channel} has weights that differ; they are not used, "
              "here and in training" for channel in weighted["channel"]]  # fmt: skip
    return notes


def _short(table: pd.DataFrame) -> pd.DataFrame:
    """The table with four significant digits of every fraction; CSV files have all."""
    return table.map(lambda value: float(f"{value:.4g}") if isinstance(value, float) else value)


def _plain(table: pd.DataFrame) -> str:
    shown = table.astype(object).where(table.notna(), "-")
    return shown.to_string(index=False, float_format=lambda value: f"{value:.4g}")


def _files(found: Inspection) -> dict[str, bytes]:
    """Content of every file of the page, the page first."""
    drawn, binned = {}, []
    for channel in found.dataset.channels:
        for kind, (figure, table) in _drawings(channel, found.summary.columns).items():
            drawn[f"channel_{channel}_{kind}"] = figure
            binned.append(table)
    images = {f"{name}.{suffix}": _image(figure, suffix)
              for name, figure in drawn.items() for suffix in ("png", "pdf")}  # fmt: skip
    tables = {f"{name}.csv": to_csv(table).encode()
              for name, table in _tables(found.summary).items() if len(table)}  # fmt: skip
    histograms = {"histograms.csv": to_csv(pd.concat(binned)).encode()}
    html = page(f"Dataset {found.dataset.name}", _notes(found), _sections(found, [*drawn]), images,
                PARTS)  # fmt: skip
    return {"index.html": html.encode()} | tables | histograms | images


def _sections(found: Inspection, figures: list[str]) -> list[Section]:
    tables = [Section(TITLES[name], (), _short(table), folded=name in FOLDED,
                      file=f"{name}.csv")
              for name, table in _tables(found.summary).items() if len(table)]  # fmt: skip
    text = ("Grey: the background, stacked by generated process. Lines: signals. Each is divided "
            "by its number of events. The last bin of an energy holds all events above it.",)
    titles = {name: name.replace("_", " ").capitalize() for name in figures}
    drawn = [Section(titles[name], text, figure=name, group="figures") for name in figures]
    return [*drawn, *tables]


def _drawings(channel: str, columns: Mapping[tuple[str, str], Columns]
              ) -> dict[str, tuple[Figure, pd.DataFrame]]:
    """The two figures of a channel, each with its histograms in long form."""
    from scanner.spectra import Quantity, histogram, spectra  # loads matplotlib

    here = {process: found for (where, process), found in columns.items() if where == channel}
    signals = {name: found for name, found in here.items() if name != BACKGROUND}
    background = here.get(BACKGROUND)
    names, groups = _groups(background)

    def quantity(label: str, values: dict[str, np.ndarray], whole: bool) -> Quantity:
        rest = {name: values[name] for name in signals}
        return Quantity(label, values.get(BACKGROUND), groups, rest, whole)

    energies = [quantity(label, {p: c.energies[name] for p, c in here.items()}, False)
                for name, label in ENERGY_LABELS.items()]  # fmt: skip
    objects = [quantity(label, {p: _count(c, kinds) for p, c in here.items()}, True)
               for label, kinds in COUNT_LABELS.items()]  # fmt: skip
    drawn = {}
    for kind, quantities in (("energies", energies), ("multiplicities", objects)):
        tables = {q.title: histogram(q, names) for q in quantities}
        long = [table.melt(["low", "high"], var_name="process", value_name="fraction").assign(
                channel=channel, quantity=label) for label, table in tables.items()]  # fmt: skip
        figure = spectra(f"Channel {channel}: {kind}", tables, names)
        drawn[kind] = figure, pd.concat(long)
    return drawn


def _count(columns: Columns, kinds: tuple[str, ...]) -> np.ndarray:
    chosen = [KINDS.index(kind) for kind in kinds]
    counts: np.ndarray = columns.counts[:, chosen].sum(axis=1)
    return counts


def _groups(background: Columns | None) -> tuple[list[str], np.ndarray]:
    """Names of the background's largest processes, and the group of each event (N,)."""
    if background is None:
        return [], np.zeros(0, int)
    codes, names = background.generated.codes, background.generated.categories
    sizes = np.bincount(codes, minlength=len(names))
    order = np.argsort(-sizes, kind="stable")
    place = np.empty(len(names), int)
    place[order] = np.minimum(np.arange(len(names)), GROUPS)
    kept = [str(names[k]) for k in order[:GROUPS]]
    return [*kept, OTHERS][:len(names)], place[codes]


def _image(figure: Figure, suffix: str) -> bytes:
    """PNG or PDF without a date in it."""
    metadata = {"Software": None} if suffix == "png" else {"CreationDate": None}
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, dpi=PNG_DPI, metadata=metadata)
    return buffer.getvalue()
