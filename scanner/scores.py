"""Anomaly scores per event, from the posterior mean (zero noise); higher = more anomalous."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from scanner import losses
from scanner.models import Outputs
from scanner.representations import Inputs
from scanner.trial import Trial


@dataclass(frozen=True)
class Evaluated:
    """What a score is made of: B events, what a trained model made of them, and its trial."""

    inputs: Inputs
    outputs: Outputs
    trial: Trial

    @cached_property
    def error(self) -> Tensor:
        """(B,) L_C in the distance of the training, without weight."""
        return losses.reconstruction_error(self.inputs, self.outputs, self.trial.training)

    @cached_property
    def divergence(self) -> Tensor:
        """(B,) KL divergence of the posterior from N(0, 1)."""
        return losses.kl(self.outputs.mean, self.outputs.log_variance)


def reconstruction(of: Evaluated) -> Tensor:
    """(B,) L_C in the distance of the training, without weight."""
    return of.error


def kl(of: Evaluated) -> Tensor:
    """(B,) KL divergence of the posterior from N(0, 1)."""
    return of.divergence


def rz(of: Evaluated) -> Tensor:
    """(B,) R_z = sum over the latent dimensions of (mu / sigma)^2 (arXiv:2110.08508, Eq. 4)."""
    return (of.outputs.mean.square() * (-of.outputs.log_variance).exp()).sum(-1)


def elbo(of: Evaluated) -> Tensor:
    """(B,) -ELBO in the proportion of the training: beta KL + (1 - beta) L_C, or KL + L_C.

    The second is for the loss `modified_elbo`, which knows no beta. With that loss or with a flow
    the KL is that of the modified ELBO (arXiv:2110.08508, Eq. 9), taken at the posterior mean.
    """
    modified, beta = of.trial.training.loss == "modified_elbo", of.trial.beta
    flows = modified or of.trial.flow.name != "none"
    divergence = losses.flow_kl(of.outputs) if flows else of.divergence
    return divergence + of.error if modified else beta * divergence + (1 - beta) * of.error


def latent_norm(of: Evaluated) -> Tensor:
    """(B,) squared length of the latent vector after the flow, ||z_K||^2."""
    return of.outputs.zk.square().sum(-1)
