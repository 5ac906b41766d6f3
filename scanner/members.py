"""The members of a pack in training: stacked networks, their optimiser, random streams and order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor, nn

from scanner.layers import BatchNorm, pack_models
from scanner.models import LATENT, build_model
from scanner.representations import Inputs
from scanner.trial import Trial

State = dict[str, Tensor]
NOISE_STEPS = 64
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Members:
    """The members still training: row i of every stacked tensor belongs to member `numbers[i]`.

    Attributes:
        numbers: Their positions in the pack.
        trials: Their trials.
        model: Their networks as one (`scanner.layers.pack_models`).
        first: Adam's mean gradient of each parameter, stacked alike.
        second: Adam's mean squared gradient.
        taken: Steps taken, a 0-d tensor.
        beta: (P,) weights of the KL divergence.
        hlf_weight: (P,) weights of the high-level features.
        validation_noise: (P, N, D) noise of the validation events, the same at every epoch.
        streams: Generators of the event order and of the sampling noise.
    """

    numbers: list[int]
    trials: list[Trial]
    model: nn.Module
    first: list[Tensor]
    second: list[Tensor]
    taken: Tensor
    beta: Tensor
    hlf_weight: Tensor
    validation_noise: Tensor
    streams: list[tuple[torch.Generator, torch.Generator]]

    def __len__(self) -> int:
        return len(self.numbers)

def stream(seed: int, purpose: str) -> torch.Generator:
    """A member's random stream for one purpose, the same on every device and in every pack."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def initial_model(trial: Trial, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A trial's network before training, its weights drawn from the trial's own stream."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(trial.seed, "weights").initial_seed())
        return build_model(trial).to(dtype)


def start(pack: Sequence[Trial], validation: Inputs) -> Members:
    """All members of a pack before their first step, on the device of the inputs."""
    like = validation.objects
    model = pack_models([initial_model(trial, like.dtype) for trial in pack]).to(like.device)
    shape = (len(like), LATENT)
    noise = [torch.randn(shape, generator=stream(t.seed, "validation")) for t in pack]
    parameters = list(model.parameters())
    return Members(
        numbers=list(range(len(pack))),
        trials=list(pack),
        model=model,
        first=[torch.zeros_like(p) for p in parameters],
        second=[torch.zeros_like(p) for p in parameters],
        taken=torch.zeros((), device=like.device),
        beta=like.new_tensor([t.beta for t in pack]),
        hlf_weight=like.new_tensor([t.training.hlf_weight for t in pack]),
        validation_noise=torch.stack(noise).to(like),
        streams=[(stream(t.seed, "order"), stream(t.seed, "noise")) for t in pack],
    )


def keep(members: Members, numbers: list[int]) -> Members:
    """The members without those that stopped."""
    if numbers == members.numbers:
        return members
    rows = [members.numbers.index(k) for k in numbers]
    picked = torch.tensor(rows, dtype=torch.long, device=members.beta.device)
    model, trials = members.model, [members.trials[row] for row in rows]
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(parameter.detach()[picked]))
        if isinstance(module, BatchNorm):
            for name, buffer in list(module.named_buffers(recurse=False)):
                setattr(module, name, buffer[picked])
    return replace(
        members,
        numbers=numbers,
        trials=trials,
        first=[moment[picked] for moment in members.first],
        second=[moment[picked] for moment in members.second],
        beta=members.beta[picked],
        hlf_weight=members.hlf_weight[picked],
        validation_noise=members.validation_noise[picked],
        streams=[members.streams[row] for row in rows],
    )


def state_of(members: Members, row: int) -> State:
    """A copy of one member's parameters and buffers, on the host."""
    state = {name: parameter[row] for name, parameter in members.model.named_parameters()}
    for prefix, module in members.model.named_modules():
        stacked = isinstance(module, BatchNorm)
        for name, buffer in module.named_buffers(prefix, recurse=False):
            state[name] = buffer[row] if stacked else buffer
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items()}


def optimize(members: Members, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """One Adam step of every member, in place (Kingma and Ba, arXiv:1412.6980)."""
    members.taken.add_(1)
    lists = parameters, gradients, members.first, members.second
    for rows, rate in _rates(members.trials):
        torch._fused_adam_(
            *([tensor[rows] for tensor in tensors] for tensors in lists),
            [],
            [members.taken] * len(parameters),
            lr=rate,
            beta1=BETA1,
            beta2=BETA2,
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )


def batches(members: Members, events: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Each step's event numbers (P, size) and noise (P, size, D) of one epoch, on the device.

    The last batch is filled up from the start of the epoch's order, so that all have one size and
    no event is left out. What is drawn on the host goes to the device once in `NOISE_STEPS` steps.
    """
    like = members.beta
    order = torch.stack([torch.randperm(events, generator=g) for g, _ in members.streams])
    order = torch.cat([order, order[:, : -events % size]], dim=1).to(like.device)
    for step in range(order.shape[1] // size):
        if step % NOISE_STEPS == 0:
            shape = (NOISE_STEPS, size, LATENT)
            drawn = [torch.randn(shape, generator=g) for _, g in members.streams]
            noise = torch.stack(drawn).to(like).transpose(0, 1)
        yield order[:, step * size : (step + 1) * size], noise[step % NOISE_STEPS]


def _rates(trials: Sequence[Trial]) -> list[tuple[slice, float]]:
    """Runs of members with one learning rate."""
    runs, first = [], 0
    for rate, members in groupby(trial.training.learning_rate for trial in trials):
        count = len(list(members))
        runs.append((slice(first, first + count), rate))
        first += count
    return runs
