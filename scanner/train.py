"""Train a pack: trials of one shape as one batched program, each as if it were alone.

The parameters of all members are the rows of one matrix; a member has its own random streams, order
of events, beta, HLF weight, learning rate and early stopping. Members that stop leave the matrix.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from scanner.losses import kl, training_loss
from scanner.models import LATENT, build_model
from scanner.representations import Inputs
from scanner.trial import Trial

State = dict[str, Tensor]
Row = dict[str, float]
NOISE_STEPS = 64
VALIDATION_BATCH = 1024
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class FitResult:
    """One member's training.

    Attributes:
        trial: The trial.
        status: `done`, or `diverged` where a loss was not finite.
        best: Parameters and buffers of the epoch with the lowest validation loss (a copy).
        initial: The same before the first step.
        best_epoch: That epoch, from 1; 0 if none was finite.
        history: A row per epoch: mean loss and KL per event, validation loss, wall time in s.
    """

    trial: Trial
    status: str
    best: State
    initial: State
    best_epoch: int
    history: list[Row]


@dataclass
class _Progress:
    """What one member has reached; kept after it stopped."""

    best: State
    initial: State
    best_loss: float = math.inf
    best_epoch: int = 0
    waited: int = 0
    diverged: bool = False
    history: list[Row] = field(default_factory=list)

    def status(self) -> str:
        return "diverged" if self.diverged else "done"


class _Members(NamedTuple):
    """The members still training: row i of every tensor belongs to member `numbers[i]`.

    The streams hold, per member, the generators of the event order and of the sampling noise.
    """

    numbers: list[int]
    flat: Tensor
    buffers: State
    first: Tensor
    second: Tensor
    beta: Tensor
    hlf_weight: Tensor
    learning_rate: Tensor
    validation_noise: Tensor
    streams: list[tuple[torch.Generator, torch.Generator]]


def fit(
    pack: Sequence[Trial],
    train: Inputs,
    validation: Inputs,
    on_epoch: Callable[[int, int], None] | None = None,
) -> list[FitResult]:
    """Train all members of a pack together.

    Args:
        pack: Trials with one `Trial.pack_key`.
        train: Background training events, on the device and in the precision of the training.
        validation: Background validation events, for early stopping.
        on_epoch: Called after each epoch with its number and how many members go on.

    Returns:
        One result per trial, in the order of the pack. No label is ever seen.
    """
    models = [initial_model(trial, train.objects.dtype) for trial in pack]
    model = models[0].to(train.objects.device)
    members = _start(pack, models, validation)
    initial = [_state(model, members, k) for k in range(len(pack))]
    progress = [_Progress(best=state, initial=state) for state in initial]
    steps = 0
    for epoch in range(1, pack[0].training.max_epochs + 1):
        started = time.perf_counter()
        losses, steps = _train_epoch(model, pack[0], members, train, steps)
        validation_losses = _validate(model, pack[0], members, validation)
        rows = torch.cat([losses, validation_losses[:, None]], dim=1).tolist()
        wall_s = time.perf_counter() - started
        for row, k in enumerate(members.numbers):
            state = _state(model, members, row)
            _account(progress[k], epoch, rows[row], state, wall_s / len(members.numbers))
        members = _keep(members, [k for k in members.numbers if _goes_on(progress[k], pack[k])])
        if on_epoch:
            on_epoch(epoch, len(members.numbers))
        if not members.numbers:
            break
    return [
        FitResult(trial, p.status(), p.best, p.initial, p.best_epoch, p.history)
        for trial, p in zip(pack, progress, strict=True)
    ]


def stream(seed: int, purpose: str) -> torch.Generator:
    """A member's random stream for one purpose, the same on every device and in every pack."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def initial_model(trial: Trial, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A trial's network before training, its weights drawn from the trial's own stream."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(trial.seed, "weights").initial_seed())
        return build_model(trial).to(dtype)


def _start(pack: Sequence[Trial], models: list[nn.Module], validation: Inputs) -> _Members:
    like = validation.objects
    flat = torch.stack([_flatten(model) for model in models]).to(like.device)
    named = [dict(model.named_buffers()) for model in models]
    shape = (len(like), LATENT)
    noise = [torch.randn(shape, generator=stream(t.seed, "validation")) for t in pack]
    return _Members(
        numbers=list(range(len(pack))),
        flat=flat,
        buffers={k: torch.stack([b[k] for b in named]).to(like.device) for k in named[0]},
        first=torch.zeros_like(flat),
        second=torch.zeros_like(flat),
        beta=like.new_tensor([t.beta for t in pack]),
        hlf_weight=like.new_tensor([t.training.hlf_weight for t in pack]),
        learning_rate=like.new_tensor([t.training.learning_rate for t in pack]),
        validation_noise=torch.stack(noise).to(like),
        streams=[(stream(t.seed, "order"), stream(t.seed, "noise")) for t in pack],
    )


