"""A training that was interrupted, however often and wherever, gives the same to the last bit."""

from __future__ import annotations

import pytest
import torch
from conftest import make_inputs, make_trial

from scanner import checkpoint, train
from scanner.checkpoint import Keeper
from scanner.errors import Interrupted
from scanner.packing import fit_in_parts
from scanner.place import Place
from scanner.train import fit

EVENTS, BATCH, EPOCHS = 40, 8, 5
STEPS = EVENTS // BATCH


def pack_of(architecture, flow="planar"):
    """Members that stop after different epochs, one of which diverges."""
    rates = {0: 1e-3, 1: 3e-2, 2: 1e-3, 3: 1e30}
    return [
        make_trial(architecture, flow, "truncated", seed=seed, learning_rate=rate, patience=1,
                   max_epochs=EPOCHS, batch_size=BATCH)
        for seed, rate in rates.items()
    ]  # fmt: skip


def data(pack):
    return make_inputs(pack[0], EVENTS, torch.float32), make_inputs(pack[0], 9, torch.float32, 2)


def stopping_after(monkeypatch, looks):
    """Every keeper looks after every step, and the given numbers of looks end in a stop."""
    monkeypatch.setattr(checkpoint, "LOOK_S", 0.0)
    monkeypatch.setattr(train, "BLOCK_EVENTS", 1)
    waits, seen = iter(looks), 0

    def is_asked(marker):
        nonlocal seen
        seen += 1
        if seen < until[0]:
            return False
        seen, until[0] = 0, next(waits, 10**9)
        return True

    until = [next(waits)]
    monkeypatch.setattr(checkpoint, "is_asked", is_asked)


def until_done(pack, place):
    """Run a pack as workers do, again and again; how often it was interrupted, and its results."""
    results, interruptions = {}, 0
    while len(results) < len(pack):
        left = [trial for trial in pack if trial.id not in results]
        try:
            for part in fit_in_parts(left, *data(pack), keeper=Keeper(place)):
                results |= {result.trial.id: result for result in part}
        except Interrupted:
            interruptions += 1
    return interruptions, [results[trial.id] for trial in pack]


def assert_same(one, other):
    assert one.trial == other.trial
    assert (one.status, one.best_epoch) == (other.status, other.best_epoch)
    for a, b in ((one.best, other.best), (one.initial, other.initial)):
        assert all(torch.equal(a[name], b[name]) for name in (a | b))
    for a, b in zip(one.history, other.history, strict=True):
        assert repr({**a, "wall_s": 0}) == repr({**b, "wall_s": 0})  # where nan equals nan


@pytest.mark.parametrize("architecture", ["conv_vae", "gcn_vae", "deepset_vae"])
@pytest.mark.parametrize(
    "looks", [[1], [STEPS], [STEPS + 1], [2 * STEPS - 1], [3, 1, STEPS, 7, 2, 11, 1]]
)
def test_an_interrupted_training_gives_the_same_bits(tmp_path, monkeypatch, architecture, looks):
    pack = pack_of(architecture)
    undisturbed = fit(pack, *data(pack))
    assert len({len(result.history) for result in undisturbed}) > 1  # some stopped early
    stopping_after(monkeypatch, looks)
    interruptions, results = until_done(pack, Place(tmp_path))
    assert interruptions >= min(len(looks), 2)
    for one, other in zip(results, undisturbed, strict=True):
        assert_same(one, other)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_members_whose_trials_are_done_leave_the_others_of_a_checkpoint(tmp_path, monkeypatch):
    pack = pack_of("deepset_vae")
    undisturbed = fit(pack, *data(pack))
    stopping_after(monkeypatch, [STEPS + 2])
    with pytest.raises(Interrupted):
        list(fit_in_parts(pack, *data(pack), keeper=Keeper(Place(tmp_path))))
    keeper = Keeper(Place(tmp_path))
    assert keeper.find(pack[1:3]).record["epoch"] == 2
    ((one, other),) = fit_in_parts(pack[1:3], *data(pack), keeper=keeper)
    assert_same(one, undisturbed[1])
    assert_same(other, undisturbed[2])


def test_a_finished_training_is_kept_until_it_is_written(tmp_path, monkeypatch):
    """A stop while results are scored: the next worker scores them without training."""
    monkeypatch.setattr(checkpoint, "LOOK_S", 0.0)
    pack = pack_of("deepset_vae")
    keeper, epochs = Keeper(Place(tmp_path)), []
    results = next(fit_in_parts(pack, *data(pack), keeper=keeper))
    stopping_after(monkeypatch, [1])
    with pytest.raises(Interrupted):
        keeper.look()
    keeper = Keeper(Place(tmp_path))
    again = next(fit_in_parts(pack, *data(pack), lambda *_: epochs.append(1), keeper=keeper))
    for one, other in zip(again, results, strict=True):
        assert_same(one, other)
    assert epochs == []
