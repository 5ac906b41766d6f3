"""Anomaly scores per event, from the posterior mean (zero noise); higher = more anomalous."""

from __future__ import annotations

from torch import Tensor

from scanner import losses
from scanner.models import Outputs
from scanner.representations import Inputs
from scanner.trial import Training


def reconstruction(inputs: Inputs, outputs: Outputs, training: Training) -> Tensor:
    """(B,) L_C in the distance of the training, without weight."""
    return losses.reconstruction_error(inputs, outputs, training)


def kl(inputs: Inputs, outputs: Outputs, training: Training) -> Tensor:
    """(B,) KL divergence of the posterior from N(0, 1)."""
    return losses.kl(outputs.mean, outputs.log_variance)


def rz(inputs: Inputs, outputs: Outputs, training: Training) -> Tensor:
    """(B,) R_z = sum over the latent dimensions of (mu / sigma)^2 (arXiv:2110.08508, Eq. 4)."""
    return (outputs.mean.square() * (-outputs.log_variance).exp()).sum(-1)


def elbo(inputs: Inputs, outputs: Outputs, training: Training) -> Tensor:
    """(B,) L_C + D_KL: the negative ELBO in the proportion of beta = 0.5."""
    return reconstruction(inputs, outputs, training) + kl(inputs, outputs, training)


def latent_norm(inputs: Inputs, outputs: Outputs, training: Training) -> Tensor:
    """(B,) squared length of the latent vector after the flow."""
    return outputs.zk.square().sum(-1)
