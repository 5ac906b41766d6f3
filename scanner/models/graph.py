"""Graph convolutions on the complete graph, in closed form, and on graphs given as matrices."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from scanner.representations import Inputs

NEIGHBOURS = 8


class GraphConvolution(nn.Module):
    """H' = D^-1/2 (A + w I) D^-1/2 H W + b (arXiv:2110.08508, Eq. 3).

    Without a given graph, A is the complete graph without self loops: all nodes have the same
    degree n + w - 1, so the product is (sum H + (w - 1) H) / degree: one sum, no adjacency matrix.
    """

    def __init__(self, before: int, after: int, self_weight: float) -> None:
        super().__init__()
        self.linear = nn.Linear(before, after)
        self.own = self_weight - 1

    def forward(self, nodes: Tensor, graph: Tensor | None = None) -> Tensor:
        """(B, n, before) to (B, n, after); `graph` (B, n, n) is what `normalized` returns."""
        if graph is not None:
            return graph @ linear(nodes, self.linear.weight) + self.linear.bias
        weight = self.linear.weight / (nodes.shape[-2] + self.own)
        shared = linear(nodes.sum(-2, keepdim=True), weight, self.linear.bias)
        return torch.add(shared, linear(nodes, weight), alpha=self.own)


def squared_distances(inputs: Inputs, kinematic: int) -> Tensor:
    """(B, n, n) between the scaled directions: the kinematic columns after energy and pT.

    With sin phi and cos phi as columns there is no seam in phi; with phi itself there is one.
    """
    direction = inputs.objects[..., 2:kinematic]
    return (direction.unsqueeze(-2) - direction.unsqueeze(-3)).square().sum(-1)


def pairs(mask: Tensor) -> Tensor:
    """(B, n, n) 1 where both of two different rows are real objects, 0 elsewhere."""
    different = 1 - torch.eye(mask.shape[-1], dtype=mask.dtype, device=mask.device)
    return mask.unsqueeze(-1) * mask.unsqueeze(-2) * different


def neighbours(distances: Tensor, mask: Tensor) -> Tensor:
    """(B, n, n) 1 where one real object is among the 8 nearest of the other, 0 elsewhere.

    Objects equally far as the eighth all count; padding has no neighbours.
    """
    among = pairs(mask)
    far = torch.where(among > 0, distances.detach(), torch.inf)
    count = min(NEIGHBOURS, far.shape[-1])
    limit = far.topk(count, dim=-1, largest=False).values.amax(-1, keepdim=True)
    near = (far <= limit).to(mask.dtype) * among
    return torch.maximum(near, near.mT)


def normalized(weights: Tensor, self_weight: float) -> Tensor:
    """(B, n, n) D^-1/2 (A + w I) D^-1/2 for symmetric weights A without self loops."""
    loops = torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device)
    graph = weights + self_weight * loops
    root = graph.sum(-1).rsqrt()
    return root.unsqueeze(-1) * graph * root.unsqueeze(-2)
