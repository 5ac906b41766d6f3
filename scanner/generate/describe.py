"""The README of a generated dataset: files, composition, acceptance, and what is easy in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scanner.datasets.files import BACKGROUND, parquet_name
from scanner.events import Events, ht, met, multiplicity
from scanner.generate.mixture import Yield
from scanner.metrics import auc


class File(Protocol):
    """What is described: see `scanner.generate.write.Made`."""

    @property
    def channel(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def events(self) -> Events: ...
    @property
    def yields(self) -> Mapping[str, Yield]: ...
    @property
    def luminosity(self) -> float: ...


HEAD = """# {name}

Events generated with {used} by `scanner data generate`: leading order, 13 TeV, no pile-up, a
parametric detector. Generated for this project; they hold no third party's data.

**No result on them may be compared with a published number.** The challenge's events come from
MadGraph with extra jets and from Delphes. What stands in for something else, and what is missing,
is said in `scanner/generate/processes.py` and `signals.py`; the detector's response in
`scanner/generate/detector.py` and `jets.py`; what the showers leave out in `pythia.py`. MET is
reconstructed from towers and muons, the challenge stores the sum of the invisible particles.

## Recipe

```yaml
{recipe}```
"""
QUANTITIES: dict[str, Callable[[Events], NDArray[np.floating]]] = {
    "MET": met, "HT": ht, "multiplicity": lambda events: _objects(events).astype(np.float64)}


def describe(name: str, used: str, recipe: str, files: Sequence[File]) -> str:
    """Markdown on a generated dataset.

    Args:
        name: Name of the dataset.
        used: The generators with their versions.
        recipe: Text of the recipe.
        files: Backgrounds and signals.
    """
    recipe = recipe if recipe.endswith("\n") else f"{recipe}\n"
    parts = [HEAD.format(name=name, used=used, recipe=recipe), _files(files)]
    parts += [_composition(file) for file in files if file.name == BACKGROUND]
    events = {(file.channel, file.name): file.events for file in files}
    return "\n".join([*parts, single_quantities(events)])


def single_quantities(files: Mapping[tuple[str, str], Events]) -> str:
    """Markdown: what MET, HT and multiplicity alone find.

    Args:
        files: Events by channel and process (`background`, or a signal's name).
    """
    rows = [(channel, f"`{name}`", *(
        f"{auc(value(files[channel, BACKGROUND]), value(events)):.3f}"
        for value in QUANTITIES.values()))
        for (channel, name), events in files.items()
        if name != BACKGROUND and (channel, BACKGROUND) in files]
    return "\n".join([
        "## What needs no model\n\nAUC of single quantities, larger taken for more anomalous. A "
        "model that does not beat them has learnt nothing.\n",
        *_table(("channel", "signal", *QUANTITIES), rows), ""])


def _files(files: Sequence[File]) -> str:
    rows = [(f"`{parquet_name(file.channel, file.name)}`", len(file.events),
             f"{_objects(file.events).mean():.1f}", f"{file.events.weight[0]:g}",
             "" if file.name == BACKGROUND else f"{_acceptance(file.yields[file.name]):.3g}")
            for file in files]
    head = ("file", "events", "objects per event", "weight", "acceptance behind the gate")
    return "\n".join([
        "## Files\n\nA background is unweighted; the weight of a signal is its cross section (pb) "
        "behind the selection over its number of events.\n", *_table(head, rows), ""])


def _composition(file: File) -> str:
    """Table of a background's processes, the largest first."""
    names, counts = np.unique(file.events.process.astype(str), return_counts=True)
    kept = dict(zip(names.tolist(), counts.tolist(), strict=True))
    order = sorted(file.yields, key=lambda name: -kept.get(name, 0))
    rows = [(name, kept.get(name, 0), f"{kept.get(name, 0) / len(file.events):.2%}",
             f"{y.cross_section_pb:.4g}", f"{_acceptance(y):.3g}", y.generated, y.selected)
            for name in order for y in [file.yields[name]]]
    head = ("process", "events", "share", "cross section behind the gate, pb", "acceptance",
            "hard processes generated", "selected")
    return "\n".join([
        f"## Background of channel {file.channel}\n\nAn unweighted mixture by cross section: "
        f"{file.luminosity:.4g}/pb, {len(file.events)} events of weight 1.\n",
        *_table(head, rows), ""])


def _objects(events: Events) -> NDArray[np.int64]:
    total: NDArray[np.int64] = multiplicity(events).sum(axis=1)
    return total


def _acceptance(y: Yield) -> float:
    return y.selected / y.generated


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]
