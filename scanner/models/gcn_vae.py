"""GCN-VAE: graph convolutions on the complete graph (arXiv:2110.08508, section 4)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from scanner.errors import ScannerError
from scanner.layers import Dense
from scanner.models.common import LATENT, Latent, Outputs, Sampled
from scanner.models.graph import GraphConvolution, neighbours, normalized, squared_distances
from scanner.models.plus_vae import PlusVAE
from scanner.representations import Inputs, Shape
from scanner.trial import Variant

WIDTHS = (32, 16, 2)
SELF_WEIGHT = {"paper": 2.0, "complete": 1.0}


def gcn_vae(shape: Shape, flow: Variant, preset: str, hidden: int, adjacency: str) -> nn.Module:
    """The GCN-VAE of a preset: `PlusVAE` for `plus`, else `GCNVAE`.

    Args:
        shape: Sizes of the inputs.
        flow: The flow between sampling and decoder.
        preset: `paper`, `complete` or `plus`.
        hidden: Width of a dense layer; see the classes.
        adjacency: `complete`, or `knn` for the encoder's graph of the 8 nearest real objects.

    Raises:
        ScannerError: If `hidden` is negative.
    """
    if hidden < 0:
        raise ScannerError(
            f"architecture gcn_vae: hidden is {hidden}; it must be 0 (the preset's own) or a "
            "width; correct it in the grid"
        )
    if preset == "plus":
        return PlusVAE(shape, flow, hidden, adjacency == "knn")
    return GCNVAE(shape, flow, SELF_WEIGHT[preset], hidden, adjacency == "knn")


class GCNVAE(nn.Module):
    """A VAE of three graph convolutions to 2 features per node, flattened, and its mirror image.

    The paper does not name the vector that feeds the flow. Here it is the vector that feeds the
    posterior heads, the same for every flow: without a hidden layer the flattened node features,
    joined by the multiplicities and high-level features (in the paper "a single FCN layer" makes
    the latent vector), and with one its output, as in the paper's public code (20 wide).

    Args:
        shape: Sizes of the inputs.
        flow: The flow between sampling and decoder.
        self_weight: Weight of a node's self loop: 2 as in the paper's public code, or 1 as in its
            Eq. 3, which makes all nodes of the complete graph equal after the first layer.
        hidden: Width of a dense layer on either side of the latent space; 0 for none.
        knn: Whether the encoder's graph joins the nearest real objects instead of all rows. The
            decoder, which knows no positions, keeps the complete graph.
    """

    latent = LATENT

    def __init__(
        self, shape: Shape, flow: Variant, self_weight: float, hidden: int, knn: bool
    ) -> None:
        super().__init__()
        self.kinematic, self.self_weight, self.knn = shape.kinematic, self_weight, knn
        self.nodes = (shape.slots, WIDTHS[-1])
        self.flat = shape.slots * WIDTHS[-1]
        joined, dense = self.flat + shape.extra + shape.hlf, self.flat + shape.hlf
        widths = (shape.features, *WIDTHS)
        self.encoder = nn.ModuleList(
            GraphConvolution(before, after, self_weight, rectified=True)
            for before, after in pairwise(widths)
        )
        self.hidden = _dense(joined, hidden) if hidden else nn.Identity()
        self.posterior = Latent(hidden or joined, flow)
        self.expand = nn.Sequential(
            _dense(LATENT, hidden) if hidden else nn.Identity(), Dense(hidden or LATENT, dense)
        )
        self.decoder = _graph_layers(widths[::-1], self_weight)

    def forward(self, inputs: Inputs, noise: Tensor) -> Outputs:
        """Encode, sample with `noise` (B, D), and reconstruct all columns."""
        graph, nodes = self._graph(inputs) if self.knn else None, inputs.objects
        for layer in self.encoder:
            nodes = layer(nodes, graph)
        encoded = self.hidden(torch.cat([nodes.flatten(-2), inputs.extra, inputs.hlf], dim=-1))
        sampled: Sampled = self.posterior(encoded, noise)
        dense = self.expand(sampled.zk)
        nodes = torch.unflatten(torch.relu(dense[..., : self.flat]), -1, self.nodes)
        return Outputs(*sampled, self.decoder(nodes), dense[..., self.flat :])

    def _graph(self, inputs: Inputs) -> Tensor:
        distances = squared_distances(inputs, self.kinematic)
        return normalized(neighbours(distances, inputs.mask), self.self_weight)


def _graph_layers(widths: tuple[int, ...], self_weight: float) -> nn.Sequential:
    """Graph convolutions with ReLU between them and a linear output."""
    return nn.Sequential(
        *(
            GraphConvolution(before, after, self_weight, rectified=k < len(widths) - 2)
            for k, (before, after) in enumerate(pairwise(widths))
        )
    )


def _dense(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(Dense(before, after), nn.ReLU())
