"""Layers for one network, or for a pack of networks of one shape as one batched program.

The parameters of a pack have one more, leading dimension P, and so have its inputs and outputs: row
k of each is network k. Everything else counts its dimensions from the last one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

MOMENTUM = 0.1
EPSILON = 1e-5
SMALL = 64


class Dense(nn.Linear):
    """`torch.nn.Linear` for one network or a pack."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., before) to (..., after)."""
        return dense(input, self.weight, self.bias)


class LayerNorm(nn.LayerNorm):
    """`torch.nn.LayerNorm` over the last axis for one network or a pack (arXiv:1607.06450)."""

    def forward(self, input: Tensor) -> Tensor:
        """The normalised values."""
        plain = layer_norm(input, input.shape[-1:], eps=self.eps)
        return plain * along(self.weight, input) + along(self.bias, input)


class BatchNorm(nn.Module):
    """`torch.nn.BatchNorm1d` and its kin over all axes but the last (arXiv:1502.03167).

    In a pack, every network has its own statistics. The running ones are updated in place. A batch
    of one row is normalised to zeros.

    Args:
        width: Size of the last axis.
        rectified: Whether a ReLU follows.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, rectified: bool = False) -> None:
        super().__init__()
        self.rectified = rectified
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, values: Tensor) -> Tensor:
        """Values normalised by the batch in training, by the running statistics in evaluation."""
        if not self.training:
            scale = self.weight * torch.rsqrt(self.running_var + EPSILON)
            shift = self.bias - self.running_mean * scale
            mapped = torch.addcmul(along(shift, values), values, along(scale, values))
            return mapped.relu_() if self.rectified else mapped
        mapped, mean, variance = _Normalized.apply(values, self.weight, self.bias, self.rectified)  # type: ignore[no-untyped-call]
        rows = values[..., 0].numel() // self.weight[..., 0].numel()
        self.running_mean.lerp_(mean, MOMENTUM)
        self.running_var.lerp_(variance * (rows / max(rows - 1, 1)), MOMENTUM)
        normal: Tensor = mapped
        return normal


class _Normalized(torch.autograd.Function):
    """Batch norm and its ReLU, with the batch's mean and variance; half the passes of autograd."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        values: Tensor,
        weight: Tensor,
        bias: Tensor,
        rectified: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = values.reshape(*weight.shape[:-1], -1, weight.shape[-1])
        mean = rows.mean(-2)
        centred = rows - mean.unsqueeze(-2)
        variance = (centred * centred).mean(-2)
        rate = torch.rsqrt(variance + EPSILON)
        mapped = torch.addcmul(bias.unsqueeze(-2), centred, (weight * rate).unsqueeze(-2))
        if rectified:
            mapped.relu_()
        ctx.save_for_backward(centred, rate, weight, mapped if rectified else None)
        ctx.mark_non_differentiable(mean, variance)
        return mapped.view(values.shape), mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        centred, rate, weight, mapped = ctx.saved_tensors
        rows = gradient.reshape(centred.shape)
        if mapped is not None:
            rows = torch.ops.aten.threshold_backward(rows, mapped, 0)
        count, of_bias = centred.shape[-2], rows.sum(-2)
        of_weight = (rows * centred).sum(-2) * rate
        inner = rows - (of_bias / count).unsqueeze(-2)
        inner.addcmul_(centred, (of_weight * rate / count).unsqueeze(-2), value=-1)
        inner.mul_((weight * rate).unsqueeze(-2))
        return inner.view(gradient.shape), of_weight, of_bias, None


def dense(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Values (..., before) times the transpose of a weight (after, before), plus a bias (after,).

    For a pack: (P, ..., before), (P, after, before) and (P, after).
    """
    if weight.dim() == 2:
        return linear(values, weight, bias)
    mapped: Tensor = _Product.apply(values.flatten(1, -2), weight)  # type: ignore[no-untyped-call]
    if bias is not None:
        mapped = mapped.add_(bias.unsqueeze(1))
    return torch.unflatten(mapped, 1, values.shape[1:-1])


def softplus(values: Tensor) -> Tensor:
    """ln(1 + exp(x)), of operations that round a number alike wherever it stands in a tensor.

    Torch's own takes another way for the last few numbers on a CPU, so that a network's results
    would depend on how many others share its pack.
    """
    return values.clamp_min(0) + torch.log1p(torch.exp(-values.abs()))


def elu(values: Tensor) -> Tensor:
    """x, or exp(x) - 1 below 0 (arXiv:1511.07289), of operations as in `softplus`."""
    return values.clamp_min(0) + torch.expm1(values.clamp_max(0))


def along(parameter: Tensor, values: Tensor) -> Tensor:
    """A vector of parameters (C,) or (P, C), shaped to broadcast with values (..., C)."""
    if parameter.dim() == 1:
        return parameter
    return parameter.reshape(len(parameter), *[1] * (values.dim() - 2), -1)


def pack_models(models: Sequence[nn.Module]) -> nn.Module:
    """One module that runs networks of one shape as a pack, with copies of their parameters.

    Running statistics are stacked like parameters; constant buffers are those of the first network.
    """
    packed = copy.deepcopy(models[0])
    rows = [list(model.modules()) for model in models]
    for index, module in enumerate(packed.modules()):
        twins = [members[index] for members in rows]
        for name, parameter in module.named_parameters(recurse=False):
            stacked = torch.stack([twin.get_parameter(name).detach() for twin in twins])
            setattr(module, name, nn.Parameter(stacked, parameter.requires_grad))
        if isinstance(module, BatchNorm):
            for name, _ in list(module.named_buffers(recurse=False)):
                setattr(module, name, torch.stack([twin.get_buffer(name) for twin in twins]))
    return packed


def dense_gradients(
    values: Tensor, weight: Tensor, gradient: Tensor, of_values: bool = True
) -> tuple[Tensor | None, Tensor]:
    """Gradients of `dense` without a bias, by the quickest layout of each product.

    A product with a narrow result is twice as quick with its second factor stored transposed, and
    so is a gradient of small weights with the longer side last (on a CPU; no matter on a GPU).

    Args:
        values: (..., before) what was mapped; (P, ..., before) in a pack.
        weight: (after, before) or (P, after, before).
        gradient: (..., after) gradient of the result.
        of_values: Whether the first is wanted.

    Returns:
        Gradients of the values, in their shape, and of the weight.
    """
    shape, first = values.shape, weight.dim() - 2
    rows, slopes = values.flatten(first, -2), gradient.flatten(first, -2)
    wide = weight.shape[-1] < weight.shape[-2] <= SMALL
    stored = weight.mT.contiguous().mT if wide else weight
    before = (slopes @ stored).view(shape) if of_values else None
    return before, (rows.mT @ slopes).mT.contiguous() if wide else slopes.mT @ rows


class _Product(torch.autograd.Function):
    """`dense` in a pack, without a bias."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(values, weight)
        return torch.bmm(values, weight.mT)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor]:  # noqa: ANN401
        values, weight = ctx.saved_tensors
        return dense_gradients(values, weight, gradient, ctx.needs_input_grad[0])
