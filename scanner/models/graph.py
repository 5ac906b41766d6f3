"""Graph convolutions on the complete graph, in closed form, and on graphs given as matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scanner.layers import Dense, along, dense, dense_gradients
from scanner.representations import Inputs

NEIGHBOURS = 8


class GraphConvolution(nn.Module):
    """H' = D^-1/2 (A + w I) D^-1/2 H W + b (arXiv:2110.08508, Eq. 3).

    Without a given graph, A is the complete graph without self loops: all nodes have the same
    degree n + w - 1, so the product is (sum H + (w - 1) H) / degree: one sum, no adjacency matrix,
    taken on the narrower side of W.
    """

    def __init__(
        self, before: int, after: int, self_weight: float, rectified: bool = False
    ) -> None:
        super().__init__()
        self.linear = Dense(before, after)
        self.own, self.rectified = self_weight - 1, rectified

    def forward(self, nodes: Tensor, graph: Tensor | None = None) -> Tensor:
        """(B, n, before) to (B, n, after); `graph` (B, n, n) is what `normalized` returns."""
        weight, bias = self.linear.weight, self.linear.bias
        if graph is not None:
            mapped = graph @ dense(nodes, weight) + along(bias, nodes)
            return torch.relu(mapped) if self.rectified else mapped
        mixed: Tensor = _Mixed.apply(nodes, weight, bias, self.own, self.rectified)  # type: ignore[no-untyped-call]
        return mixed


class _Mixed(torch.autograd.Function):
    """A graph convolution on the complete graph and its ReLU, with as few passes as can be.

    The sum over the nodes is taken on the narrower side of the weights.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        nodes: Tensor,
        weight: Tensor,
        bias: Tensor,
        own: float,
        rectified: bool,
    ) -> Tensor:
        before, after = weight.shape[-1], weight.shape[-2]
        ctx.narrow, ctx.own, ctx.scale = before <= after, own, 1 / (nodes.shape[-2] + own)
        weight = weight * ctx.scale
        nodes = _mix(nodes, own) if ctx.narrow else nodes
        mapped = dense(nodes, weight, bias if ctx.narrow else None)
        if not ctx.narrow:
            mapped = _mix(mapped, own, along(bias, mapped))
        if rectified:
            mapped.relu_()
        ctx.save_for_backward(nodes, weight, mapped if rectified else None)
        return mapped

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        nodes, weight, mapped = ctx.saved_tensors
        if mapped is not None:
            gradient = torch.ops.aten.threshold_backward(gradient, mapped, 0)
        of_bias = gradient.flatten(weight.dim() - 2, -2).sum(-2)
        if not ctx.narrow:
            gradient = _mix(gradient, ctx.own)
        of_nodes, of_weight = dense_gradients(nodes, weight, gradient, ctx.needs_input_grad[0])
        if of_nodes is not None and ctx.narrow:
            of_nodes = _mix(of_nodes, ctx.own)
        return of_nodes, of_weight * ctx.scale, of_bias, None, None


def _mix(nodes: Tensor, own: float, bias: Tensor | None = None) -> Tensor:
    """Each node's value times `own`, plus the sum over all nodes and the bias."""
    shared = nodes.sum(-2, keepdim=True)
    if bias is not None:
        shared += bias
    return nodes + shared if own == 1 else torch.add(shared, nodes, alpha=own)


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
