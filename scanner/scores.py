"""Anomaly scores per event, from the posterior mean (zero noise); higher = more anomalous."""

from __future__ import annotations

from torch import Tensor

from scanner import losses
from scanner.models import Outputs
from scanner.representations import Inputs
from scanner.trial import Trial


def reconstruction(inputs: Inputs, outputs: Outputs, trial: Trial) -> Tensor:
    """(B,) L_C in the distance of the training, without weight."""
    return losses.reconstruction_error(inputs, outputs, trial.training)


def kl(inputs: Inputs, outputs: Outputs, trial: Trial) -> Tensor:
    """(B,) KL divergence of the posterior from N(0, 1)."""
    return losses.kl(outputs.mean, outputs.log_variance)


def rz(inputs: Inputs, outputs: Outputs, trial: Trial) -> Tensor:
    """(B,) R_z = sum over the latent dimensions of (mu / sigma)^2 (arXiv:2110.08508, Eq. 4)."""
    return (outputs.mean.square() * (-outputs.log_variance).exp()).sum(-1)


def elbo(inputs: Inputs, outputs: Outputs, trial: Trial) -> Tensor:
    """(B,) -ELBO in the proportion of the training: beta KL + (1 - beta) L_C, or KL + L_C.

    The second is for the loss `modified_elbo`, which knows no beta. With that loss or with a flow
    the KL is that of the modified ELBO (arXiv:2110.08508, Eq. 9), taken at the posterior mean.
    """
    modified = trial.training.loss == "modified_elbo"
    flows = modified or trial.flow.name != "none"
    divergence = losses.flow_kl(outputs) if flows else kl(inputs, outputs, trial)
    error = reconstruction(inputs, outputs, trial)
    return divergence + error if modified else trial.beta * divergence + (1 - trial.beta) * error


def latent_norm(inputs: Inputs, outputs: Outputs, trial: Trial) -> Tensor:
    """(B,) squared length of the latent vector after the flow, ||z_K||^2."""
    return outputs.zk.square().sum(-1)
