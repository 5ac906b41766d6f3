"""What one would write first: a network, a DataLoader, autograd and torch.optim.Adam.

One model at a time, every layer a module of PyTorch or PyTorch Geometric, the Chamfer distance
through `torch.cdist` with its gradient. Every rate of the benchmarks is also given as a multiple of
this loop's.
"""

from __future__ import annotations

import re
import warnings
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from scanner.members import initial_model
from scanner.models import LATENT, build_model
from scanner.models.common import soft_clamp
from scanner.representations import Inputs

from .plain_flows import plain_flow

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it still uses torch.jit.script
    import torch_geometric


class Made(NamedTuple):
    """What a plain network returns: posterior, reconstructed objects and high-level features."""

    mean: torch.Tensor
    log_variance: torch.Tensor
    objects: torch.Tensor
    hlf: torch.Tensor


class Posterior(nn.Module):
    """Heads, sampling and flow."""

    def __init__(self, width, flow):
        super().__init__()
        self.mean, self.log_variance = nn.Linear(width, LATENT), nn.Linear(width, LATENT)
        self.flow = plain_flow(flow, LATENT, width) if flow.name != "none" else None

    def forward(self, encoded, noise):
        mean, log_variance = self.mean(encoded), soft_clamp(self.log_variance(encoded))
        z = mean + noise * torch.exp(0.5 * log_variance)
        if self.flow is not None:
            z, _ = self.flow(z, encoded)
        return mean, log_variance, z


class PlainGCN(nn.Module):
    """The paper's GCN-VAE with GCNConv on batches of complete graphs (arXiv:2110.08508)."""

    def __init__(self, shape, flow, improved):
        super().__init__()
        convolution = torch_geometric.nn.GCNConv
        widths = (shape.features, 32, 16, 2)
        self.nodes, self.flat, self.hlf = shape.slots, 2 * shape.slots, shape.hlf
        self.encoder = nn.ModuleList(
            convolution(a, b, improved=improved) for a, b in pairwise(widths)
        )
        self.posterior = Posterior(self.flat + shape.extra + shape.hlf, flow)
        self.expand = nn.Linear(LATENT, self.flat + shape.hlf)
        self.decoder = nn.ModuleList(
            convolution(a, b, improved=improved) for a, b in pairwise(widths[::-1])
        )

    def forward(self, batch, noise):
        nodes = batch.x
        for layer in self.encoder:
            nodes = torch.relu(layer(nodes, batch.edge_index, batch.edge_weight))
        encoded = torch.cat([nodes.view(-1, self.flat), batch.extra, batch.hlf], dim=1)
        mean, log_variance, z = self.posterior(encoded, noise)
        dense = self.expand(z)
        nodes = torch.relu(dense[:, : self.flat]).reshape(-1, 2)
        for k, layer in enumerate(self.decoder):
            nodes = layer(nodes, batch.edge_index, batch.edge_weight)
            nodes = torch.relu(nodes) if k < 2 else nodes
        objects = nodes.view(len(mean), self.nodes, -1)
        return Made(mean, log_variance, objects, dense[:, self.flat :])


