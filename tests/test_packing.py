"""Parts of a pack: every member once, halved when memory ends, sized by what pays."""

from __future__ import annotations

import weakref
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from conftest import make_inputs, make_trial

from scanner import packing
from scanner.checkpoint import Keeper
from scanner.packing import PROBED, Probe, best_size, fit_in_parts, is_out_of_memory
from scanner.place import Place
from scanner.run import run_pack
from scanner.train import CPU_VALIDATED, EAGER_STEPS, fit


def pack_of(members):
    return [make_trial("deepset_vae", seed=k, max_epochs=2, batch_size=8) for k in range(members)]


def data(trial):
    return make_inputs(trial, 24, torch.float32), make_inputs(trial, 8, torch.float32, 2)


def host_error():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    return caught.value


def test_memory_errors_of_every_kind_are_told_from_bugs():
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(host_error())
    assert is_out_of_memory(torch.AcceleratorError("CUDA error: out of memory"))
    assert not is_out_of_memory(torch.AcceleratorError("CUDA error: invalid argument"))
    for library in ("CUBLAS", "CUDNN", "CUSOLVER"):
        text = f"{library} error: {library}_STATUS_ALLOC_FAILED when calling `create(handle)`"
        assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


@pytest.mark.parametrize("link", ["__context__", "__cause__"])
def test_an_error_raised_over_a_lack_of_memory_is_one(link):
    """As where leaving a capture fails because an error has ended it."""

    def over(inner):
        outer = RuntimeError("operation failed due to a previous error during capture")
        setattr(outer, link, inner)
        return outer

    full = torch.OutOfMemoryError("CUDA out of memory")
    assert is_out_of_memory(over(full))
    assert is_out_of_memory(over(over(full)))
    assert not is_out_of_memory(over(ValueError("a bug")))


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("full"), host_error()])
def test_a_pack_is_halved_until_it_fits_and_gives_the_same(monkeypatch, error):
    pack = pack_of(7)
    tried = []

    def limited(part, *rest):
        tried.append(len(part))
        if len(part) > 2:
            raise error
        return fit(part, *rest)

    monkeypatch.setattr(packing, "fit", limited)
    results = [r for part in fit_in_parts(pack, *data(pack[0])) for r in part]
    assert tried == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    whole = fit(pack, *data(pack[0]))
    assert [r.trial for r in results] == pack
    for one, other in zip(results, whole, strict=True):
        assert all(torch.equal(one.best[name], other.best[name]) for name in one.best)


def test_nothing_of_a_pack_that_did_not_fit_is_alive_when_its_memory_is_given_back(
    tmp_path, monkeypatch
):
    keeper, runs, alive = Keeper(Place(tmp_path)), [], []

    def full(epoch, members):
        runs.append(weakref.ref(keeper._take.args[0]))
        if members > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def release(release=packing._release):
        release()
        alive.extend(run() is not None for run in runs)

    monkeypatch.setattr(packing, "_release", release)
    pack = pack_of(2)
    assert len(list(fit_in_parts(pack, *data(pack[0]), full, keeper=keeper))) == 2
    assert alive == [False]


def test_a_member_that_does_not_fit_alone_is_an_error_after_the_others(monkeypatch):
    pack, made = pack_of(3), []

    def limited(part, *rest):
        if pack[2] in part:
            raise MemoryError
        return fit(part, *rest)

    monkeypatch.setattr(packing, "fit", limited)
    with pytest.raises(MemoryError):
        made.extend(r.trial for part in fit_in_parts(pack, *data(pack[0])) for r in part)
    assert made == pack[:2]


def test_a_bug_is_not_taken_for_a_lack_of_memory(monkeypatch):
    def broken(*_):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(packing, "fit", broken)
    with pytest.raises(RuntimeError, match="shape"):
        list(fit_in_parts(pack_of(4), *data(pack_of(1)[0])))


