"""Autoregressive neural spline flow (Durkan et al., arXiv:1906.04032), on nflows' MADE."""

from __future__ import annotations

import torch
from nflows.transforms.made import MADE
from torch import Tensor, nn

from scanner.errors import ScannerError
from scanner.flows.inverse import solve_autoregressive
from scanner.flows.made import check_hidden, masked, start_at
from scanner.flows.order import alternate
from scanner.flows.spline import LEAST, UNIT, inverse_spline, spline


class NeuralSpline(nn.Module):
    """A stack of autoregressive spline flows, one pass each, that starts near the identity.

    Every second flow runs over the dimensions in reverse. Outside the tail bound, the identity.

    Args:
        dim: Latent dimension D.
        context: Width of the context, which this flow does not use.
        flows: Length K of the stack.
        bins: Bins of a spline.
        tail_bound: Where the linear tails begin.
        hidden: Units of both hidden layers of a masked network.
    """

    def __init__(
        self, dim: int, context: int, *, flows: int, bins: int, tail_bound: float, hidden: int
    ) -> None:
        super().__init__()
        check_hidden("nsf_ar", hidden, dim)
        if bins * LEAST >= 1 or tail_bound <= 0:
            raise ScannerError(
                f"flow nsf_ar: bins is {bins} and tail_bound {tail_bound:g}; use fewer than "
                f"{round(1 / LEAST)} bins and a positive bound"
            )
        self.bound, outputs = tail_bound, 3 * bins - 1
        self.nets = nn.ModuleList(
            MADE(
                dim,
                hidden,
                num_blocks=1,
                output_multiplier=outputs,
                use_residual_blocks=False,
                activation=torch.tanh,
            )
            for _ in range(flows)
        )
        start = torch.zeros(outputs)
        start[2 * bins :] = UNIT
        for net in self.nets:
            start_at(net, start)

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mapped vectors (B, D) and ln|det| (B,)."""
        log_slopes = []
        for k in range(len(self.nets)):
            z = alternate(z, k)
            z, log_slope = spline(z, self._splines(z, k), self.bound)
            z = alternate(z, k)
            log_slopes.append(log_slope)
        return z, torch.stack(log_slopes, -1).sum((-2, -1))

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        """Vectors that `forward` maps to z, in D passes per flow."""
        for k in reversed(range(len(self.nets))):
            target = alternate(z, k)

            def undo(z: Tensor, k: int = k, target: Tensor = target) -> Tensor:
                return inverse_spline(target, self._splines(z, k), self.bound)

            z = alternate(solve_autoregressive(undo, target), k)
        return z

    def _splines(self, z: Tensor, k: int) -> Tensor:
        """Parameters of all splines of a flow, (B, D, 3 K - 1)."""
        return torch.unflatten(masked(self.nets[k], z), -1, (z.shape[-1], -1))