class Cropped(nn.ConvTranspose2d):
    """A transposed convolution cropped to the size of its input, as padding `same` needs."""

    def forward(self, image):
        full, rows, columns = super().forward(image), *image.shape[-2:]
        top, left = ((size - 1) // 2 for size in self.kernel_size)
        return full[..., top : top + rows, left : left + columns]


class PlainConv(nn.Module):
    """The paper's Conv-VAE with Conv2d, ConvTranspose2d and BatchNorm (arXiv:2110.08508)."""

    def __init__(self, shape, flow, padding):
        super().__init__()
        widths, kernels = (1, 32, 16, 8), ((3, 4), (5, 1), (7, 1))
        rows, columns = shape.slots, shape.kinematic
        if padding == "valid":
            rows, columns = rows - 12, columns - 3
        self.image, self.columns = (rows, columns, 8), shape.kinematic
        self.flat = rows * columns * 8
        joined, dense = self.flat + shape.extra + shape.hlf, self.flat + shape.hlf
        layers = []
        for (a, b), kernel in zip(pairwise(widths), kernels, strict=True):
            layers += [nn.Conv2d(a, b, kernel, padding=padding), nn.BatchNorm2d(b), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Sequential(
            nn.BatchNorm1d(joined), nn.Linear(joined, 20), nn.BatchNorm1d(20), nn.ReLU()
        )
        self.posterior = Posterior(20, flow)
        self.expand = nn.Sequential(
            nn.Linear(LATENT, 20), nn.BatchNorm1d(20), nn.ReLU(),
            nn.Linear(20, dense), nn.BatchNorm1d(dense), nn.ReLU(),
        )  # fmt: skip
        transposed = Cropped if padding == "same" else nn.ConvTranspose2d
        layers = []
        for (a, b), kernel in zip(pairwise(widths[::-1]), kernels[::-1], strict=True):
            layers += [transposed(a, b, kernel), nn.BatchNorm2d(b), nn.ReLU()]
        self.deconvolutions = nn.Sequential(*layers[:-2])

    def forward(self, batch, noise):
        objects, _, extra, hlf = batch
        features = self.convolutions(objects[:, None, :, : self.columns])
        features = features.permute(0, 2, 3, 1).flatten(1)  # the order of scanner's own layers
        encoded = self.hidden(torch.cat([features, extra, hlf], dim=1))
        mean, log_variance, z = self.posterior(encoded, noise)
        last = self.expand[-2].num_features
        dense = self.expand[:-1](z)
        image = torch.relu(dense[:, : self.flat]).view(-1, *self.image).permute(0, 3, 1, 2)
        made = self.deconvolutions(image)[:, 0]
        return Made(mean, log_variance, made, dense[:, self.flat : last])


class Own(nn.Module):
    """Scanner's own network, alone and without a pack: for what has no plain form here."""

    def __init__(self, trial):
        super().__init__()
        self.network = build_model(trial)

    def forward(self, batch, noise):
        made = self.network(Inputs(*batch), noise)
        return Made(made.mean, made.log_variance, made.objects, made.hlf)


def plain_model(trial, shape):
    """The plain network of a trial, with the weights that scanner's starts from."""
    settings, name = trial.architecture.get(), trial.architecture.name
    state = initial_model(trial).state_dict()
    if name == "conv_vae":
        model = PlainConv(shape, trial.flow, **settings)
    elif name == "gcn_vae" and settings == {
        "preset": settings["preset"], "hidden": 0, "adjacency": "complete",
    } and settings["preset"] != "plus":  # fmt: skip
        model = PlainGCN(shape, trial.flow, improved=settings["preset"] == "paper")
    else:
        model = Own(trial)
        model.network.load_state_dict(state)
        return model
    hand_over(state, model)
    return model


def hand_over(state, model):
    """Load scanner's weights, whose names differ where the layers do."""
    own = model.state_dict()
    renamed = {_renamed(name, own): value for name, value in state.items()}
    kept = {name: value for name, value in renamed.items() if name in own}
    missing = [name for name in own if name not in kept and not _is_made(name)]
    if missing:
        raise KeyError(f"no weights for {missing} among {sorted(renamed)}")
    model.load_state_dict(kept, strict=False)


def _renamed(name, own):
    words = [(r"^(encoder|decoder)\.(\d)\.linear\.weight", r"\1.\2.lin.weight"),
             (r"^(encoder|decoder)\.(\d)\.linear\.bias", r"\1.\2.bias"),
             (r"^(convolutions|deconvolutions|expand)\.(\d)\.", _with_relu),
             (r"\.kernel\.", "."), (r"\.nets\.(\d+)\.", r".nets.\1.autoregressive_net.")]
    if "expand.weight" in own:
        words += [(r"^expand\.\d\.", "expand.")]
    for old, new in words:
        name = re.sub(old, new, name)
    return name


def _with_relu(match):
    """The number of a layer where every second one is followed by a ReLU of its own."""
    number = int(match[2])
    return f"{match[1]}.{number // 2 * 3 + number % 2}."


def _is_made(name):
    """Whether a tensor is no weight: a mask, a count or a degree of a masked network."""
    return name.endswith(("num_batches_tracked", "mask", "degrees"))


def plain_loss(objects, hlf, made, beta, weight):
    """Mean of beta KL + (1 - beta) (Chamfer + weight x MSE) over a batch."""
    target = objects[..., : made.objects.shape[-1]]
    distance = torch.cdist(target, made.objects)
    chamfer = distance.min(2).values.sum(1) + distance.min(1).values.sum(1)
    kl = 0.5 * (made.mean**2 + made.log_variance.exp() - made.log_variance - 1).sum(1)
    error = ((hlf - made.hlf) ** 2).mean(1) if hlf.shape[1] else 0
    return (beta * kl + (1 - beta) * (chamfer + weight * error)).mean()


def loader(model, inputs, size, shuffle=True):
    """A DataLoader of the kind that the network wants."""
    if not isinstance(model, PlainGCN):
        return DataLoader(TensorDataset(*inputs), batch_size=size, shuffle=shuffle, drop_last=True)
    nodes = inputs.objects.shape[1]
    every = torch.ones(nodes, nodes) - torch.eye(nodes)
    edges = every.nonzero().T.contiguous()
    weights = inputs.objects.new_ones(edges.shape[1])  # without them `improved` has no effect
    graphs = [
        torch_geometric.data.Data(
            x=x, edge_index=edges, edge_weight=weights, extra=extra[None], hlf=hlf[None]
        )
        for x, extra, hlf in zip(inputs.objects, inputs.extra, inputs.hlf, strict=True)
    ]
    return torch_geometric.loader.DataLoader(
        graphs, batch_size=size, shuffle=shuffle, drop_last=True
    )


def parts_of(model, batch):
    """Objects and high-level features of a batch."""
    if isinstance(model, PlainGCN):
        return batch.x.view(batch.num_graphs, model.nodes, -1), batch.hlf
    return batch[0], batch[3]


def placed(batch, device):
    """A batch on the device."""
    return [t.to(device) for t in batch] if isinstance(batch, list) else batch.to(device)


def train_forever(trial, model, inputs, device):
    """Train, one step per `next`; yields the events of the step."""
    model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=trial.training.learning_rate)
    batches = loader(model, inputs, trial.training.batch_size)
    total = torch.zeros((), device=device)
    while True:
        for host in batches:
            batch = placed(host, device)
            objects, hlf = parts_of(model, batch)
            made = model(batch, torch.randn(len(objects), LATENT, device=device))
            loss = plain_loss(objects, hlf, made, trial.beta, trial.training.hlf_weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
            yield len(objects)


def score_forever(model, inputs, device, size):
    """Score with reconstruction, KL and R_z, one batch per `next`; yields its events."""
    model.to(device).eval()
    batches = loader(model, inputs, size, shuffle=False)
    while True:
        for host in batches:
            with torch.no_grad():
                batch = placed(host, device)
                objects, _ = parts_of(model, batch)
                made = model(batch, torch.zeros(len(objects), LATENT, device=device))
                target = objects[..., : made.objects.shape[-1]]
                distance = torch.cdist(target, made.objects)
                chamfer = distance.min(2).values.sum(1) + distance.min(1).values.sum(1)
                variance = made.log_variance.exp()
                kl = 0.5 * (made.mean**2 + variance - made.log_variance - 1).sum(1)
                rz = (made.mean**2 / variance).sum(1)
                torch.stack([chamfer, kl, rz]).cpu().numpy()
            yield len(objects)
