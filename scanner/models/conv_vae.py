"""Conv-VAE: convolutions over the object table (arXiv:2110.08508, section 4)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from scanner.layers import BatchNorm, Dense
from scanner.models.common import LATENT, Latent, Outputs, Sampled
from scanner.models.convolution import Convolution, Deconvolution
from scanner.representations import Inputs, Shape
from scanner.trial import Variant

WIDTHS = (1, 32, 16, 8)
KERNELS = ((3, 4), (5, 1), (7, 1))
HIDDEN = 20


class ConvVAE(nn.Module):
    """A VAE of three convolutions over the rows of the kinematic columns, and its mirror image.

    The object type is not seen. The 20-vector before the posterior heads feeds the flow. The
    encoder, with its batch norm over the joined vector, is the same for every flow.

    Args:
        shape: Sizes of the inputs.
        flow: The flow between sampling and decoder.
        padding: `same` keeps the size of the table, as the paper has it; `valid` shrinks it, as
            the paper's public code does.
    """

    latent = LATENT

    def __init__(self, shape: Shape, flow: Variant, padding: str) -> None:
        super().__init__()
        self.kinematic, same = shape.kinematic, padding == "same"
        rows, columns = shape.slots, shape.kinematic
        if not same:
            rows -= sum(kernel[0] - 1 for kernel in KERNELS)
            columns -= sum(kernel[1] - 1 for kernel in KERNELS)
        self.image = (rows, columns, WIDTHS[-1])
        self.flat = rows * columns * WIDTHS[-1]
        joined, dense = self.flat + shape.extra + shape.hlf, self.flat + shape.hlf
        self.convolutions = _convolutions(same)
        self.hidden = nn.Sequential(BatchNorm(joined), *_dense(joined, HIDDEN, rectified=True))
        self.posterior = Latent(HIDDEN, flow)
        self.expand = nn.Sequential(
            *_dense(LATENT, HIDDEN, rectified=True), *_dense(HIDDEN, dense, rectified=False)
        )
        self.deconvolutions = _deconvolutions(same)

    def forward(self, inputs: Inputs, noise: Tensor) -> Outputs:
        """Encode, sample with `noise` (B, D), and reconstruct the kinematic columns."""
        table = inputs.objects[..., : self.kinematic].unsqueeze(-1)
        features = self.convolutions(table).flatten(-3)
        encoded = self.hidden(torch.cat([features, inputs.extra, inputs.hlf], dim=-1))
        sampled: Sampled = self.posterior(encoded, noise)
        dense = self.expand(sampled.zk)
        image = torch.unflatten(torch.relu(dense[..., : self.flat]), -1, self.image)
        objects = self.deconvolutions(image).squeeze(-1)
        return Outputs(*sampled, objects, dense[..., self.flat :])


def _convolutions(same: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for (before, after), kernel in zip(pairwise(WIDTHS), KERNELS, strict=True):
        layers += [Convolution(before, after, kernel, same), BatchNorm(after, rectified=True)]
    return nn.Sequential(*layers)


def _deconvolutions(same: bool) -> nn.Sequential:
    """The mirror image of the encoder's layers; the last one is linear."""
    layers: list[nn.Module] = []
    for (before, after), kernel in zip(pairwise(WIDTHS[::-1]), KERNELS[::-1], strict=True):
        layers += [Deconvolution(before, after, kernel, same), BatchNorm(after, rectified=True)]
    return nn.Sequential(*layers[:-1])


def _dense(before: int, after: int, rectified: bool) -> tuple[nn.Module, nn.Module]:
    return Dense(before, after), BatchNorm(after, rectified)
