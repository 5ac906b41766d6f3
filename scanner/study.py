"""A search around one point of the grid: what it varies, and what it has found so far.

The objective is the validation loss on background events of the weights that a training kept,
always with the grid's own HLF weight: a training's own loss falls with its HLF weight whatever it
has learnt. The first training of a search is the grid's own, so that the best is never worse.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, isfinite

import pandas as pd

from scanner.schema import Search
from scanner.trial import Trial

PARAMETERS = ("learning_rate", "hlf_weight")
MARK = "@search"


@dataclass(frozen=True)
class Study:
    """A search around one trial.

    Attributes:
        trial: The point of the grid, with the grid's own training settings.
        sampler: `tpe` or `random`.
        trials: Trainings in all, the grid's own among them.
        batch: Suggestions that are made at a time, and trained as one pack.
        space: Setting, low and high of what is varied, evenly in the logarithm; empty where no
            searched setting has an effect.
    """

    trial: Trial
    sampler: str
    trials: int
    batch: int
    space: tuple[tuple[str, float, float], ...]

    @cached_property
    def id(self) -> str:
        """First 16 digits of the sha256 of all but `trials`, so that a search can grow."""
        parts = [self.trial.to_json(), self.sampler, self.batch, self.space]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    @property
    def model(self) -> str:
        """Name of the model that the best training is; marked where anything is varied."""
        return self.trial.model + (MARK if self.space else "")

    def suggestion(self, values: Mapping[str, float]) -> Trial:
        """The trial with other training settings."""
        own = self.trial.training
        training = replace(
            own, learning_rate=float(values.get("learning_rate", own.learning_rate)),
            hlf_weight=float(values.get("hlf_weight", own.hlf_weight)),
        )  # fmt: skip
        return replace(self.trial, training=training)


@dataclass(frozen=True)
class Found:
    """One training of a search and its objective, infinite where it diverged."""

    trial: Trial
    objective: float

    @property
    def values(self) -> dict[str, float]:
        """The training settings that a search can vary."""
        training = self.trial.training
        return {"learning_rate": training.learning_rate, "hlf_weight": training.hlf_weight}


@dataclass(frozen=True)
class Record:
    """What a search has found, in the order of its suggestions."""

    study: Study
    found: tuple[Found, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every training is there."""
        return len(self.found) >= self.study.trials

    @property
    def best(self) -> Found:
        """The training with the lowest objective, of equals the first; the grid's own without."""
        unknown = Found(self.study.trial, inf)
        return min(self.found, key=lambda found: found.objective, default=unknown)

    def to_json(self, provenance: Mapping[str, str]) -> str:
        """The record as text."""
        study, weight = self.study, self.study.trial.training.hlf_weight
        trainings = [
            {"trial": found.trial.id, **found.values,
             "objective": found.objective if isfinite(found.objective) else None}
            for found in self.found
        ]  # fmt: skip
        record = {
            "point": json.loads(study.trial.to_json()),
            "sampler": study.sampler,
            "batch": study.batch,
            "space": study.space,
            "objective": f"background validation loss, HLF weight {weight:g}",
            "trainings": trainings,
            "best": self.best.trial.id,
            "provenance": dict(provenance),
        }
        return json.dumps(record, indent=1) + "\n"


def studies(trials: Iterable[Trial], search: Search) -> tuple[Study, ...]:
    """The searches around the points of a grid.

    Where the HLF weight has no effect it is not varied, and a point where nothing is left to vary
    has its one training.
    """
    return tuple(_study(trial, search) for trial in trials)


def record(study: Study, text: str) -> Record:
    """The record that `Record.to_json` wrote, as long as the study is."""
    rows = json.loads(text)["trainings"][: study.trials]
    return Record(study, tuple(
        Found(study.suggestion(row), inf if row["objective"] is None else row["objective"])
        for row in rows))  # fmt: skip


def search_table(records: Iterable[Record]) -> pd.DataFrame:
    """A row per search that varies anything: the grid's own training against the best.

    Returns:
        Columns channel, model, seed, trainings ("k of N"), complete, default and best (the
        objectives), one per setting (of the best), trial (id of the best).
    """
    rows = [
        {"channel": r.study.trial.channel, "model": r.study.model, "seed": r.study.trial.seed,
         "trainings": f"{len(r.found)} of {r.study.trials}", "complete": r.complete,
         "default": _shown(r.found[:1]), "best": _shown((r.best,)), **r.best.values,
         "trial": r.best.trial.id}
        for r in records if r.study.space
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _study(trial: Trial, search: Search) -> Study:
    ranges = {name: getattr(search.space, name) for name in PARAMETERS}
    if not _hlf_weight_matters(trial):
        ranges["hlf_weight"] = None
    space = tuple((name, *range_.log) for name, range_ in ranges.items() if range_)
    return Study(trial, search.sampler, search.trials if space else 1, search.batch, space)


def _hlf_weight_matters(trial: Trial) -> bool:
    return trial.hlf and (trial.beta < 1 or trial.training.loss == "modified_elbo")


def _shown(found: tuple[Found, ...]) -> float | None:
    return found[0].objective if found and isfinite(found[0].objective) else None
