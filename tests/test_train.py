"""A member of a pack trains as if it were alone, and as torch.optim.Adam would train it."""

from __future__ import annotations

import math
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
from conftest import make_inputs, make_trial
from torch.utils._python_dispatch import TorchDispatchMode

from scanner.losses import training_loss
from scanner.members import NOISE_STEPS, batches, initial_model, keep, start, stream
from scanner.models import LATENT
from scanner.registry import ARCHITECTURES, FLOWS
from scanner.representations import Inputs
from scanner.train import (
    CPU_VALIDATED,
    EAGER_STEPS,
    GPU_VALIDATED,
    _parts,
    _plain_step,
    captured,
    fit,
    stepper,
    validate,
    validation_batch,
)

EVENTS, VALIDATION = 48, 20


def trained(pack, dtype=torch.float64):
    train = make_inputs(pack[0], EVENTS, dtype, 1)
    return fit(pack, train, make_inputs(pack[0], VALIDATION, dtype, 2))


def largest_difference(one, other):
    assert one.keys() == other.keys()
    return max((one[k].double() - other[k].double()).abs().max().item() for k in one)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("flow", FLOWS)
def test_member_is_the_same_alone_and_in_a_pack(architecture, flow):
    def member(seed, beta, rate):
        return make_trial(
            architecture, flow, "truncated", seed=seed, beta=beta, learning_rate=rate, max_epochs=9,
            patience=9, batch_size=8,
        )

    pack = [member(0, 0.5, 1e-3), member(1, 1.0, 1e-3), member(0, 1e-6, 1e-2)]
    together = trained(pack)
    (alone,) = trained(pack[1:2])
    assert largest_difference(together[1].best, alone.best) < 1e-10
    assert together[1].best_epoch == alone.best_epoch
    assert len(alone.history) * EVENTS / 8 >= 50
    for one, other in zip(together[1].history, alone.history, strict=True):
        assert one["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-10)
    assert largest_difference(alone.best, alone.initial) > 1e-4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_single_precision_is_the_same_to_the_bit(architecture):
    pack = [
        make_trial(architecture, "planar", seed=s, learning_rate=1e-3, max_epochs=3, batch_size=8)
        for s in (0, 1, 2)
    ]
    together, again = trained(pack, torch.float32), trained(pack, torch.float32)
    (alone,) = trained(pack[2:], torch.float32)
    assert largest_difference(together[2].best, again[2].best) == 0
    assert largest_difference(together[2].best, alone.best) == 0


def test_the_order_of_a_pack_does_not_matter():
    pack = [make_trial(seed=s, beta=b, max_epochs=2) for s, b in ((0, 0.5), (1, 1.0), (0, 1e-6))]
    for one, other in zip(trained(pack), trained(pack[::-1])[::-1], strict=True):
        assert largest_difference(one.best, other.best) < 1e-10


def test_steps_are_those_of_torch_adam():
    trial = make_trial(max_epochs=2, patience=9, learning_rate=3e-3, batch_size=8)
    train, validation = make_inputs(trial, EVENTS), make_inputs(trial, VALIDATION, seed=2)
    (result,) = fit([trial], train, validation)
    model = initial_model(trial, torch.float64)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    members = start([trial], validation)
    beta, weight = (torch.tensor(v, dtype=torch.float64) for v in (0.5, 1.0))
    for _ in range(2):
        for index, noise in batches(members, EVENTS, 8):
            batch = Inputs(*(t[index[0]] for t in train))
            outputs = model(batch, noise[0].double())
            loss = training_loss(
                batch, outputs, beta=beta, hlf_weight=weight, training=trial.training
            ).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert result.best_epoch == 2
    assert largest_difference(result.best, model.state_dict()) < 1e-10


def test_every_event_is_seen_in_every_epoch():
    trial = make_trial()
    members = start([trial], make_inputs(trial, 3))
    for _ in range(2):
        seen = [index[0] for index, _ in batches(members, 70, 32)]
        assert [len(b) for b in seen] == [32, 32, 32]
        assert set(torch.cat(seen).tolist()) == set(range(70))


def test_order_and_noise_differ_between_epochs_and_seeds():
    trials = [make_trial(seed=0), make_trial(seed=1)]
    members = start(trials, make_inputs(trials[0], 3))
    epochs = [list(batches(members, 32 * (NOISE_STEPS + 1), 32)) for _ in range(2)]
    draws = [noise[k] for epoch in epochs for _, noise in epoch for k in range(2)]
    assert len({tuple(d.flatten()[:4].tolist()) for d in draws}) == len(draws)
    assert not torch.equal(epochs[0][0][0], epochs[1][0][0])
    assert not torch.equal(epochs[0][0][0][0], epochs[0][0][0][1])


class OnGpu(torch.Tensor):
    """A tensor of the host that says it is none."""

    is_cuda = True


class Numbers(TorchDispatchMode):
    """Sizes of the tensors of eight-byte integers that are made."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.dtype == torch.int64:
            self.sizes.append(made.numel())
        return made


@pytest.mark.parametrize("like", [torch.Tensor, OnGpu])
def test_what_is_drawn_follows_from_the_streams_alone(monkeypatch, like):
    """And a GPU gets noise from pinned memory, and the order of events in four bytes each."""
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda host: pinned.append(host) or host)
    trials, events, size = [make_trial(seed=s) for s in range(5)], 1050, 8
    members = start(trials, make_inputs(trials[0], 3, torch.float32))
    members = replace(members, beta=members.beta.as_subclass(like))
    with Numbers() as numbers:
        drawn = list(batches(members, events, size))
    steps = math.ceil(events / size)
    assert max(numbers.sizes) < len(trials) * events
    assert len(pinned) == (math.ceil(steps / NOISE_STEPS) if like is OnGpu else 0)
    for row, trial in enumerate(trials):
        order = torch.randperm(events, generator=stream(trial.seed, "order"))
        assert torch.equal(torch.cat([index[row] for index, _ in drawn])[:events], order)
        random = stream(trial.seed, "noise")
        blocks = [torch.randn((NOISE_STEPS, size, LATENT), generator=random)
                  for _ in range(0, steps, NOISE_STEPS)]  # fmt: skip
        noise = torch.stack([noise[row].as_subclass(torch.Tensor) for _, noise in drawn])
        assert torch.equal(noise, torch.cat(blocks)[:steps])
    assert {index.dtype for index, _ in drawn} == {torch.int64}


def test_stopping_keeps_the_best_weights_and_frees_the_member():
    pack = [
        make_trial(seed=0, learning_rate=0.3, max_epochs=12, patience=2),
        make_trial(seed=1, learning_rate=1e-4, max_epochs=12, patience=2),
    ]
    goes_on = []
    train, validation = make_inputs(pack[0], EVENTS), make_inputs(pack[0], VALIDATION, seed=2)
    results = fit(pack, train, validation, lambda epoch, members: goes_on.append(members))
    stopped, steady = results
    losses = [row["validation_loss"] for row in stopped.history]
    assert stopped.best_epoch == losses.index(min(losses)) + 1
    assert len(losses) == stopped.best_epoch + 2 < 12
    assert len(steady.history) == 12
    assert goes_on[len(losses) - 1] == 1
    (alone,) = fit(pack[:1], train, validation)
    assert largest_difference(alone.best, stopped.best) < 1e-10


def test_divergence_ends_one_member_and_leaves_the_others():
    pack = [make_trial(seed=0, learning_rate=1e200), make_trial(seed=1, learning_rate=1e-3)]
    wild, tame = trained(pack)
    assert wild.status == "diverged"
    assert tame.status == "done"
    assert all(math.isfinite(row["loss"]) for row in tame.history)
    assert largest_difference(tame.best, trained(pack[1:])[0].best) < 1e-10


def test_streams_depend_on_seed_and_purpose():
    draws = {
        torch.randn(2, generator=stream(seed, purpose)).sum().item()
        for seed in (0, 1)
        for purpose in ("order", "noise", "weights", "validation")
    }
    assert len(draws) == 8


def test_validation_takes_no_more_of_a_gpu_for_a_larger_pack():
    """The work at once is that of one member alone; a CPU validates as it always has."""
    for members in (1, 2, 60, 240, GPU_VALIDATED, 2 * GPU_VALIDATED):
        size = validation_batch(torch.device("cuda"), members)
        assert size >= 1
        assert size * members <= max(GPU_VALIDATED, members) < (size + 1) * members
        assert validation_batch(torch.device("cpu"), members) == CPU_VALIDATED


@pytest.mark.parametrize("size", [1, 3, VALIDATION])
def test_the_batch_of_the_validation_changes_no_loss(monkeypatch, size):
    pack = [make_trial("deepset_vae", seed=s) for s in (0, 1)]
    validation = make_inputs(pack[0], VALIDATION)
    whole = validate(start(pack, validation), validation)
    asked = []
    monkeypatch.setattr(
        "scanner.train.validation_batch", lambda *given: asked.append(given) or size
    )
    torch.testing.assert_close(validate(start(pack, validation), validation), whole)
    assert asked == [(torch.device("cpu"), 2)]


class Recorder:
    """A stand-in for `torch.cuda.CUDAGraph`: what ran inside `torch.cuda.graph` is run again."""

    def __init__(self):
        self.captured, self.replays = [], 0

    def replay(self):
        self.replays += 1
        for run in self.captured:
            run()


def test_a_captured_step_runs_every_step_once_and_on_its_own_batch(monkeypatch):
    """The order of eager steps, capture and replays, with stand-ins for what only a GPU has."""
    graphs, capturing, seen = [], [], []

    @contextmanager
    def graph(recorder):
        graphs.append(recorder)
        capturing.append(recorder)
        yield
        capturing.pop()

    class Stream:
        def wait_stream(self, other):
            pass

    def step(index, noise):
        def run():
            seen.append((index.tolist(), noise.tolist()))

        if capturing:
            capturing[-1].captured.append(run)
        else:
            run()

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recorder)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", graph)
    run, given = captured(step), [([k, k + 1], [float(k)]) for k in range(EAGER_STEPS + 4)]
    for index, noise in given:
        run(torch.tensor(index), torch.tensor(noise))
    assert seen == given
    assert len(graphs) == 1
    assert graphs[0].replays == 4


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_device_trains_as_a_cpu_does(architecture, device):
    pack = [make_trial(architecture, "planar", seed=s, max_epochs=3, batch_size=8) for s in (0, 1)]
    train, validation = make_inputs(pack[0], EVENTS), make_inputs(pack[0], VALIDATION, seed=2)

    def on(place):
        moved = (Inputs(*(t.to(place) for t in inputs)) for inputs in (train, validation))
        return fit(pack, *moved)

    for here, there in zip(on("cpu"), on(device), strict=True):
        assert largest_difference(here.best, there.best) < 1e-8
        assert here.best_epoch == there.best_epoch


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_parts_of_a_pack_change_no_bit(architecture, flow, monkeypatch):
    """One part, or parts of one and two members, step by step, or some of one before the other.

    What fits a cache decides on speed alone.
    """
    pack = [
        make_trial(architecture, flow, "truncated", seed=s, learning_rate=1e-3, max_epochs=2,
                   batch_size=8) for s in (0, 1, 2)
    ]  # fmt: skip
    found = []
    apart = [slice(0, 1), slice(1, 3)]
    for cuts, events in (([slice(0, 3)], 1), (apart, 1), (apart, 4 * 3 * 8)):
        monkeypatch.setattr("scanner.train._parts", lambda *_, cuts=cuts: cuts)
        monkeypatch.setattr("scanner.train.BLOCK_EVENTS", events)
        found.append(trained(pack, torch.float32))
    for one, *others in zip(*found, strict=True):
        for other in others:
            assert largest_difference(one.best, other.best) == 0
            assert [r["loss"] for r in one.history] == [r["loss"] for r in other.history]


def test_a_part_of_a_pack_takes_its_steps_before_the_next(monkeypatch):
    """Each of them once, in their order, and numbered alike."""
    pack, seen = [make_trial("deepset_vae", seed=s) for s in (0, 1, 2)], []
    inputs = make_inputs(pack[0], 48)
    members = start(pack, inputs)

    def noting(part, train, total):
        return lambda index, noise: seen.append((part.numbers, part.taken.item(), index.tolist()))

    monkeypatch.setattr("scanner.train._parts", lambda *_: [slice(0, 1), slice(1, 3)])
    monkeypatch.setattr("scanner.train._quick_step", noting)
    steps, _ = stepper(members, inputs)
    drawn = list(batches(members, 48, 8))
    for block in (drawn[:4], drawn[4:]):
        steps(block)
    assert seen == [
        ([0, 1, 2][rows], number, drawn[number - 1][0][rows].tolist())
        for numbers in (range(1, 5), range(5, 7))
        for rows in (slice(0, 1), slice(1, 3)) for number in numbers
    ]  # fmt: skip


def test_a_pack_is_parted_where_its_work_fits_no_cache(monkeypatch):
    """Small work stays one program; wide work is cut evenly, every member in one part."""
    members = start([make_trial(seed=s) for s in range(7)], make_inputs(make_trial(), 40))
    train = make_inputs(make_trial(), 40)
    found = {}
    for size in (1, 1_000_000, 1 << 40):
        monkeypatch.setattr("scanner.train.CACHE_BYTES", size)
        found[size] = [range(7)[rows] for rows in _parts(members, train)]
        assert [k for part in found[size] for k in part] == list(range(7))
        assert max(map(len, found[size])) - min(map(len, found[size])) <= 1
    assert len(found[1]) == 7 > len(found[1_000_000]) > len(found[1 << 40]) == 1


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_training_never_asks_a_device_for_a_value_and_stays_on_it(architecture, flow):
    """On a device without values: reading one, or a tensor of the host among them, would raise."""
    pack = [make_trial(architecture, flow, "truncated", seed=s, hlf=True) for s in (0, 1, 2)]
    inputs = Inputs(*(t.to("meta") for t in make_inputs(pack[0], 8, torch.float32)))
    members = start(pack, inputs)
    for going in ([0, 1, 2], [0, 2]):
        members = keep(members, going)
        total = members.beta.new_zeros(len(going), 2)
        step = _plain_step(members, inputs, total)
        step(*next(batches(members, 8, 4)))
        assert validate(members, inputs).shape == (len(going),)
        assert {t.device.type for t in (members.flat, members.first, total)} == {"meta"}
