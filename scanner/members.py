"""The members of a pack in training: stacked networks, optimiser, random streams, order."""

from __future__ import annotations

import copy
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
ALIGNMENT = 64


@dataclass(frozen=True)
class Members:
    """The members still training: row i of every stacked tensor belongs to member `numbers[i]`.

    Attributes:
        numbers: Their positions in the pack.
        trials: Their trials.
        model: Their networks as one (`scanner.layers.pack_models`).
        flat: (P, N) their parameters, which those of `model` are views of.
        first: (P, N) Adam's mean gradient.
        second: (P, N) Adam's mean squared gradient.
        taken: Steps taken, a 0-d tensor.
        beta: (P,) weights of the KL divergence.
        hlf_weight: (P,) weights of the high-level features.
        validation_noise: (P, N, D) noise of the validation events, the same at every epoch.
        streams: Generators of the event order and of the sampling noise.
    """

    numbers: list[int]
    trials: list[Trial]
    model: nn.Module
    flat: Tensor
    first: Tensor
    second: Tensor
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
    flat = flattened(model)
    return Members(
        numbers=list(range(len(pack))),
        trials=list(pack),
        model=model,
        flat=flat,
        first=torch.zeros_like(flat),
        second=torch.zeros_like(flat),
        taken=torch.zeros((), device=like.device),
        beta=like.new_tensor([t.beta for t in pack]),
        hlf_weight=like.new_tensor([t.training.hlf_weight for t in pack]),
        validation_noise=torch.stack(noise).to(like),
        streams=[(stream(t.seed, "order"), stream(t.seed, "noise")) for t in pack],
    )


def keep(members: Members, numbers: list[int]) -> Members:
    """The members `numbers`, at least one, without those that stopped."""
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
        flat=flattened(model),
        first=members.first[picked],
        second=members.second[picked],
        beta=members.beta[picked],
        hlf_weight=members.hlf_weight[picked],
        validation_noise=members.validation_noise[picked],
        streams=[members.streams[row] for row in rows],
    )


def part_of(members: Members, rows: slice) -> Members:
    """Some of the members, ready to train: what they are made of stays a view of the whole."""
    model = copy.deepcopy(members.model)
    for own, whole in zip(model.modules(), members.model.modules(), strict=True):
        for name, parameter in whole.named_parameters(recurse=False):
            setattr(own, name, nn.Parameter(parameter.detach()[rows], parameter.requires_grad))
        if isinstance(own, BatchNorm):
            for name, buffer in list(whole.named_buffers(recurse=False)):
                setattr(own, name, buffer[rows])
    return replace(
        members,
        numbers=members.numbers[rows],
        trials=members.trials[rows],
        model=model.train(),
        flat=members.flat[rows],
        first=members.first[rows],
        second=members.second[rows],
        beta=members.beta[rows],
        hlf_weight=members.hlf_weight[rows],
        validation_noise=members.validation_noise[rows],
        streams=members.streams[rows],
    )


def stacked_buffers(members: Members) -> State:
    """The buffers that have a row per member: those of batch norm."""
    return {
        name: buffer
        for prefix, module in members.model.named_modules() if isinstance(module, BatchNorm)
        for name, buffer in module.named_buffers(prefix, recurse=False)
    }  # fmt: skip


def state_of(members: Members, row: int) -> State:
    """A copy of one member's parameters and buffers, on the host."""
    state = {name: parameter[row] for name, parameter in members.model.named_parameters()}
    for prefix, module in members.model.named_modules():
        stacked = isinstance(module, BatchNorm)
        for name, buffer in module.named_buffers(prefix, recurse=False):
            state[name] = buffer[row] if stacked else buffer
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items()}


def flattened(model: nn.Module) -> Tensor:
    """(P, N) all parameters of a pack, which become views of it.

    N is filled up to whole vector registers: so every number is updated by the same instructions,
    whatever the size of the pack, and rounds alike.
    """
    parameters = list(model.parameters())
    total = sum(parameter[0].numel() for parameter in parameters)
    flat = parameters[0].new_zeros(len(parameters[0]), total + -total % ALIGNMENT)
    start = 0
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            part = flat[:, start : start + parameter[0].numel()].view(parameter.shape)
            part.copy_(parameter.detach())
            setattr(module, name, nn.Parameter(part, parameter.requires_grad))
            start += parameter[0].numel()
    return flat.detach()


def optimize(members: Members, gradients: Sequence[Tensor]) -> None:
    """One Adam step of every member, in place (Kingma and Ba, arXiv:1412.6980).

    It is step number `members.taken`, which whoever takes the step has counted.
    """
    parts = [gradient.flatten(1) for gradient in gradients]
    width = sum(part.shape[1] for part in parts)
    parts.append(members.flat.new_zeros(len(members), members.flat.shape[1] - width))
    gradient = torch.cat(parts, 1)
    for rows, rate in _rates(members.trials):
        torch._fused_adam_(
            [members.flat[rows]],
            [gradient[rows]],
            [members.first[rows]],
            [members.second[rows]],
            [],
            [members.taken],
            lr=rate,
            beta1=BETA1,
            beta2=BETA2,
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )


def batches(
    members: Members, events: int, size: int, taken: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each step's event numbers (P, size) and noise (P, size, D) of one epoch, on the device.

    The first `taken` steps are drawn and left out, so that an epoch can be gone on with.

    The last batch is filled up from the start of the epoch's order, so that all have one size and
    no event is left out. What is drawn on the host goes to the device once in `NOISE_STEPS` steps,
    and to a GPU while earlier steps run there: memory that is pinned is kept until it was copied.
    """
    like, short = members.beta, torch.int32 if events < 1 << 31 else torch.int64
    shape = len(members), events + -events % size
    order = torch.empty(shape, dtype=short, device=like.device)
    for row, (generator, _) in zip(order, members.streams, strict=True):
        drawn = torch.randperm(events, generator=generator)
        row.copy_(torch.cat([drawn, drawn[: -events % size]]))
    for step in range(order.shape[1] // size):
        if step % NOISE_STEPS == 0:
            block = (NOISE_STEPS, size, LATENT)
            noise = torch.stack([torch.randn(block, generator=g) for _, g in members.streams])
            noise = noise.pin_memory() if like.is_cuda else noise
            noise = noise.to(like, non_blocking=True).transpose(0, 1)
        if step >= taken:
            yield order[:, step * size : (step + 1) * size].long(), noise[step % NOISE_STEPS]


def _rates(trials: Sequence[Trial]) -> list[tuple[slice, float]]:
    """Runs of members with one learning rate."""
    runs, first = [], 0
    for rate, members in groupby(trial.training.learning_rate for trial in trials):
        count = len(list(members))
        runs.append((slice(first, first + count), rate))
        first += count
    return runs
