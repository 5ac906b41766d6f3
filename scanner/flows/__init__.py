"""Flows: invertible maps of the latent vector between its sampling and the decoder.

A flow's `forward(z (B, D), context (B, q))` returns the mapped vector (B, D) and ln|det| of the
Jacobian (B,); `inverse(z', context)` undoes it. Every flow starts at, or near, the identity. It is
built of `scanner.layers` and counts dimensions from the last one, so that a pack of networks, with
one more, leading dimension P of parameters, inputs and outputs, runs as one.
"""

from __future__ import annotations

from torch import nn

from scanner.errors import ScannerError
from scanner.registry import FLOWS, resolve
from scanner.trial import Variant


def build_flow(variant: Variant, dim: int, context: int) -> nn.Module:
    """The flow that a variant names.

    Args:
        variant: Name and all settings of an entry of `scanner.registry.FLOWS`.
        dim: Latent dimension D.
        context: Width q of the vector that feeds the hyper-networks.

    Raises:
        ScannerError: A number below 1, or one that does not fit the latent dimension.
    """
    settings = variant.get()
    for key, value in settings.items():
        if type(value) is int and value < 1:
            raise ScannerError(
                f"flow {variant.name}: {key} is {value}, less than 1; correct it in the grid"
            )
    flow: nn.Module = resolve(FLOWS[variant.name])(dim, context, **settings)
    return flow
