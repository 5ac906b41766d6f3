"""Train a pack: trials of one shape as one batched program, each as if it were alone.

The members' networks are one module with stacked parameters; a member has its own random streams,
order of events, beta, HLF weight, learning rate and early stopping. Members that stop leave it.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice, pairwise

import torch
from torch import Tensor

from scanner.checkpoint import Keeper, Saved
from scanner.losses import kl, training_loss
from scanner.members import Members, State, batches, keep, optimize, part_of, start, state_of
from scanner.models import LATENT, set_precision
from scanner.replay import replayed, working_bytes
from scanner.representations import Inputs
from scanner.running import Progress, Row, Run, Step, Steps, go_on, record_of, stand
from scanner.trial import Trial

CPU_VALIDATED, GPU_VALIDATED = 128, 8192  # events at once: of each member, of all together
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)
KEPT_BYTES = 1 << 30
CACHE_BYTES = 2_000_000  # of one core
BLOCK_EVENTS = 1 << 14  # of a pack between looks at the time: a part of it before the next
EAGER_STEPS = 3  # before a capture, so that libraries have allocated what they need


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


def fit(
    pack: Sequence[Trial],
    train: Inputs,
    validation: Inputs,
    on_epoch: Callable[[int, int], None] | None = None,
    keeper: Keeper | None = None,
    saved: Saved | None = None,
) -> list[FitResult]:
    """Train all members of a pack together.

    Args:
        pack: Trials with one `Trial.pack_key`.
        train: Background training events, on the device and in the precision of the training.
        validation: Background validation events, for early stopping.
        on_epoch: Called after each epoch with its number and how many members go on.
        keeper: Keeps the training while it runs.
        saved: What a keeper kept of these trials, to go on from.

    Returns:
        One result per trial, in the order of the pack. No label is ever seen.

    Raises:
        Interrupted: The keeper was asked to stop.
    """
    _keep_freed_memory()
    set_precision(pack[0])
    members = start(pack, validation)
    initial = [state_of(members, k) for k in members.numbers]
    progress = [Progress(best=state) for state in initial]
    run = Run(pack, progress, members, *stepper(members, train))
    if saved:
        go_on(run, saved, lambda members: stepper(members, train))
    if keeper:
        keeper.follow(pack, partial(record_of, run))
    while not run.over:
        _run_epoch(run, train, validation, on_epoch, keeper)
    return [
        FitResult(trial, p.status(), p.best, first, p.best_epoch, p.history)
        for trial, p, first in zip(pack, progress, initial, strict=True)
    ]


def _run_epoch(
    run: Run,
    train: Inputs,
    validation: Inputs,
    on_epoch: Callable[[int, int], None] | None,
    keeper: Keeper | None,
) -> None:
    losses = _train_epoch(run, len(train.objects), keeper)
    rows = torch.cat([losses, validate(run.members, validation)[:, None]], dim=1).tolist()
    wall_s = (time.perf_counter() - run.began) / len(run.members)
    numbers = run.members.numbers
    for row, k in enumerate(numbers):
        state = partial(state_of, run.members, row)
        _account(run.progress[k], run.epoch, rows[row], state, wall_s)
    going = [k for k in numbers if _goes_on(run.progress[k], run.pack[k])]
    if on_epoch:
        on_epoch(run.epoch, len(going))
    run.over = not going or run.epoch >= run.pack[0].training.max_epochs
    run.epoch, run.steps = run.epoch + 1, 0
    if not run.over and going != numbers:
        run.members = keep(run.members, going)
        run.step, run.total = stepper(run.members, train)


@lru_cache(maxsize=1)
def _keep_freed_memory() -> None:
    """Tell the C library to reuse freed memory: a step's page faults cost a fifth of its time."""
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust:
        adjust(TRIM_THRESHOLD, KEPT_BYTES)
        adjust(MMAP_THRESHOLD, KEPT_BYTES)


