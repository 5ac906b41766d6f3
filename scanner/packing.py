"""How many trials a device trains at once: as many as pay, and as its memory holds.

A trial's result does not depend on it, so it may be measured, and changed in mid-pack.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import psutil
import torch

from scanner.checkpoint import Keeper
from scanner.members import batches, start
from scanner.representations import Inputs
from scanner.train import EAGER_STEPS, FitResult, fit, stepper, validate, validation_batch
from scanner.trial import Trial

PROBED = 16  # smaller packs are never worth a probe
WORTH = 1.1  # what twice the members must gain in events per second
SHARE = 0.7  # of the free memory
TIMED_STEPS = 3
WANTING = (  # torch's words where it has no class for it: on the host, of CUDA and its libraries
    "can't allocate memory", "CUDA error: out of memory", "ALLOC_FAILED",
)  # fmt: skip


class Probe(NamedTuple):
    """What a few steps of a pack take: events per second, bytes per member, and free bytes."""

    rate: float
    bytes_each: float
    free: float


def fit_in_parts(
    pack: Sequence[Trial],
    train: Inputs,
    validation: Inputs,
    on_epoch: Callable[[int, int], None] | None = None,
    automatic: bool = False,
    keeper: Keeper | None = None,
) -> Iterator[list[FitResult]]:
    """Train a pack, in parts if that pays, halved whenever the memory ends.

    Args:
        pack: Trials with one `Trial.pack_key`.
        train: As `scanner.train.fit` has it.
        validation: The same.
        on_epoch: The same.
        automatic: Whether a large pack is trained in parts of the `best_size`.
        keeper: Keeps the part in training; what it has kept is gone on with first.

    Raises:
        MemoryError: One member alone does not fit (or what torch raises in its place).
    """
    rest, size = list(pack), 0
    while rest:
        saved = keeper.find(rest) if keeper else None
        if not (saved or size):
            probed = automatic and len(rest) > PROBED
            size = best_size(rest, train, validation) if probed else len(rest)
        part = [trial for trial in rest if not saved or trial.id in saved.trials]
        part = part[: size or None]
        try:
            results = fit(part, train, validation, on_epoch, keeper, saved)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(part) == 1:
                raise
            size = len(part) // 2
            if keeper:
                keeper.let_go()
        else:
            yield results
            rest = [trial for trial in rest if trial not in part]
            if keeper:
                keeper.forget(part)
            continue
        _release()


def best_size(
    pack: Sequence[Trial],
    train: Inputs,
    validation: Inputs,
    probe: Callable[[Sequence[Trial], Inputs, Inputs], Probe] | None = None,
) -> int:
    """Members to train at once: doubled while that pays and the free memory allows it."""
    measure = probe or _probe
    best, rate, size = min(PROBED, len(pack)), 0.0, min(PROBED, len(pack))
    while True:
        try:
            probed = measure(pack[:size], train, validation)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            _release()
            return best if rate else max(1, size // 2)
        if probed.rate < WORTH * rate:
            return best
        best, rate = size, probed.rate
        size = min(2 * size, len(pack), int(SHARE * probed.free / max(probed.bytes_each, 1)))
        if size <= best:
            return max(1, size)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception says so, by its class or its words, or one that it was raised over."""
    if error is None:
        return False
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in WANTING)
    return (
        said
        or isinstance(error, MemoryError | torch.OutOfMemoryError)
        or is_out_of_memory(error.__cause__ or error.__context__)
    )


def _probe(pack: Sequence[Trial], train: Inputs, validation: Inputs) -> Probe:
    """Steps of a pack that is thrown away, the first ones untimed."""
    device = train.objects.device
    before = _used(device)
    members = start(pack, validation)
    at_once = validation_batch(device, len(pack))
    validate(members, Inputs(*(tensor[:at_once] for tensor in validation)))
    size = min(pack[0].training.batch_size, len(train.objects))
    step, _ = stepper(members, train)
    drawn = list(islice(batches(members, len(train.objects), size), EAGER_STEPS + TIMED_STEPS + 1))
    for number, (index, noise) in enumerate(drawn):
        if number == min(EAGER_STEPS + 1, len(drawn) - 1):
            _synchronize(device)
            started = time.perf_counter()
        step(index, noise)
    _synchronize(device)
    timed = len(drawn) - min(EAGER_STEPS + 1, len(drawn) - 1)
    rate = len(pack) * size * timed / (time.perf_counter() - started)
    return Probe(rate, (_used(device) - before) / len(pack), _free(device))


def _used(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return float(psutil.Process().memory_info().rss)


def _free(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return psutil.virtual_memory().available / (psutil.cpu_count() or 1)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _release() -> None:
    """Give back what a failed attempt held, once its exception is gone."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
