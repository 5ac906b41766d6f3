"""The trial: one training, frozen, with an id made from everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from scanner.registry import ARCHITECTURES, FLOWS, REPRESENTATIONS, Entry, defaults

AXES = {"representation": REPRESENTATIONS, "architecture": ARCHITECTURES, "flow": FLOWS}
PUBLISHED_TEST = 0.0  # the word `published` of a grid file
Scalar = bool | int | float | str


@dataclass(frozen=True, order=True)
class Variant:
    """A registered name with all its settings.

    Attributes:
        name: Key of a registry.
        settings: Every setting with its value, sorted by key.
        label: The name, with the settings that are not at their default in brackets.
    """

    name: str
    settings: tuple[tuple[str, Scalar], ...] = ()
    label: str = ""

    def get(self) -> dict[str, Scalar]:
        """The settings as keyword arguments."""
        return dict(self.settings)


@dataclass(frozen=True, order=True)
class Training:
    """Training settings, the same for every architecture.

    Attributes:
        learning_rate: Step size of Adam.
        batch_size: Events per step.
        max_epochs: Passes over the background training events.
        patience: Epochs without a lower validation loss before a trial stops.
        hlf_weight: Weight of the squared error of the high-level features.
        chamfer: Distance between points: `l2` (Euclidean), `l1` (Manhattan), `l2sq` (squared).
        masked: Whether the Chamfer distance runs over real objects only.
        loss: `paper` (beta KL + (1 - beta) L_C) or `modified_elbo`.
        optimizer: `adam`.
        precision: Of products of matrices and convolutions on a GPU: `fp32`, or `tf32`, whose
            factors have 10 bits of mantissa: every product is off by up to a relative 1e-3. What
            that does to a result is not measured.
    """

    optimizer: str = "adam"
    learning_rate: float = 1e-4
    batch_size: int = 32
    max_epochs: int = 20
    patience: int = 3
    hlf_weight: float = 1.0
    chamfer: str = "l2"
    masked: bool = False
    loss: str = "paper"
    precision: str = "fp32"


@dataclass(frozen=True, order=True)
class Split:
    """How a channel's background is divided, the same for every trial of a scan.

    Attributes:
        test: Fraction (below 1) or number of background events that are only scored, or
            `PUBLISHED_TEST` for the numbers of arXiv:2110.08508.
        validation: Fraction of the others, for early stopping.
        seed: Seed of the one shuffle.
    """

    test: float = 0.3
    validation: float = 0.05
    seed: int = 0


@dataclass(frozen=True, order=True)
class Trial:
    """One training: a point of the grid without its score."""

    dataset: str
    channel: str
    representation: Variant
    architecture: Variant
    hlf: bool
    beta: float
    flow: Variant
    seed: int
    training: Training = Training()
    split: Split = Split()

    @cached_property
    def id(self) -> str:
        """First 16 hexadecimal digits of the sha256 of what is not at its default, as JSON.

        So a setting that a later version adds leaves the ids of earlier results alone; in return a
        default is never changed.
        """
        raw = _plain(_coerced(self))
        for section, usual in (("training", vars(Training())), ("split", vars(Split()))):
            raw[section] = _unusual(raw[section], usual)
        for axis, registry in AXES.items():
            given = raw[axis]["settings"]
            raw[axis] = [raw[axis]["name"], _unusual(given, defaults(registry[raw[axis]["name"]]))]
        return hashlib.sha256(_canonical(raw).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks, labels left out, every type coerced."""
        return _canonical(_plain(_coerced(self)))

    @property
    def pack_key(self) -> Trial:
        """What the members of a pack share: all but seed, beta, HLF weight and learning rate."""
        training = replace(self.training, hlf_weight=0.0, learning_rate=0.0)
        return replace(self, seed=0, beta=0.0, training=training)

    @property
    def model(self) -> str:
        """Name of the trained model without channel, seed and score; no comma, no blank."""
        parts = [self.architecture.label, self.representation.label, "hlf" if self.hlf else "nohlf",
                 f"beta{self.beta:g}", self.flow.label]
        return "-".join(parts)


def variant(registry: dict[str, Entry], name: str, given: dict[str, Scalar]) -> Variant:
    """A registered name with `given` settings over its defaults, each in the default's type.

    The label is `name`, or `name[key=value;...]` with the settings that are not at their default.
    """
    base = defaults(registry[name])
    full = {key: type(value)(given.get(key, value)) for key, value in base.items()}
    changed = [f"{k}={_word(v)}" for k, v in sorted(full.items()) if v != base[k]]
    label = f"{name}[{';'.join(changed)}]" if changed else name
    return Variant(name, tuple(sorted(full.items())), label)


def from_json(text: str) -> Trial:
    """The trial that `Trial.to_json` wrote."""
    raw = json.loads(text)
    for axis, registry in AXES.items():
        raw[axis] = variant(registry, raw[axis]["name"], raw[axis]["settings"])
    raw["training"], raw["split"] = Training(**raw["training"]), Split(**raw["split"])
    return Trial(**raw)


def _word(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _coerced(trial: Trial) -> Trial:
    training = replace(trial.training, learning_rate=float(trial.training.learning_rate),
                       hlf_weight=float(trial.training.hlf_weight))
    split = replace(trial.split, test=float(trial.split.test))
    return replace(trial, beta=float(trial.beta), seed=int(trial.seed), hlf=bool(trial.hlf),
                   training=training, split=split)


def _canonical(raw: dict[str, Any]) -> str:
    return json.dumps(raw, sort_keys=True, separators=(",", ":"))


def _unusual(given: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key not in usual or value != usual[key]}


def _plain(trial: Trial) -> dict[str, Any]:
    raw = {**vars(trial), "training": vars(trial.training), "split": vars(trial.split)}
    raw.pop("id", None)
    for axis in AXES:
        raw[axis] = {"name": raw[axis].name, "settings": dict(raw[axis].settings)}
    return raw
