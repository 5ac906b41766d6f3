"""Architectures: variational autoencoders with a flow between sampling and decoder.

A model is called as ``model(inputs, noise)`` and returns `Outputs`; it is deterministic given
weights and noise. It is built of `scanner.layers` and counts dimensions from the last one, so that
it also runs as a pack of networks. The vector that feeds its posterior heads feeds the flow.
"""

from __future__ import annotations

import torch
from torch import nn

from scanner.models.common import LATENT, Outputs
from scanner.registry import ARCHITECTURES, resolve
from scanner.representations import shape_of
from scanner.trial import Trial

__all__ = ["LATENT", "Outputs", "build_model", "set_precision"]


def build_model(trial: Trial) -> nn.Module:
    """The untrained model of a trial; its weights come from torch's global generator."""
    architecture = resolve(ARCHITECTURES[trial.architecture.name])
    shape = shape_of(trial.representation, trial.hlf)
    model: nn.Module = architecture(shape, trial.flow, **trial.architecture.get())
    return model


def set_precision(trial: Trial) -> None:
    """Have a GPU take its products, those of convolutions too, as precisely as a trial asks."""
    tf32 = trial.training.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32  # which torch has on, unlike the other