def _train_epoch(run: Run, events: int, keeper: Keeper | None) -> Tensor:
    """The steps of an epoch that are not taken yet; (P, 2) mean loss and KL."""
    run.members.model.train()
    if run.steps == 0:
        run.began, run.streams = time.perf_counter(), stand(run.members)
        run.total.zero_()
    size = min(run.pack[0].training.batch_size, events)
    at_once = max(1, BLOCK_EVENTS // (size * len(run.members)))
    drawn = batches(run.members, events, size, run.steps)
    while block := list(islice(drawn, at_once)):
        run.step(block)
        run.steps += len(block)
        if keeper:
            keeper.look()
    return run.total / -(-events // size)


def stepper(members: Members, train: Inputs) -> tuple[Steps, Tensor]:
    """A few training steps, in place, and the (P, 2) sum of their losses and KL divergences.

    On CUDA the step is captured as a graph after the first few: it is launched as one, with no
    synchronisation with the host. On a CPU it is recorded and replayed, all the steps of a part of
    the pack before those of the next, which has its own work in the cache.
    """
    total = members.beta.new_zeros(len(members), 2)
    parts = [(rows, _quick_step(part_of(members, rows), train, total[rows]))
             for rows in _parts(members, train)]  # fmt: skip

    def steps(drawn: Sequence[tuple[Tensor, Tensor]]) -> None:
        before = members.taken.clone()
        for rows, run in parts:
            members.taken.copy_(before)
            for index, noise in drawn:
                members.taken.add_(1)
                run(index[rows], noise[rows])

    return steps, total


def _parts(members: Members, train: Inputs) -> list[slice]:
    """Rows that train together: on a CPU as many as have most of their step's work in a cache.

    They follow from shapes alone; and whatever they are, a member's numbers are the same.
    """
    count = len(members)
    if count == 1 or members.beta.is_cuda:
        return [slice(None)]
    alone = start(members.trials[:1], Inputs(*(tensor[:1] for tensor in train)))
    total, events = alone.beta.new_zeros(1, 2), len(train.objects)
    size = min(alone.trials[0].training.batch_size, events)
    noise = alone.beta.new_zeros(1, size, LATENT)
    each = working_bytes(_plain_step(alone, train, total), torch.arange(size)[None], noise)
    parts = math.ceil(count / max(1, CACHE_BYTES // each))
    bounds = [count * k // parts for k in range(parts + 1)]
    return [slice(*pair) for pair in pairwise(bounds)]


def _quick_step(members: Members, train: Inputs, total: Tensor) -> Step:
    return (captured if total.is_cuda else replayed)(_plain_step(members, train, total))


def _plain_step(members: Members, train: Inputs, total: Tensor) -> Step:
    parameters = list(members.model.parameters())

    def step(index: Tensor, noise: Tensor) -> None:
        batch = Inputs(*(tensor[index] for tensor in train))
        losses = _losses(members, batch, noise)
        gradients = torch.autograd.grad(losses[:, 0].sum(), parameters)
        optimize(members, gradients)
        total.add_(losses.detach())

    return step


def captured(step: Step) -> Step:
    """A step that is run a few times on a side stream, then captured, then replayed."""
    graph, side, ran = torch.cuda.CUDAGraph(), torch.cuda.Stream(), 0  # type: ignore[no-untyped-call]
    held: list[Tensor] = []

    def run(index: Tensor, noise: Tensor) -> None:
        nonlocal ran, held
        ran += 1
        if ran <= EAGER_STEPS:
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                step(index, noise)
            torch.cuda.current_stream().wait_stream(side)
            return
        if ran == EAGER_STEPS + 1:
            held = [index.clone(), noise.clone()]
            with torch.cuda.graph(graph):
                step(*held)
        for kept, new in zip(held, (index, noise), strict=True):
            kept.copy_(new)
        graph.replay()

    return run


def _losses(members: Members, batch: Inputs, noise: Tensor) -> Tensor:
    """(P, 2) mean loss and KL of a batch (P, B, ...)."""
    outputs = members.model(batch, noise)
    weights = {"beta": members.beta, "hlf_weight": members.hlf_weight}
    loss = training_loss(batch, outputs, **weights, training=members.trials[0].training)
    return torch.stack([loss.mean(-1), kl(outputs.mean, outputs.log_variance).mean(-1)], -1)


def validation_batch(device: torch.device, members: int = 1) -> int:
    """Events that each member is validated on at once: on a GPU their memory is that of one."""
    return CPU_VALIDATED if device.type == "cpu" else max(1, GPU_VALIDATED // members)


@torch.no_grad()
def validate(members: Members, validation: Inputs) -> Tensor:
    """(P,) mean validation loss, with noise that is the same at every epoch."""
    members.model.eval()
    total = torch.zeros_like(members.beta, dtype=torch.float64)
    size = validation_batch(total.device, len(members))
    for start_ in range(0, len(validation.objects), size):
        part = slice(start_, start_ + size)
        batch = Inputs(*(t[part].expand(len(members), *t[part].shape) for t in validation))
        losses = _losses(members, batch, members.validation_noise[:, part])
        total += losses[:, 0] * batch.objects.shape[1]
    return (total / len(validation.objects)).to(members.beta)


def _account(
    progress: Progress, epoch: int, row: list[float], state: Callable[[], State], wall_s: float
) -> None:
    loss, kl_mean, validation_loss = row
    progress.history.append(
        {"epoch": epoch, "loss": loss, "kl": kl_mean, "validation_loss": validation_loss,
         "wall_s": wall_s}
    )  # fmt: skip
    progress.diverged = not all(map(math.isfinite, row))
    if validation_loss < progress.best_loss and not progress.diverged:
        progress.best, progress.best_loss, progress.best_epoch = state(), validation_loss, epoch
        progress.waited = 0
    else:
        progress.waited += 1


def _goes_on(progress: Progress, trial: Trial) -> bool:
    return not progress.diverged and progress.waited < trial.training.patience
