"""Losses per event: Chamfer distance, KL divergence, error of the high-level features.

The training loss is beta D_KL + (1 - beta) (L_C + w MSE) (arXiv:2110.08508, Eq. 1), or the modified
ELBO (Eq. 9).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from scanner.models import Outputs
from scanner.representations import Inputs
from scanner.trial import Training


def training_loss(
    inputs: Inputs, outputs: Outputs, *, beta: Tensor, hlf_weight: Tensor, training: Training
) -> Tensor:
    """(B,) loss of every event; the modified ELBO knows no beta.

    Args:
        inputs: What the model saw.
        outputs: What it made of it.
        beta: 0-d weight of the KL divergence against the reconstruction.
        hlf_weight: 0-d weight of the high-level features within the reconstruction.
        training: Names the loss and its distance.
    """
    error = reconstruction_error(inputs, outputs, training)
    error = error + hlf_weight * hlf_error(inputs, outputs)
    if training.loss == "modified_elbo":
        return flow_kl(outputs) + error
    return beta * kl(outputs.mean, outputs.log_variance) + (1 - beta) * error


def reconstruction_error(inputs: Inputs, outputs: Outputs, training: Training) -> Tensor:
    """(B,) error of the reconstructed objects, over their columns.

    L_C; for a model that predicts which rows are real, L_C between the real rows of either side
    plus the cross entropy of that prediction, per real object.
    """
    real = inputs.objects[..., : outputs.objects.shape[-1]]
    if outputs.mask_logits is None:
        mask = inputs.mask if training.masked else None
        return chamfer(real, outputs.objects, training.chamfer, mask)
    mask = inputs.mask
    distance = chamfer(real, outputs.objects, training.chamfer, mask, mask)
    entropy = binary_cross_entropy_with_logits(outputs.mask_logits, mask, reduction="none")
    return (distance + entropy.sum(-1)) / mask.sum(-1).clamp_min(1)


def chamfer(
    x: Tensor,
    y: Tensor,
    kind: str = "l2",
    mask: Tensor | None = None,
    mask_y: Tensor | None = None,
) -> Tensor:
    """(B,) sum over x of the distance to the nearest y, plus the same from y to x (Eq. 2).

    The nearest points are found outside the gradient, which flows through the matched pairs alone:
    the exact gradient wherever it exists, and 0 where a pair coincides.

    Args:
        x: (B, n, F) points.
        y: (B, m, F) points.
        kind: `l2` (Euclidean), `l1` (Manhattan) or `l2sq` (squared Euclidean).
        mask: (B, n) weights of the points of x; those of weight 0 are matched with nothing.
        mask_y: (B, m) the same for y.
    """
    distance = torch.cdist(
        x.detach(), y.detach(), 1.0 if kind == "l1" else 2.0, "donot_use_mm_for_euclid_dist"
    )
    if mask is not None:
        distance = distance.masked_fill(mask.unsqueeze(-1) == 0, math.inf)
    if mask_y is not None:
        distance = distance.masked_fill(mask_y.unsqueeze(-2) == 0, math.inf)
    from_x = _length(x - _take(y, distance.min(-1).indices), kind)
    from_y = _length(y - _take(x, distance.min(-2).indices), kind)
    return _weighted(from_x, mask) + _weighted(from_y, mask_y)


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """(B,) KL divergence of N(mean, sigma^2) from N(0, 1), summed over the latent dimensions."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(-1)


def flow_kl(outputs: Outputs) -> Tensor:
    """(B,) ln q(z0|x) - ln N(zK; 0, 1) - ln |det|: one sample's KL divergence after the flow."""
    standard = (outputs.z0 - outputs.mean) * torch.exp(-outputs.log_variance / 2)
    log_q = -0.5 * (standard.square() + outputs.log_variance).sum(-1)
    log_p = -0.5 * outputs.zk.square().sum(-1)
    return log_q - log_p - outputs.log_det


def hlf_error(inputs: Inputs, outputs: Outputs) -> Tensor:
    """(B,) mean squared error of the high-level features; 0 where they are no input."""
    return (inputs.hlf - outputs.hlf).square().sum(-1) / max(inputs.hlf.shape[-1], 1)


def _weighted(lengths: Tensor, mask: Tensor | None) -> Tensor:
    return lengths.sum(-1) if mask is None else (lengths * mask).sum(-1)


def _length(difference: Tensor, kind: str) -> Tensor:
    if kind == "l2sq":
        return difference.square().sum(-1)
    length: Tensor = torch.linalg.vector_norm(difference, 1 if kind == "l1" else 2, dim=-1)
    return length


def _take(points: Tensor, index: Tensor) -> Tensor:
    """(B, k, F) the points whose numbers are `index` (B, k)."""
    return points.gather(-2, index[..., None].expand(*index.shape, points.shape[-1]))
