"""How many trials a device trains at once: as many as pay, and as its memory holds.

A trial's result does not depend on it, so it may be measured, and changed in mid-pack.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
TIMED_STEPS = {"cpu": 3, "cuda": 50}  # some ms at least
WANTING = (  # torch's words where it has no class for it: on the host, of CUDA and its libraries
    "can't allocate memory", "CUDA error: out of memory", "ALLOC_FAILED",
)  # fmt: skip


class Probe(NamedTuple):
    """A pack in training: events per second, bytes per member, and bytes that all may take."""

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
    gpu_share: float = 1.0,
) -> Iterator[list[FitResult]]:
    """Train a pack, in parts if that pays, halved whenever the memory ends.

    Args:
        pack: Trials with one `Trial.pack_key`.
        train: As `scanner.train.fit` has it.
        validation: The same.
        on_epoch: The same.
        automatic: Whether a large pack is trained in parts of the `best_size`.
        keeper: Keeps the part in training; what it has kept is gone on with first.
        gpu_share: Share of a GPU that this process may fill, where others have the rest.

    Raises:
        MemoryError: One member alone does not fit (or what torch raises in its place).
    """
    rest, size, probe = list(pack), 0, partial(_probe, gpu_share=gpu_share)
    while rest:
        saved = keeper.find(rest) if keeper else None
        if not (saved or size):
            probed = automatic and len(rest) > PROBED
            size = best_size(rest, train, validation, probe) if probed else len(rest)
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
    probe: Callable[[Sequence[Trial], Inputs, Inputs], Probe],
) -> int:
    """Members to train at once: doubled while that pays and the free memory allows it."""
    best, rate, size = min(PROBED, len(pack)), 0.0, min(PROBED, len(pack))
    while True:
        try:
            probed = probe(pack[:size], train, validation)
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


def _probe(
    pack: Sequence[Trial], train: Inputs, validation: Inputs, gpu_share: float
) -> Probe:
    """What a pack takes that is thrown away, and what was free before it."""
    device = train.objects.device
    _release()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    free, before = _free(device, gpu_share), _used(device)
    rate, used = _tried(pack, train, validation)
    return Probe(rate, (used - before) / len(pack), free)


def _tried(pack: Sequence[Trial], train: Inputs, validation: Inputs) -> tuple[float, float]:
    """Events per second of a step that is repeated, and bytes used; validation is tried too."""
    device = train.objects.device
    members = start(pack, validation)
    at_once = validation_batch(device, len(pack))
    validate(members, Inputs(*(tensor[:at_once] for tensor in validation)))
    size = min(pack[0].training.batch_size, len(train.objects))
    train_on, _ = stepper(members, train)
    drawn = batches(members, len(train.objects), size)
    batch = next(drawn)
    train_on([batch] * (EAGER_STEPS + 1))
    _synchronize(device)
    started = time.perf_counter()
    train_on([batch] * TIMED_STEPS[device.type])
    _synchronize(device)
    rate = len(pack) * size * TIMED_STEPS[device.type] / (time.perf_counter() - started)
    return rate, _used(device)


def _used(device: torch.device) -> float:
    """Bytes that this process has; on a GPU the most since its peak was reset."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_reserved(device))
    return float(psutil.Process().memory_info().rss)


def _free(device: torch.device, gpu_share: float) -> float:
    """Bytes that this process may take besides, others having as much."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return min(free, gpu_share * total - torch.cuda.memory_reserved(device))
    return psutil.virtual_memory().available / (psutil.cpu_count() or 1)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _release() -> None:
    """Give back what a failed attempt held, once its exception is gone."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
