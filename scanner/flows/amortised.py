"""Flow parameters: an output of a hyper-network for each event, or one free set for all events."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from scanner.layers import Dense

NEAR_ZERO = 1e-2
TINY = 1e-6
SOFTPLUS_ONE = 0.5413248546129181  # softplus of it is 1


class Free(nn.Module):
    """Parameters that do not depend on the event: whatever the context, shape (1, outputs)."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value.detach().clone())

    def forward(self, context: Tensor) -> Tensor:
        """The parameters, with a batch dimension of 1 to broadcast."""
        return self.value.unsqueeze(-2)


def parameters(
    context: int, outputs: int, *, amortised: bool, near_zero: bool = False
) -> nn.Module:
    """One kind of parameter of all flows of a stack.

    Args:
        context: Width q of the context.
        outputs: Numbers per event.
        amortised: Whether a linear layer makes them from the context (B, q) -> (B, outputs).
            Else they are free, (1, outputs): what the encoder knows of an event then reaches the
            decoder through the latent vector alone.
        near_zero: Start a hundred times smaller, for a flow that starts near the identity.
    """
    linear = Dense(context, outputs)
    if near_zero:
        with torch.no_grad():
            linear.weight.mul_(NEAR_ZERO)
            linear.bias.mul_(NEAR_ZERO)
    return linear if amortised else Free(linear.bias)


def events_last(network: nn.Module, context: Tensor) -> Tensor:
    """What `parameters` makes of the context (P, B, q) of a pack, as (P, outputs, B or 1).

    Operations on small matrices of many events are quickest with the events innermost.
    """
    if isinstance(network, Free):
        return network.value.reshape(-1, network.value.shape[-1], 1)
    linear = cast(Dense, network)
    weight, bias = linear.weight, linear.bias
    packed = weight.reshape(-1, *weight.shape[-2:])
    return torch.baddbmm(bias.reshape(-1, bias.shape[-1], 1), packed, context.mT)


def safe_log(determinant: Tensor) -> Tensor:
    """Logarithm of positive numbers that may underflow: never below ln 1e-6."""
    return determinant.clamp(min=TINY).log()
