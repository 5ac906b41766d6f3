"""GCN-VAE: graph convolutions on the complete graph (arXiv:2110.08508, section 4)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from scanner.errors import ScannerError
from scanner.models.common import LATENT, Latent, Outputs, Sampled
from scanner.representations import Inputs, Shape
from scanner.trial import Variant

WIDTHS = (32, 16, 2)
SELF_WEIGHT = {"paper": 2.0, "complete": 1.0}


class GraphConvolution(nn.Module):
    """H' = D^-1/2 (A + w I) D^-1/2 H W + b on the complete graph without self loops (Eq. 3).

    All nodes have the same degree n + w - 1, so the product is (sum H + (w - 1) H) / degree: one
    sum, no adjacency matrix.
    """

    def __init__(self, before: int, after: int, self_weight: float) -> None:
        super().__init__()
        self.linear = nn.Linear(before, after)
        self.own = self_weight - 1

    def forward(self, nodes: Tensor) -> Tensor:
        """(B, n, before) to (B, n, after)."""
        weight = self.linear.weight / (nodes.shape[-2] + self.own)
        shared = linear(nodes.sum(-2, keepdim=True), weight, self.linear.bias)
        return torch.add(shared, linear(nodes, weight), alpha=self.own)


class GCNVAE(nn.Module):
    """A VAE of three graph convolutions to 2 features per node, flattened, and its mirror image.

    The paper does not name the vector that feeds the flow. Here it is the vector that feeds the
    posterior heads, the same for every flow: without a hidden layer the flattened node features,
    joined by the multiplicities and high-level features (in the paper "a single FCN layer" makes
    the latent vector), and with one its output, as in the paper's public code (20 wide).

    Args:
        shape: Sizes of the inputs.
        flow: The flow between sampling and decoder.
        preset: Weight of a node's self loop: `paper` 2, as in the paper's public code; `complete`
            1, as in its Eq. 3, which makes all nodes equal after the first layer.
        hidden: Width of a dense layer on either side of the latent space; 0 for none.

    Raises:
        ScannerError: If `hidden` is negative.
    """

    latent = LATENT

    def __init__(self, shape: Shape, flow: Variant, preset: str, hidden: int) -> None:
        super().__init__()
        if hidden < 0:
            raise ScannerError(
                f"architecture gcn_vae: hidden is {hidden}; it must be 0 (no dense layer) or a "
                "width; correct it in the grid"
            )
        self.nodes = (shape.slots, WIDTHS[-1])
        self.flat = shape.slots * WIDTHS[-1]
        joined, dense = self.flat + shape.extra + shape.hlf, self.flat + shape.hlf
        widths = (shape.features, *WIDTHS)
        self.encoder = _graph_layers(widths, SELF_WEIGHT[preset])
        self.hidden = _dense(joined, hidden) if hidden else nn.Identity()
        self.posterior = Latent(hidden or joined, flow)
        self.expand = nn.Sequential(
            _dense(LATENT, hidden) if hidden else nn.Identity(), nn.Linear(hidden or LATENT, dense)
        )
        self.decoder = _graph_layers(widths[::-1], SELF_WEIGHT[preset])

    def forward(self, inputs: Inputs, noise: Tensor) -> Outputs:
        """Encode, sample with `noise` (B, D), and reconstruct all columns."""
        features = torch.relu(self.encoder(inputs.objects)).flatten(-2)
        encoded = self.hidden(torch.cat([features, inputs.extra, inputs.hlf], dim=-1))
        sampled: Sampled = self.posterior(encoded, noise)
        dense = self.expand(sampled.zk)
        nodes = torch.unflatten(torch.relu(dense[..., : self.flat]), -1, self.nodes)
        return Outputs(*sampled, self.decoder(nodes), dense[..., self.flat :])


def _graph_layers(widths: tuple[int, ...], self_weight: float) -> nn.Sequential:
    """Graph convolutions with ReLU between them and a linear output."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [GraphConvolution(before, after, self_weight), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _dense(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(before, after), nn.ReLU())
