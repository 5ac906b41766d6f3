"""The words of a grid file: each name, where it lives, and the settings it takes.

Nothing is imported here: an entry names its code as ``module:attribute`` and `resolve` loads it on
use, so that grid files are checked, counted and documented without torch. A setting's default gives
its type; a tuple lists the allowed words, the first of them the default. Adding a flow (score,
representation, architecture, dataset) is one new file and one line here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

Setting = bool | int | float | str | tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes:
        target: ``module:attribute`` of the implementation.
        summary: One line for help texts and the documentation.
        settings: Name and default of every setting; a tuple is a list of allowed words.
    """

    target: str
    summary: str
    settings: dict[str, Setting] = field(default_factory=dict)


DATASETS = {
    "darkmachines": Entry("scanner.datasets.darkmachines:import_folder", "Dark Machines text files"),
}

REPRESENTATIONS = {
    "all": Entry("scanner.representations.padded:all_objects", "15 jets, 4 of each other type"),
    "all_mult": Entry("scanner.representations.padded:all_objects_mult", "all + multiplicities"),
    "truncated": Entry("scanner.representations.padded:truncated", "4 jets, 3 of each other type"),
    "truncated_mult": Entry("scanner.representations.padded:truncated_mult", "truncated + mult."),
}

ARCHITECTURES = {
    "conv_vae": Entry("scanner.models.conv_vae:ConvVAE", "convolutions over the object list"),
    "gcn_vae": Entry("scanner.models.gcn_vae:GCNVAE", "graph convolutions on the complete graph"),
}

FLOWS = {
    "none": Entry("scanner.flows.none:Identity", "no flow"),
    "planar": Entry("scanner.flows.planar:Planar", "planar flow"),
    "sylvester_householder": Entry("scanner.flows.sylvester:Householder", "Sylvester, Householder"),
}

SCORES = {
    "reconstruction": Entry("scanner.scores:reconstruction", "Chamfer distance L_C per event"),
    "kl": Entry("scanner.scores:kl", "KL divergence of the posterior from N(0, 1)"),
    "rz": Entry("scanner.scores:rz", "sum of (mu_i / sigma_i)^2"),
}


def resolve(entry: Entry) -> Any:  # noqa: ANN401 - a registry holds functions and modules alike
    """The object that an entry names."""
    module, attribute = entry.target.split(":")
    return getattr(import_module(module), attribute)


def defaults(entry: Entry) -> dict[str, bool | int | float | str]:
    """Every setting of an entry at its default."""
    return {k: v[0] if isinstance(v, tuple) else v for k, v in entry.settings.items()}
