"""What the two autoregressive flows share: nflows' MADE (arXiv:1502.03509), checked and started."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scanner.errors import ScannerError

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


def start_at(made: nn.Module, outputs: Tensor) -> None:
    """Make a MADE start near constant outputs, the same (outputs,) for each dimension."""
    final = made.get_submodule("final_layer")
    with torch.no_grad():
        final.get_parameter("weight").mul_(NEAR_ZERO)
        bias = final.get_parameter("bias")
        bias.copy_(outputs.to(bias).repeat(len(bias) // len(outputs)))
