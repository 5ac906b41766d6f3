"""Deep-set VAE: what a GCN-VAE on the complete graph comes to (arXiv:2110.08508, Eq. 3)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, cat, nn

from scanner.layers import Dense
from scanner.models.common import LATENT, Latent, Outputs, Sampled
from scanner.representations import Inputs, Shape
from scanner.trial import Variant

WIDTHS = (32, 16)


class DeepSetVAE(nn.Module):
    """A VAE of the mean of all rows, padding included, that reconstructs one object n times.

    A control without a graph: the complete graph's convolutions give every node the same output, a
    dense network of the mean row.

    Args:
        shape: Sizes of the inputs.
        flow: The flow between sampling and decoder.
    """

    latent = LATENT

    def __init__(self, shape: Shape, flow: Variant) -> None:
        super().__init__()
        self.high_level, joined = shape.hlf, WIDTHS[-1] + shape.extra + shape.hlf
        widths = (shape.features, *WIDTHS)
        self.encoder = nn.Sequential(*_dense(widths))
        self.posterior = Latent(joined, flow)
        self.expand = Dense(LATENT, WIDTHS[-1] + shape.hlf)
        self.decoder = nn.Sequential(nn.ReLU(), *_dense(widths[::-1])[:-1])

    def forward(self, inputs: Inputs, noise: Tensor) -> Outputs:
        """Encode, sample with `noise` (B, D), and reconstruct all columns."""
        features = self.encoder(inputs.objects.mean(-2, keepdim=True)).squeeze(-2)
        sampled: Sampled = self.posterior(cat([features, inputs.extra, inputs.hlf], dim=-1), noise)
        dense = self.expand(sampled.zk)
        one = self.decoder(dense[..., : WIDTHS[-1]]).unsqueeze(-2)
        return Outputs(*sampled, one.expand_as(inputs.objects), dense[..., WIDTHS[-1] :])


def _dense(widths: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [Dense(before, after), nn.ReLU()]
    return layers
