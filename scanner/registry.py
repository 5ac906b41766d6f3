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
    "darkmachines": Entry("scanner.datasets.darkmachines:import_folder", "challenge text files"),
}

REPRESENTATIONS = {
    "all": Entry("scanner.representations.padded:all_objects", "15 jets, 4 of each other type"),
    "all_mult": Entry("scanner.representations.padded:all_objects_mult", "all + multiplicities"),
    "truncated": Entry("scanner.representations.padded:truncated", "4 jets, 3 of each other type"),
    "truncated_mult": Entry("scanner.representations.padded:truncated_mult", "truncated + mult."),
    "physics": Entry("scanner.representations.physics:physics", "logarithms, MET, phi from it"),
}

ARCHITECTURES = {
    "conv_vae": Entry(
        "scanner.models.conv_vae:ConvVAE",
        "convolutions over the object list",
        settings={"padding": ("same", "valid")},
    ),
    "gcn_vae": Entry(
        "scanner.models.gcn_vae:gcn_vae",
        "graph convolutions on the complete graph",
        settings={
            "preset": ("paper", "complete", "plus"),
            "hidden": 0,
            "adjacency": ("complete", "knn"),
        },
    ),
    "deepset_vae": Entry("scanner.models.deepset_vae:DeepSetVAE", "mean of all rows, no graph"),
}

FLOWS = {
    "none": Entry("scanner.flows.none:Identity", "no flow"),
    "planar": Entry("scanner.flows.planar:Planar", "planar flow", {"flows": 6, "amortised": True}),
    "sylvester_orthogonal": Entry(
        "scanner.flows.sylvester:orthogonal",
        "Sylvester, orthonormal vectors",
        {"flows": 6, "vectors": 8, "amortised": True},
    ),
    "sylvester_householder": Entry(
        "scanner.flows.sylvester:householder",
        "Sylvester, Householder reflections",
        {"flows": 6, "reflections": 8, "amortised": True},
    ),
    "sylvester_triangular": Entry(
        "scanner.flows.sylvester:triangular",
        "Sylvester, alternating order",
        {"flows": 6, "amortised": True},
    ),
    "iaf": Entry(
        "scanner.flows.iaf:InverseAutoregressive",
        "inverse autoregressive flow",
        {"flows": 4, "hidden": 330, "form": ("affine", "gate"), "amortised": True},
    ),
    "convolutional": Entry(
        "scanner.flows.convolutional:Convolutional",
        "blocks of dilated convolutions",
        {"flows": 4, "kernel": 7},
    ),
    "nsf_ar": Entry(
        "scanner.flows.nsf_ar:NeuralSpline",
        "autoregressive neural spline flow",
        {"flows": 4, "bins": 64, "tail_bound": 3.0, "hidden": 64},
    ),
}

SCORES = {
    "reconstruction": Entry("scanner.scores:reconstruction", "Chamfer distance L_C per event"),
    "kl": Entry("scanner.scores:kl", "KL divergence of the posterior from N(0, 1)"),
    "rz": Entry("scanner.scores:rz", "sum of (mu_i / sigma_i)^2"),
    "elbo": Entry("scanner.scores:elbo", "beta KL + (1 - beta) L_C, negative ELBO"),
    "latent_norm": Entry("scanner.scores:latent_norm", "squared length of z after the flow"),
}


def resolve(entry: Entry) -> Any:  # noqa: ANN401 - a registry holds functions and modules alike
    """The object that an entry names."""
    module, attribute = entry.target.split(":")
    return getattr(import_module(module), attribute)


def defaults(entry: Entry) -> dict[str, bool | int | float | str]:
    """Every setting of an entry at its default."""
    return {k: v[0] if isinstance(v, tuple) else v for k, v in entry.settings.items()}
