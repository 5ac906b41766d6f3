"""The flows as their papers write them: one loop per flow, autograd through all of it.

Parameters have the names of `scanner.flows`, so that weights can be handed over.
"""

from __future__ import annotations

import torch
from nflows.transforms import (
    MaskedAffineAutoregressiveTransform,
    MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
)
from torch import nn
from torch.nn.functional import conv1d, elu, leaky_relu, pad, softplus

from scanner.flows import build_flow
from scanner.flows.amortised import SOFTPLUS_ONE

TINY = 1e-6


class PlainPlanar(nn.Module):
    """z' = z + u tanh(w z + b), u moved along w until the map is invertible (arXiv:1505.05770)."""

    def __init__(self, dim, context, *, flows, amortised):
        super().__init__()
        self.flows, self.dim = flows, dim
        self.u, self.w = nn.Linear(context, flows * dim), nn.Linear(context, flows * dim)
        self.b = nn.Linear(context, flows)

    def forward(self, z, context):
        u = self.u(context).view(-1, self.flows, self.dim)
        w = self.w(context).view(-1, self.flows, self.dim)
        b, log_det = self.b(context), 0
        for k in range(self.flows):
            inner = (u[:, k] * w[:, k]).sum(1)
            wanted = softplus(inner + SOFTPLUS_ONE) - 1
            u_k = u[:, k] + ((wanted - inner) / w[:, k].square().sum(1))[:, None] * w[:, k]
            gate = torch.tanh((w[:, k] * z).sum(1) + b[:, k])
            psi = (1 - gate**2)[:, None] * w[:, k]
            log_det = log_det + torch.log((1 + (psi * u_k).sum(1)).clamp(min=TINY))
            z = z + u_k * gate[:, None]
        return z, log_det


class QRSeed(nn.Module):
    """Orthonormal columns by a QR factorisation per event and flow."""

    def __init__(self, dim, context, flows, vectors):
        super().__init__()
        self.shape = (flows, dim, vectors)
        self.seed = nn.Linear(context, flows * dim * vectors)

    def forward(self, context):
        q, r = torch.linalg.qr(self.seed(context).view(-1, *self.shape))
        return q * torch.sign(torch.diagonal(r, dim1=-2, dim2=-1)).unsqueeze(-2)


class Reflections(nn.Module):
    """A product of Householder reflections, one matrix after the other (arXiv:1803.05649)."""

    def __init__(self, dim, context, flows, reflections):
        super().__init__()
        self.shape = (flows, dim, reflections)
        self.vectors = nn.Linear(context, flows * dim * reflections)

    def forward(self, context):
        vectors = self.vectors(context).view(-1, *self.shape)
        q = torch.eye(self.shape[1], dtype=context.dtype, device=context.device)
        for k in range(self.shape[2]):
            v = vectors[..., k] / vectors[..., k].norm(dim=-1, keepdim=True)
            identity = torch.eye(self.shape[1], dtype=context.dtype, device=context.device)
            q = q @ (identity - 2 * v[..., :, None] * v[..., None, :])
        return q


class PlainSylvester(nn.Module):
    """z' = z + Q R1 tanh(R2 Q^T z + b), Q formed for every event (arXiv:1803.05649)."""

    def __init__(self, dim, context, *, flows, width=0, basis=None):
        super().__init__()
        self.flows, self.width, self.basis = flows, width or dim, basis
        many, few = flows * self.width**2, flows * self.width
        self.triangles = nn.Linear(context, many)
        self.diagonal1, self.diagonal2 = nn.Linear(context, few), nn.Linear(context, few)
        self.shift = nn.Linear(context, few)

    def forward(self, z, context):
        full = self.triangles(context).view(-1, self.flows, self.width, self.width)
        diagonal1 = torch.tanh(self.diagonal1(context)).view(-1, self.flows, self.width)
        diagonal2 = torch.tanh(self.diagonal2(context)).view(-1, self.flows, self.width)
        shift = self.shift(context).view(-1, self.flows, self.width)
        bases = self.basis(context) if self.basis else None
        log_det = 0
        for k in range(self.flows):
            r1 = torch.triu(full[:, k], 1) + torch.diag_embed(diagonal1[:, k])
            r2 = torch.triu(full[:, k].transpose(1, 2), 1) + torch.diag_embed(diagonal2[:, k])
            q = self._order(z, k) if bases is None else bases[:, k]
            inner = r2 @ (q.transpose(1, 2) @ z[:, :, None]) + shift[:, k, :, None]
            z = z + (q @ (r1 @ torch.tanh(inner)))[:, :, 0]
            slope = 1 - torch.tanh(inner[:, :, 0]) ** 2
            determinant = 1 + slope * diagonal1[:, k] * diagonal2[:, k]
            log_det = log_det + torch.log(determinant.clamp(min=TINY)).sum(1)
        return z, log_det

    def _order(self, z, k):
        """The identity, and the reversal in every second flow, as a matrix per event."""
        identity = torch.eye(self.width, dtype=z.dtype, device=z.device)
        return (identity.flip(0) if k % 2 else identity).expand(len(z), -1, -1)


