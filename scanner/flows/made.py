"""What the two autoregressive flows share: nflows' MADE (arXiv:1502.03509), checked and started."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from scanner.errors import ScannerError
from scanner.layers import dense

NEAR_ZERO = 1e-2


def check_hidden(flow: str, hidden: int, dim: int) -> None:
    """Refuse a hidden layer so narrow that some inputs would reach no output.

    Raises:
        ScannerError: Fewer hidden units than latent dimensions.
    """
    if hidden < dim:
        raise ScannerError(
            f"flow {flow}: hidden is {hidden}, the latent space has {dim} dimensions; a masked "
            f"network needs at least {dim} hidden units to pass every one on; use {dim} or more"
        )


def masked(made: nn.Module, inputs: Tensor, context: Tensor | None = None) -> Tensor:
    """What `made(inputs, context)` returns, for one network or a pack."""
    activation: Callable[[Tensor], Tensor] = made.activation  # type: ignore[assignment]
    hidden = _masked_dense(made.get_submodule("initial_layer"), inputs)
    if context is not None:
        layer = cast(nn.Linear, made.context_layer)
        hidden = hidden + activation(dense(context, layer.weight, layer.bias))
    hidden = activation(hidden)
    for block in made.get_submodule("blocks").children():
        hidden = activation(_masked_dense(block.get_submodule("linear"), hidden))
    return _masked_dense(made.get_submodule("final_layer"), hidden)


def _masked_dense(layer: nn.Module, values: Tensor) -> Tensor:
    linear = cast(nn.Linear, layer)
    return dense(values, linear.weight * cast(Tensor, layer.mask), linear.bias)


def start_at(made: nn.Module, outputs: Tensor) -> None:
    """Make a MADE start near constant outputs, the same (outputs,) for each dimension."""
    final = made.get_submodule("final_layer")
    with torch.no_grad():
        final.get_parameter("weight").mul_(NEAR_ZERO)
        bias = final.get_parameter("bias")
        bias.copy_(outputs.to(bias).repeat(len(bias) // len(outputs)))
