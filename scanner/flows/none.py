"""No flow: the decoder sees the sampled latent vector itself."""

from __future__ import annotations

from torch import Tensor, nn


class Identity(nn.Module):
    """The identity, so that a model without a flow is built as one with a flow."""

    def __init__(self, dim: int, context: int) -> None:
        super().__init__()

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The vector as it came, and zeros (B,)."""
        return z, z.new_zeros(z.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        """The vector as it came."""
        return z
