"""What all architectures share: their outputs, and the way through the latent space."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from scanner.flows import build_flow
from scanner.layers import Dense
from scanner.trial import Variant

LATENT = 15
LOG_VARIANCE_BOUND = 5.0


class Sampled(NamedTuple):
    """The first five entries of `Outputs`."""

    mean: Tensor
    log_variance: Tensor
    z0: Tensor
    zk: Tensor
    log_det: Tensor


class Outputs(NamedTuple):
    """What a model makes of B events; D is the latent dimension.

    Attributes:
        mean: (B, D) posterior mean.
        log_variance: (B, D) posterior ln sigma^2.
        z0: (B, D) latent vector before the flow.
        zk: (B, D) latent vector after the flow.
        log_det: (B,) ln |det dzk/dz0|.
        objects: (B, n, F') reconstruction of the first F' columns of the input objects.
        hlf: (B, 3) reconstruction of the high-level features, or (B, 0).
        mask_logits: (B, n) log-odds that a row is a real object, or None.
    """

    mean: Tensor
    log_variance: Tensor
    z0: Tensor
    zk: Tensor
    log_det: Tensor
    objects: Tensor
    hlf: Tensor
    mask_logits: Tensor | None = None


class Latent(nn.Module):
    """Posterior heads, sampling and flow, all fed by one vector of the encoder."""

    def __init__(self, width: int, flow: Variant) -> None:
        super().__init__()
        self.mean = Dense(width, LATENT)
        self.log_variance = Dense(width, LATENT)
        self.flow = build_flow(flow, LATENT, width)

    def forward(self, encoded: Tensor, noise: Tensor) -> Sampled:
        """The posterior and its sample with `noise` (B, D), before and after the flow."""
        mean = self.mean(encoded)
        log_variance = soft_clamp(self.log_variance(encoded))
        z0 = mean + noise * torch.exp(log_variance / 2)
        zk, log_det = self.flow(z0, encoded)
        return Sampled(mean, log_variance, z0, zk, log_det)


def soft_clamp(value: Tensor) -> Tensor:
    """Values in (-5, 5), the identity near 0; unlike a hard clamp it has a gradient everywhere."""
    return LOG_VARIANCE_BOUND * torch.tanh(value / LOG_VARIANCE_BOUND)
