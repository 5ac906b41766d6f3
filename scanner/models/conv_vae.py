"""Conv-VAE: convolutions over the object table (arXiv:2110.08508, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scanner.models.common import LATENT, Latent, Outputs
from scanner.representations import Inputs, Shape
from scanner.trial import Variant

CHANNELS = (32, 16, 8)
ROWS = (3, 5, 7)
COLUMNS = 4
HIDDEN = 20


class ConvVAE(nn.Module):
    """A VAE of three convolutions over the rows of the kinematic columns, and its mirror image.

    The object type is not seen. The 20-vector before the posterior heads feeds the flow. The encoder,
    with its batch norm over the joined vector, is the same for every flow.

    Args:
        shape: Sizes of the inputs.
        flow: The flow between sampling and decoder.
        padding: `same` keeps the table's size, as the paper has it; `valid` shrinks it, as its code.
    """

    latent = LATENT

    def __init__(self, shape: Shape, flow: Variant, padding: str) -> None:
        super().__init__()
        self.kinematic, self.same = shape.kinematic, padding == "same"
        rows, columns = shape.slots, shape.kinematic
        if not self.same:
            rows, columns = rows - sum(ROWS) + len(ROWS), columns - COLUMNS + 1
        self.image = (CHANNELS[-1], rows, columns)
        self.flat = CHANNELS[-1] * rows * columns
        joined, dense = self.flat + shape.extra + shape.hlf, self.flat + shape.hlf
        self.convolutions = _convolutions(self.same)
        self.hidden = nn.Sequential(nn.BatchNorm1d(joined), *_dense(joined, HIDDEN), nn.ReLU())
        self.posterior = Latent(HIDDEN, flow)
        self.expand = nn.Sequential(*_dense(LATENT, HIDDEN), nn.ReLU(), *_dense(HIDDEN, dense))
        self.deconvolutions = _deconvolutions(self.same)

    def forward(self, inputs: Inputs, noise: Tensor) -> Outputs:
        """Encode, sample with `noise` (B, D), and reconstruct the kinematic columns."""
        table = inputs.objects[..., : self.kinematic].unsqueeze(-3)
        features = self.convolutions(table).flatten(-3)
        encoded = self.hidden(torch.cat([features, inputs.extra, inputs.hlf], dim=-1))
        mean, log_variance, z0, zk, log_det = self.posterior(encoded, noise)
        dense = self.expand(zk)
        features = torch.relu(dense[..., : self.flat]).unflatten(-1, self.image)
        objects = self.deconvolutions(features).squeeze(-3)
        if self.same:
            objects = objects[..., 1 : 1 + self.kinematic]
        return Outputs(mean, log_variance, z0, zk, log_det, objects, dense[..., self.flat :])


def _convolutions(same: bool) -> nn.Sequential:
    """The encoder's layers; an even kernel is padded by one column less on the left."""
    kernels = [(rows, COLUMNS if k == 0 else 1) for k, rows in enumerate(ROWS)]
    layers: list[nn.Module] = [nn.ZeroPad2d((1, 2, 0, 0))] if same else []
    for k, width in enumerate(CHANNELS):
        before = CHANNELS[k - 1] if k else 1
        convolution = nn.Conv2d(before, width, kernels[k], padding=_rows_padding(ROWS[k], same))
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers)


def _deconvolutions(same: bool) -> nn.Sequential:
    """The mirror image of the encoder's layers; the last one is linear and not yet cropped."""
    layers: list[nn.Module] = []
    for k in (2, 1):
        kernel, padding = (ROWS[k], 1), _rows_padding(ROWS[k], same)
        convolution = nn.ConvTranspose2d(CHANNELS[k], CHANNELS[k - 1], kernel, padding=padding)
        layers += [convolution, nn.BatchNorm2d(CHANNELS[k - 1]), nn.ReLU()]
    padding = _rows_padding(ROWS[0], same)
    layers.append(nn.ConvTranspose2d(CHANNELS[0], 1, (ROWS[0], COLUMNS), padding=padding))
    return nn.Sequential(*layers)


def _rows_padding(rows: int, same: bool) -> tuple[int, int]:
    return (rows // 2 if same else 0, 0)


def _dense(before: int, after: int) -> tuple[nn.Module, nn.Module]:
    return nn.Linear(before, after), nn.BatchNorm1d(after)
