"""A checkpoint is read as it was written, or not at all."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from conftest import make_trial

from scanner import checkpoint, store
from scanner.checkpoint import Keeper
from scanner.errors import Interrupted, ResultError
from scanner.place import Place
from scanner.stopping import Stop

PACK = [make_trial(seed=seed) for seed in (0, 1, 2)]
RECORD = {"epoch": 3, "steps": 7, "weights": torch.arange(12.0)}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path, checkpoint_s=0.0)


def kept(place, pack=PACK, record=RECORD):
    """The path of a checkpoint that a keeper wrote."""
    keeper = Keeper(place)
    keeper.follow(pack, lambda: dict(record))
    keeper.look()
    return store.checkpoint_path(place.results, pack[0])


def test_what_is_kept_is_found_by_any_of_its_trials(place):
    kept(place)
    for trial in PACK:
        saved = Keeper(place).find([trial])
        assert saved.trials == tuple(t.id for t in PACK)
        assert (saved.record["epoch"], saved.record["steps"]) == (3, 7)
        assert torch.equal(saved.record["weights"], RECORD["weights"])
    assert Keeper(place).find([make_trial(seed=9)]) is None
    assert Keeper(place).find([make_trial("conv_vae")]) is None


def test_the_furthest_of_several_is_taken(place):
    kept(place)
    kept(place, PACK[1:], {**RECORD, "epoch": 5})
    assert Keeper(place).find(PACK[1:]).record["epoch"] == 5
    assert Keeper(place).find(PACK).record["epoch"] == 3


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[-200] ^= 1
    path.write_bytes(raw)


def empty(path):
    path.write_bytes(b"")


def of_other_code(path):
    line, _, body = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps({**json.loads(line), "code": "another"}).encode() + b"\n" + body)


@pytest.mark.parametrize(
    ("damage", "word"),
    [(cut, "damaged"), (flip, "damaged"), (empty, "unreadable"), (of_other_code, "another code")],
)
def test_a_bad_one_is_ignored_with_a_word_and_removed(place, caplog, damage, word):
    path = kept(place)
    damage(path)
    with caplog.at_level(logging.WARNING):
        assert Keeper(place).find(PACK) is None
    (note,) = (place.results / "logs" / "workers.log").read_text().splitlines()
    assert str(path) in note
    assert word in note
    assert word in caplog.text
    assert str(path) in caplog.text
    assert not path.exists()


def test_those_whose_trials_are_all_done_are_removed(place):
    first, second = kept(place), kept(place, PACK[1:])
    Keeper(place).forget(PACK[1:])
    assert (first.exists(), second.exists()) == (True, False)
    Keeper(place).forget(PACK)
    assert not first.exists()


def test_a_stop_is_obeyed_after_writing(place, monkeypatch):
    stop = Stop(place.results)
    keeper = Keeper(Place(place.results, marker=stop.marker, checkpoint_s=1e9))
    keeper.follow(PACK, lambda: dict(RECORD))
    monkeypatch.setattr(checkpoint, "LOOK_S", 0.0)
    keeper.look()
    assert keeper.find(PACK) is None
    stop.request()
    with pytest.raises(Interrupted):
        keeper.look()
    assert keeper.find(PACK).record["epoch"] == 3


def test_no_room_for_a_checkpoint_does_not_end_the_training(place, monkeypatch, caplog):
    def refuse(path, write):
        raise ResultError(f"{path}: cannot be written (no space left); make room")

    monkeypatch.setattr(checkpoint, "write_atomic", refuse)
    with caplog.at_level(logging.WARNING):
        assert not kept(place).exists()
    assert "no space left" in caplog.text