@pytest.mark.parametrize(
    ("rates", "each", "expected"),
    [
        ({16: 1, 32: 2, 64: 4, 128: 8, 240: 15}, 1, 240),  # doubling always pays
        ({16: 1, 32: 1.05}, 1, 16),  # it never does
        ({16: 1, 32: 2, 64: 2.1}, 1, 32),  # it stops paying
        ({16: 1, 32: 2, 50: 3}, 14, 50),  # the memory ends: 0.7 x 1000 / 14
        ({16: 1}, 100, 7),
    ],
)
def test_size_follows_the_marginal_rate_and_the_memory(rates, each, expected):
    trials = pack_of(1) * 240

    def probe(pack, *_):
        return Probe(rates[len(pack)], each, 1000)

    assert best_size(trials, *data(trials[0]), probe) == expected


def test_size_stops_where_the_probe_runs_out_of_memory():
    trials = pack_of(1) * 240

    def probe(pack, *_):
        if len(pack) > 32:
            raise torch.OutOfMemoryError
        return Probe(len(pack), 1, 10_000)

    assert best_size(trials, *data(trials[0]), probe) == 32


def test_the_real_probe_measures_and_leaves_the_members_alone():
    trials = pack_of(3 * PROBED)
    size = best_size(trials, *data(trials[0]), partial(packing._probe, gpu_share=1.0))
    assert PROBED <= size <= len(trials)
    (alone,) = fit(trials[:1], *data(trials[0]))
    (again,) = fit(trials[:1], *data(trials[0]))
    assert all(torch.equal(alone.best[name], again.best[name]) for name in alone.best)


class Allocator:
    """A stand-in for the memory of a GPU, of which this process has 60 of 1000 bytes."""

    def __init__(self):
        self.reserved, self.peak, self.others = 60, 900, 140  # a peak of long ago

    def take(self, size):
        self.reserved += size
        self.peak = max(self.peak, self.reserved)
        self.reserved -= size

    def reset_peak_memory_stats(self, device):
        self.peak = self.reserved

    def memory_reserved(self, device):
        return self.reserved

    def max_memory_reserved(self, device):
        return self.peak

    def mem_get_info(self, device):
        return 1000 - self.others - self.reserved, 1000


@pytest.mark.parametrize(("share", "free"), [(1.0, 800), (0.5, 440), (0.25, 190)])
def test_a_probe_on_a_gpu_sees_its_own_peak_and_its_own_share(monkeypatch, share, free):
    """What is free before it, of what its worker may fill; no peak of what ran earlier."""
    gpu = Allocator()
    for name in ("reset_peak_memory_stats", "memory_reserved", "max_memory_reserved",
                 "mem_get_info"):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, getattr(gpu, name))

    def tried(pack, train, validation):
        gpu.take(10 * len(pack))
        return 5.0, packing._used(train.objects.device)

    monkeypatch.setattr(packing, "_tried", tried)
    inputs = SimpleNamespace(objects=SimpleNamespace(device=torch.device("cuda")))
    for members in (32, 16):
        probed = packing._probe([None] * members, inputs, inputs, gpu_share=share)
        assert probed == Probe(5.0, 10, free)


def test_the_share_of_a_worker_reaches_the_probe(tmp_path, monkeypatch):
    shares = []

    def probe(pack, train, validation, gpu_share):
        shares.append(gpu_share)
        raise ArithmeticError("enough seen")

    monkeypatch.setattr(packing, "_probe", probe)
    run_pack(pack_of(PROBED + 1), Place(tmp_path, automatic=True, gpu_share=0.25))
    assert shares == [0.25]


def test_a_probe_validates_and_times_the_same_steps_over(monkeypatch):
    """As many as it is told, though the epoch has fewer; validation as in training, a batch."""
    seen, taken, pack = [], [], pack_of(2)
    train, validation = make_inputs(pack[0], 24), make_inputs(pack[0], 300, seed=2)

    def stepper(members, inputs):
        return lambda drawn: taken.extend(len(index) for index, _ in drawn), None

    monkeypatch.setattr(packing, "validate", lambda members, part: seen.append(len(part.objects)))
    monkeypatch.setattr(packing, "stepper", stepper)
    monkeypatch.setitem(packing.TIMED_STEPS, "cpu", 50)
    rate, used = packing._tried(pack, train, validation)
    assert seen == [CPU_VALIDATED]
    assert taken == [2] * (50 + EAGER_STEPS + 1)
    assert rate > 0
    assert used > 0
    assert packing.TIMED_STEPS["cuda"] >= 30
