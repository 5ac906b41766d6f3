"""Inverse autoregressive flow (Kingma et al., arXiv:1606.04934), on nflows' masked networks."""

from __future__ import annotations

from math import expm1, log
from typing import Any

import torch
from nflows.transforms.made import MADE
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from scanner.flows.inverse import solve_autoregressive
from scanner.flows.made import check_hidden, masked, start_at
from scanner.flows.order import alternate
from scanner.layers import elu, softplus

LEAST_SCALE = 1e-3
UNIT_SCALE = log(expm1(1 - LEAST_SCALE))  # where nflows' scale, softplus(s) + 0.001, is 1
OPEN_GATE = log(99) - 1  # where the gate, sigmoid(s + 1), is 0.99


class InverseAutoregressive(nn.Module):
    """A stack of inverse autoregressive flows, one pass each, that starts near the identity.

    Every second flow runs over the dimensions in reverse. At s = 0 nflows' scale is 0.69 and a
    fresh stack would contract; the biases start where the scale is 1 (the gate 0.99).

    Args:
        dim: Latent dimension D.
        context: Width of the context.
        flows: Length K of the stack.
        hidden: Units of both hidden layers.
        form: `affine`, z' = m + s z, or `gate`, z' = g z + (1 - g) m.
        amortised: Whether the masked networks see the context.
    """

    def __init__(
        self, dim: int, context: int, *, flows: int, hidden: int, form: str, amortised: bool
    ) -> None:
        super().__init__()
        check_hidden("iaf", hidden, dim)
        self.amortised = amortised
        self.steps = nn.ModuleList(
            Step(
                dim,
                hidden,
                form,
                context_features=context if amortised else None,
                num_blocks=1,
                use_residual_blocks=False,
                activation=elu,
            )
            for _ in range(flows)
        )
        start = torch.tensor([OPEN_GATE if form == "gate" else UNIT_SCALE, 0.0])
        for step in self.steps:
            start_at(step.get_submodule("autoregressive_net"), start)

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mapped vectors (B, D) and ln|det| (B,)."""
        given, log_det = context if self.amortised else None, z.new_zeros(z.shape[:-1])
        for k, step in enumerate(self.steps):
            z, change = step(alternate(z, k), given)
            z, log_det = alternate(z, k), log_det + change
        return z, log_det

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        """Vectors that `forward` maps to z, in D passes per flow."""
        given = context if self.amortised else None
        for k in reversed(range(len(self.steps))):
            step: Any = self.steps[k]
            z = alternate(step.inverse(alternate(z, k), given)[0], k)
        return z


class Step(nn.Module):
    """One flow z' = t + exp(l) z, with t and l of the dimensions before.

    Args:
        features: Latent dimension D.
        hidden_features: Units of the hidden layers.
        form: As in `InverseAutoregressive`; the affine scale is softplus + 0.001, as in nflows.
        made: Further arguments of `nflows.transforms.made.MADE`.
    """

    def __init__(self, features: int, hidden_features: int, form: str, **made: object) -> None:
        super().__init__()
        self.form = form
        self.autoregressive_net = MADE(features, hidden_features, output_multiplier=2, **made)

    def forward(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mapped vectors (B, D) and ln|det| (B,)."""
        log_scale, shift = self._log_scale_and_shift(z, context)
        return shift + log_scale.exp() * z, log_scale.sum(-1)

    def inverse(self, target: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Vectors that `forward` maps to the target, and minus its ln|det|."""

        def undo(z: Tensor) -> Tensor:
            log_scale, shift = self._log_scale_and_shift(z, context)
            return (target - shift) * (-log_scale).exp()

        z = solve_autoregressive(undo, target)
        return z, -self._log_scale_and_shift(z, context)[0].sum(-1)

    def _log_scale_and_shift(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        made = masked(self.autoregressive_net, z, context)
        raw, mean = torch.unflatten(made, -1, (-1, 2)).unbind(-1)
        if self.form == "gate":
            return logsigmoid(raw + 1), torch.sigmoid(-raw - 1) * mean
        return (softplus(raw) + LEAST_SCALE).log(), mean