class PlainIAF(nn.Module):
    """nflows' masked affine transforms, reversed in every second flow (arXiv:1606.04934)."""

    def __init__(self, dim, context, *, flows, hidden, form, amortised):
        super().__init__()
        self.steps = nn.ModuleList(
            MaskedAffineAutoregressiveTransform(
                dim, hidden, context_features=context, num_blocks=1, use_residual_blocks=False,
                activation=elu)
            for _ in range(flows)
        )  # fmt: skip

    def forward(self, z, context):
        return _in_turn(self.steps, z, context)


class PlainSpline(nn.Module):
    """nflows' masked spline transforms, reversed in every second flow (arXiv:1906.04032)."""

    def __init__(self, dim, context, *, flows, bins, tail_bound, hidden):
        super().__init__()
        self.nets = nn.ModuleList(
            MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                dim, hidden, num_bins=bins, tails="linear", tail_bound=tail_bound, num_blocks=1,
                use_residual_blocks=False, activation=torch.tanh)
            for _ in range(flows)
        )  # fmt: skip

    def forward(self, z, context):
        return _in_turn(self.nets, z, None)


class PlainConvolutional(nn.Module):
    """z' = z + s h(conv(z)), one dilated 1-D convolution per layer (arXiv:1711.02255)."""

    def __init__(self, dim, context, *, flows, kernel):
        super().__init__()
        self.flows, self.kernel = flows, kernel
        self.dilations = [2**i for i in range(dim.bit_length())]
        layers = flows * len(self.dilations)
        self.log_first, self.bias = (nn.Parameter(torch.zeros(layers, 1)) for _ in range(2))
        self.others = nn.Parameter(torch.zeros(layers, kernel - 1))
        self.scale = nn.Parameter(torch.zeros(layers, dim))

    def forward(self, z, context):
        log_det, layer = 0, 0
        for block in range(self.flows):
            z = z.flip(1) if block % 2 else z
            for dilation in self.dilations:
                first = self.log_first[layer].exp()
                weight = torch.cat([first, self.others[layer]]).view(1, 1, -1)
                padded = pad(z, (0, (self.kernel - 1) * dilation))[:, None]
                inner = conv1d(padded, weight, self.bias[layer], dilation=dilation)[:, 0]
                along = softplus(self.scale[layer]) - 1
                along = along.flip(0) if block % 2 else along
                slope = torch.where(inner > 0, 1.0, 0.01)
                log_det = log_det + torch.log((1 + slope * along).clamp(min=TINY)).sum(1)
                z = z + along / first * leaky_relu(inner, 0.01)
                layer += 1
            z = z.flip(1) if block % 2 else z
        return z, log_det


def _in_turn(steps, z, context):
    log_det = 0
    for k, step in enumerate(steps):
        z = z.flip(1) if k % 2 else z
        z, change = step(z, context)
        z = z.flip(1) if k % 2 else z
        log_det = log_det + change
    return z, log_det


def _orthogonal(dim, context, *, flows, vectors, amortised):
    basis = QRSeed(dim, context, flows, vectors)
    return PlainSylvester(dim, context, flows=flows, width=vectors, basis=basis)


def _householder(dim, context, *, flows, reflections, amortised):
    basis = Reflections(dim, context, flows, reflections)
    return PlainSylvester(dim, context, flows=flows, basis=basis)


def _triangular(dim, context, *, flows, amortised):
    return PlainSylvester(dim, context, flows=flows)


PLAIN_FLOWS = {
    "planar": PlainPlanar,
    "sylvester_orthogonal": _orthogonal,
    "sylvester_householder": _householder,
    "sylvester_triangular": _triangular,
    "iaf": PlainIAF,
    "convolutional": PlainConvolutional,
    "nsf_ar": PlainSpline,
}


def plain_flow(variant, dim, context):
    """The plain form of a flow; one without it runs as scanner's own module, alone."""
    settings = variant.get()
    usual = settings.get("amortised", True) and settings.get("form", "affine") == "affine"
    if variant.name not in PLAIN_FLOWS or not usual:
        return build_flow(variant, dim, context)
    return PLAIN_FLOWS[variant.name](dim, context, **settings)
