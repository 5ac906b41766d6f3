"""The `plus` preset of the GCN-VAE: a weighted graph of the real objects, and pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from scanner.layers import Dense, LayerNorm, along
from scanner.models.common import LATENT, Latent, Outputs, Sampled
from scanner.models.graph import neighbours, normalized, pairs, squared_distances
from scanner.representations import Inputs, Shape
from scanner.trial import Variant

WIDTH = 64
LAYERS = 2
TYPICAL_OBJECTS = 8


class RootedConvolution(nn.Module):
    """H' = gelu(norm(G H W + H W_0 + b)) on the normalized graph G; padding rows stay 0.

    The root weight W_0 keeps the nodes apart where G is nearly an average, and the layer norm keeps
    a layer from dying.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.shared = Dense(before, after, bias=False)
        self.root = Dense(before, after)
        self.norm = LayerNorm(after)

    def forward(self, nodes: Tensor, graph: Tensor, mask: Tensor) -> Tensor:
        """(B, n, before) to (B, n, after); `mask` is (B, n, 1)."""
        mixed = graph @ self.shared(nodes) + self.root(nodes)
        return gelu(self.norm(mixed)) * mask


class PlusVAE(nn.Module):
    """A VAE of graph convolutions over real objects, pooled, with one embedding per decoded row.

    The graph is the complete one without self loops, with the weights exp(-a d^2) for the distance
    d of two directions and one learned sharpness a, normalized as in arXiv:2110.08508, Eq. 3. The
    decoder also predicts which rows are real. The dense vector of the pooled nodes feeds the
    posterior heads and the flow.

    Args:
        shape: Sizes of the inputs.
        flow: The flow between sampling and decoder.
        hidden: Width of all hidden layers; 0 for 64.
        knn: Whether only the 8 nearest objects of each object keep their weights.
    """

    latent = LATENT

    def __init__(self, shape: Shape, flow: Variant, hidden: int, knn: bool) -> None:
        super().__init__()
        self.kinematic, self.features, self.knn = shape.kinematic, shape.features, knn
        self.width = width = hidden or WIDTH
        self.sharpness = nn.Parameter(torch.zeros(1))
        self.encoder = nn.ModuleList(
            RootedConvolution(width if k else shape.features, width) for k in range(LAYERS)
        )
        joined = 3 * width + shape.extra + shape.hlf
        self.hidden = nn.Sequential(Dense(joined, width), LayerNorm(width), nn.GELU())
        self.posterior = Latent(width, flow)
        self.expand = Dense(LATENT, width + shape.hlf)
        self.rows = nn.Parameter(torch.randn(shape.slots, width))
        self.decoder = nn.Sequential(
            nn.GELU(), Dense(width, width), nn.GELU(), Dense(width, shape.features + 1)
        )

    def forward(self, inputs: Inputs, noise: Tensor) -> Outputs:
        """Encode, sample with `noise` (B, D), and reconstruct all columns of every row."""
        mask, graph = inputs.mask.unsqueeze(-1), self._graph(inputs)
        nodes = inputs.objects * mask
        for layer in self.encoder:
            nodes = layer(nodes, graph, mask)
        encoded = self.hidden(torch.cat([*_pooled(nodes, mask), inputs.extra, inputs.hlf], dim=-1))
        sampled: Sampled = self.posterior(encoded, noise)
        dense = self.expand(sampled.zk)
        rows = self.rows if self.rows.dim() == 2 else self.rows.unsqueeze(1)
        table = self.decoder(dense[..., : self.width].unsqueeze(-2) + rows)
        objects, logits = table[..., : self.features], table[..., self.features]
        return Outputs(*sampled, objects, dense[..., self.width :], logits)

    def _graph(self, inputs: Inputs) -> Tensor:
        distances = squared_distances(inputs, self.kinematic)
        joined = neighbours(distances, inputs.mask) if self.knn else pairs(inputs.mask)
        sharpness = along(self.sharpness, distances).exp()
        return normalized(joined * torch.exp(-sharpness * distances), 1.0)


def _pooled(nodes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, width) mean, scaled sum and maximum over the real objects; 0 where there is none."""
    total, count = nodes.sum(-2), mask.sum(-2)
    lowest = torch.where(mask > 0, nodes, -torch.inf).amax(-2)
    highest = torch.where(count > 0, lowest, 0.0)
    return total / count.clamp_min(1), total / TYPICAL_OBJECTS, highest
