"""Shared fixtures: small trials, small inputs, and where the genuine files lie."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from scanner.registry import ARCHITECTURES, FLOWS, REPRESENTATIONS
from scanner.representations import Inputs, shape_of
from scanner.trial import Training, Trial, variant

settings.register_profile("patient", settings.default, deadline=None)
settings.load_profile("patient")

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def lock(monkeypatch):
    """A function that makes a file or folder unreadable, to root too."""
    locked = set()

    def refusing(usual):
        def asked(path, *args, **words):
            if path in locked:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return usual(path, *args, **words)

        return asked

    for name in ("iterdir", "open"):
        monkeypatch.setattr(Path, name, refusing(getattr(Path, name)))
    return locked.add


@pytest.fixture
def shared():
    """The folder of genuine files, which are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("the genuine files (../shared) are not here")
    return SHARED


def make_trial(
    architecture="gcn_vae", flow="none", representation="all", *, hlf=False, beta=0.5, seed=0,
    **training,
):  # fmt: skip
    """A trial on channel 3 of the sample; names may be (name, settings) pairs."""

    def pick(registry, word):
        name, given = word if isinstance(word, tuple) else (word, {})
        return variant(registry, name, given)

    return Trial(
        "sample", "3", pick(REPRESENTATIONS, representation), pick(ARCHITECTURES, architecture),
        hlf, beta, pick(FLOWS, flow), seed, replace(Training(), **training),
    )  # fmt: skip


def make_inputs(trial, events, dtype=torch.float64, seed=1):
    """Random standardised inputs of a trial's shape, with a third of the slots filled."""
    shape = shape_of(trial.representation, trial.hlf)
    random = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(*size, generator=random, dtype=dtype)

    mask = (torch.rand(events, shape.slots, generator=random) < 0.3).to(dtype)
    mask[:, 0] = 1
    objects = normal(events, shape.slots, shape.features) * mask[..., None]
    return Inputs(objects, mask, normal(events, shape.extra), normal(events, shape.hlf))