def _train_epoch(
    model: nn.Module, trial: Trial, members: _Members, train: Inputs, steps: int
) -> tuple[Tensor, int]:
    """One pass over the training events; (members, 2) mean loss and KL, and the step count."""
    model.train()
    size, before = min(trial.training.batch_size, len(train.objects)), steps
    total = torch.zeros(len(members.numbers), 2).to(train.objects)
    for index, noise in _batches(members, len(train.objects), size, LATENT):
        batch = Inputs(*(tensor[index.to(tensor.device)] for tensor in train))
        flat = members.flat.detach().requires_grad_()
        losses = _losses(model, trial, members, flat, batch, noise.to(flat), shared=False)
        (gradient,) = torch.autograd.grad(losses[:, 0].sum(), flat)
        _adam(members, gradient, steps := steps + 1)
        total += losses.detach()
    return total / (steps - before), steps


def _batches(
    members: _Members, events: int, size: int, latent: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each step's event numbers (members, size) and noise (members, size, latent).

    The last batch is filled up from the start of the epoch's order, so that all have one size and
    no event is left out.
    """
    order = torch.stack([torch.randperm(events, generator=g) for g, _ in members.streams])
    order = torch.cat([order, order[:, : -events % size]], dim=1)
    for step in range(order.shape[1] // size):
        if step % NOISE_STEPS == 0:
            shape = (NOISE_STEPS, size, latent)
            noise = torch.stack([torch.randn(shape, generator=g) for _, g in members.streams])
        yield order[:, step * size : (step + 1) * size], noise[:, step % NOISE_STEPS]


def _losses(
    model: nn.Module,
    trial: Trial,
    members: _Members,
    flat: Tensor,
    batch: Inputs,
    noise: Tensor,
    shared: bool,
) -> Tensor:
    """(members, 2) mean loss and KL; `shared` where all members see the same events."""

    def one(
        flat: Tensor, buffers: State, batch: Inputs, noise: Tensor, beta: Tensor, weight: Tensor
    ) -> Tensor:
        state = {**_unflatten(model, flat), **buffers}
        outputs = functional_call(model, state, (batch, noise))
        how = trial.training
        loss = training_loss(batch, outputs, beta=beta, hlf_weight=weight, training=how)
        return torch.stack([loss.mean(), kl(outputs.mean, outputs.log_variance).mean()])

    lead = None if shared else 0
    weights = members.beta, members.hlf_weight
    together = vmap(one, in_dims=(0, 0, lead, 0, 0, 0))
    losses: Tensor = together(flat, members.buffers, batch, noise, *weights)
    return losses


def _adam(members: _Members, gradient: Tensor, steps: int) -> None:
    """One Adam step of every member, in place (Kingma and Ba, arXiv:1412.6980)."""
    members.first.lerp_(gradient, 1 - BETA1)
    members.second.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    spread = (members.second / (1 - BETA2**steps)).sqrt_().add_(EPSILON)
    rate = members.learning_rate[:, None] / (1 - BETA1**steps)
    members.flat.sub_(rate * members.first / spread)


def _validate(model: nn.Module, trial: Trial, members: _Members, validation: Inputs) -> Tensor:
    """Mean validation loss of every member, with noise that is the same at every epoch."""
    model.eval()
    total = torch.zeros_like(members.beta)
    with torch.no_grad():
        for start in range(0, len(validation.objects), VALIDATION_BATCH):
            part = slice(start, start + VALIDATION_BATCH)
            batch = Inputs(*(tensor[part] for tensor in validation))
            noise = members.validation_noise[:, part]
            losses = _losses(model, trial, members, members.flat, batch, noise, shared=True)
            total += losses[:, 0] * len(batch.objects)
    return total / len(validation.objects)


def _account(
    progress: _Progress, epoch: int, row: list[float], state: State, wall_s: float
) -> None:
    loss, kl_mean, validation_loss = row
    progress.history.append(
        {"epoch": epoch, "loss": loss, "kl": kl_mean, "validation_loss": validation_loss,
         "wall_s": wall_s}
    )  # fmt: skip
    progress.diverged = not all(map(math.isfinite, row))
    if validation_loss < progress.best_loss and not progress.diverged:
        progress.best, progress.best_loss, progress.best_epoch = state, validation_loss, epoch
        progress.waited = 0
    else:
        progress.waited += 1


def _goes_on(progress: _Progress, trial: Trial) -> bool:
    return not progress.diverged and progress.waited < trial.training.patience


def _keep(members: _Members, numbers: list[int]) -> _Members:
    """The members without those that stopped."""
    if numbers == members.numbers:
        return members
    rows = [members.numbers.index(k) for k in numbers]
    picked = torch.tensor(rows, dtype=torch.long, device=members.flat.device)
    tensors = {
        name: value[picked]
        for name, value in members._asdict().items()
        if isinstance(value, Tensor)
    }
    buffers = {name: buffer[picked] for name, buffer in members.buffers.items()}
    streams = [members.streams[row] for row in rows]
    return members._replace(numbers=numbers, buffers=buffers, streams=streams, **tensors)


def _flatten(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


def _unflatten(model: nn.Module, flat: Tensor) -> State:
    named = dict(model.named_parameters())
    parts = torch.split(flat, [parameter.numel() for parameter in named.values()])
    return {
        name: part.view(parameter.shape)
        for (name, parameter), part in zip(named.items(), parts, strict=True)
    }


def _state(model: nn.Module, members: _Members, row: int) -> State:
    """A copy of one member's parameters and buffers, on the host."""
    state = _unflatten(model, members.flat[row])
    state |= {name: buffer[row] for name, buffer in members.buffers.items()}
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items()}
