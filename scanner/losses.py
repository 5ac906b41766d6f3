"""Losses per event: Chamfer distance, KL divergence, error of the high-level features.

The training loss is beta D_KL + (1 - beta) (L_C + w MSE) (arXiv:2110.08508, Eq. 1), or the modified
ELBO (Eq. 9).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from scanner.models import Outputs
from scanner.representations import Inputs
from scanner.trial import Training

LEAST_LENGTH = 1e-30
CHUNK = 160  # events


def training_loss(
    inputs: Inputs, outputs: Outputs, *, beta: Tensor, hlf_weight: Tensor, training: Training
) -> Tensor:
    """(B,) loss of every event; the modified ELBO knows no beta.

    Args:
        inputs: What the model saw.
        outputs: What it made of it.
        beta: 0-d, or (P,) in a pack: weight of the KL divergence against the reconstruction.
        hlf_weight: The same: weight of the high-level features within the reconstruction.
        training: Names the loss and its distance.
    """
    error = reconstruction_error(inputs, outputs, training)
    error = error + hlf_weight.unsqueeze(-1) * hlf_error(inputs, outputs)
    if training.loss == "modified_elbo":
        return flow_kl(outputs) + error
    beta = beta.unsqueeze(-1)
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
    the exact gradient wherever it exists, and 0 where a pair coincides. Of points that are equally
    near, to 1 in 10^5 of the squared distance in single precision, any may be matched.

    Args:
        x: (B, n, F) points.
        y: (B, m, F) points.
        kind: `l2` (Euclidean), `l1` (Manhattan) or `l2sq` (squared Euclidean).
        mask: (B, n) weights of the points of x; those of weight 0 are matched with nothing.
        mask_y: (B, m) the same for y.
    """
    nearest = _nearest(x.detach(), y.detach(), kind, mask, mask_y)
    from_x, from_y = _Pairs.apply(x, y, *nearest, kind)  # type: ignore[no-untyped-call]
    return _weighted(from_x, mask) + _weighted(from_y, mask_y)


def _nearest(
    x: Tensor, y: Tensor, kind: str, mask: Tensor | None, mask_y: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(B, n) numbers of the nearest y of every x, and (B, m) of the nearest x of every y.

    On a CPU a few events at a time, whose distances fit a cache.
    """
    shapes = x.shape[:-1], y.shape[:-1]
    masks = [None if m is None else m.flatten(0, -2) == 0 for m in (mask, mask_y)]
    x, y = x.flatten(0, -3), y.flatten(0, -3)
    left, right = (x, y) if kind == "l1" else _factors(x, y)
    size = len(x) if x.is_cuda else CHUNK
    found = []
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        if kind == "l1":
            distance = torch.cdist(left[part], right[part], 1.0)
        else:
            distance = left[part] @ right[part].mT
        if masks[0] is not None:
            distance.masked_fill_(masks[0][part].unsqueeze(-1), math.inf)
        if masks[1] is not None:
            distance.masked_fill_(masks[1][part].unsqueeze(-2), math.inf)
        found.append(_places_of_minima(distance))
    of_x, of_y = (torch.cat(numbers) for numbers in zip(*found, strict=True))
    return of_x.view(shapes[0]), of_y.view(shapes[1])


def _factors(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(B, n, F + 2) and (B, m, F + 2) whose products are the squared distances."""
    one = x.new_ones(()).expand(*x.shape[:-1], 1)
    one_y = x.new_ones(()).expand(*y.shape[:-1], 1)
    left = torch.cat([x, x.square().sum(-1, keepdim=True), one], -1)
    return left, torch.cat([-2 * y, one_y, y.square().sum(-1, keepdim=True)], -1)


def _places_of_minima(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Column of the least number of every row (B, n), and row of that of every column (B, m).

    The bits of numbers from 0 on are in the order of the numbers. The lowest ones, a few of the
    mantissa, give way to the place, and one pass finds number and place: thrice as quick as a
    minimum with its index.
    """
    rows, columns = numbers.shape[-2:]
    low = (1 << (max(rows, columns) - 1).bit_length()) - 1
    whole = torch.int32 if numbers.dtype == torch.float32 else torch.int64
    bits = numbers.clamp_min_(0).view(whole) & ~low
    places = torch.arange(max(rows, columns), dtype=whole, device=numbers.device)
    of_rows = (bits | places[:columns].expand(rows, columns).contiguous()).amin(-1) & low
    of_columns = (
        bits.bitwise_or_(places[:rows, None].expand(rows, columns).contiguous()).amin(-2) & low
    )
    return of_rows.long(), of_columns.long()


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


class _Pairs(torch.autograd.Function):
    """Lengths (B, n) from x to its matches in y and (B, m) from y to its matches in x.

    The gradient of a pair goes to both of its points: a few operations, where automatic
    differentiation takes dozens.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        y: Tensor,
        of_x: Tensor,
        of_y: Tensor,
        kind: str,
    ) -> tuple[Tensor, Tensor]:
        from_x, from_y = x - _taken(y, of_x), y - _taken(x, of_y)
        lengths = _length(from_x, kind), _length(from_y, kind)
        ctx.save_for_backward(from_x, from_y, *lengths, of_x.unsqueeze(-1), of_y.unsqueeze(-1))
        ctx.kind = kind
        return lengths

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        from_x, from_y, length_x, length_y, of_x, of_y = ctx.saved_tensors
        to_x = _slope(from_x, length_x, gradients[0], ctx.kind)
        to_y = _slope(from_y, length_y, gradients[1], ctx.kind)
        needed = ctx.needs_input_grad
        of_first = _subtracted(to_x, to_y, of_y) if needed[0] else None
        return of_first, _subtracted(to_y, to_x, of_x) if needed[1] else None, None, None, None


def _taken(points: Tensor, index: Tensor) -> Tensor:
    """(B, k, F) points number `index` (B, k) of every event, by one selection of rows."""
    events = index.flatten(0, -2)
    first = torch.arange(len(events), device=index.device) * points.shape[-2]
    rows = points.flatten(0, -2).index_select(0, (events + first.unsqueeze(-1)).flatten())
    return rows.view(*index.shape, points.shape[-1])


def _length(difference: Tensor, kind: str) -> Tensor:
    if kind == "l2sq":
        return difference.square().sum(-1)
    length: Tensor = torch.linalg.vector_norm(difference, 1 if kind == "l1" else 2, dim=-1)
    return length


def _slope(difference: Tensor, length: Tensor, gradient: Tensor, kind: str) -> Tensor:
    """Gradient of `_length` times a gradient; 0 where a pair coincides."""
    if kind == "l1":
        return difference.sign() * gradient.unsqueeze(-1)
    if kind == "l2sq":
        return difference * (2 * gradient).unsqueeze(-1)
    return difference * (gradient / length.clamp_min(LEAST_LENGTH)).unsqueeze(-1)


def _subtracted(own: Tensor, others: Tensor, of_others: Tensor) -> Tensor:
    """What points collect: their own pair's gradient less those of the pairs that chose them."""
    return own.scatter_add(-2, of_others.expand_as(others), -others)
