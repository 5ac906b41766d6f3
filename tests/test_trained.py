"""A trained trial scores new events as its scan did, and a trial that cannot is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from trained_scan import train_scan

from scanner import store
from scanner.combinations import rank_averages
from scanner.datasets import open_dataset, read
from scanner.errors import ScannerError
from scanner.trained import background_scores, checked_names, load, score


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "demo"
    return folder, train_scan(folder)


@pytest.fixture(scope="module")
def stored(scan):
    folder, trials = scan
    return store.read_scores(folder / "scores" / f"{trials[1].id}.parquet")


@pytest.fixture(scope="module")
def trained(scan):
    return load(scan[0], scan[1][1].id)


def test_the_scores_are_the_scans_own_to_the_bit(trained, stored, monkeypatch):
    monkeypatch.setattr("scanner.trained.CHUNK", 512)  # a file in several chunks
    sample = open_dataset("sample")
    for process in ("background", *sample.channels["3"]):
        rows = stored[stored["process"] == process]
        events = read(sample, "3", process).take(rows["event"].to_numpy())
        again = score(trained, events, tuple(trained.background))
        for name, values in again.items():
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values, rows[name], err_msg=process)


def test_other_neighbours_change_the_last_bits_at_most(trained, stored):
    rows = stored[stored["process"] == "background"]
    every = read(open_dataset("sample"), "3", "background")
    for name, values in score(trained, every, tuple(trained.background)).items():
        np.testing.assert_allclose(values[rows["event"]], rows[name], rtol=2e-6, err_msg=name)


def test_combined_scores_are_ranks_among_the_background(trained, stored):
    assert trained.names == ("reconstruction", "kl", "rz", "elbo", "latent_norm", "kl+rz")
    parts = {p: {n: rows[n].to_numpy() for n in ("kl", "rz", "elbo")}
             for p, rows in stored.groupby("process")}  # fmt: skip
    expected = rank_averages(parts)
    events = read(open_dataset("sample"), "3", "stlp_st1000")
    for name in ("kl+rz", "rz+elbo"):
        got = score(trained, events, (name,))[name]
        np.testing.assert_array_equal(got, expected["stlp_st1000"][name])
        np.testing.assert_array_equal(background_scores(trained, (name,))[name],
                                      expected["background"][name])  # fmt: skip
    few = score(trained, events.take(slice(0, 256)), ("kl+rz",))["kl+rz"]
    np.testing.assert_array_equal(few, expected["stlp_st1000"]["kl+rz"][:256])


def test_names_of_scores_are_checked(trained):
    assert checked_names(trained, ()) == trained.names
    assert checked_names(trained, ("rz+kl", "kl+rz", "rz")) == ("kl+rz", "rz")
    for word, message in (
        ("klx", r"'klx' is no score of trial .*did you mean 'kl'\?"),
        ("kl+kl", "two different ones"),
        ("kl+rz+elbo", "write one score, or two"),
    ):
        with pytest.raises(ScannerError, match=message):
            checked_names(trained, (word,))


def test_an_id_may_be_its_beginning(scan):
    folder, trials = scan
    assert load(folder, trials[0].id[:6]).trial == trials[0]
    with pytest.raises(ScannerError, match=rf"2 trials have ids .* with ''.*{trials[0].id}"):
        load(folder, "")
    with pytest.raises(ScannerError, match=r"none of its 2 trials .* begins with 'nope'.*trials"):
        load(folder, "nope")
    with pytest.raises(ScannerError, match="not a result folder"):
        load(folder / "absent", trials[0].id)


def test_a_trial_without_weights_is_named_with_the_next_command(tmp_path):
    trials = train_scan(tmp_path, learning_rate="1.0e+30")
    with pytest.raises(ScannerError, match=rf"trial {trials[0].id} diverged"):
        load(tmp_path, trials[0].id)
    (tmp_path / "trials" / f"{trials[1].id}.parquet").unlink()
    command = f"`scanner launch demo.yaml --only {trials[1].id}`"
    with pytest.raises(ScannerError, match=f"not done.*{command}"):
        load(tmp_path, trials[1].id)
    store.write_failure(tmp_path, trials[1], {"class": "out_of_memory", "exception": "too big"})
    with pytest.raises(ScannerError, match=r"failed \(out_of_memory: too big\).*--retry out_of"):
        load(tmp_path, trials[1].id)


@pytest.mark.parametrize("damage", [b"", b"not a zip", None])
def test_broken_weights_are_named(scan, damage):
    folder, trials = scan
    path = folder / "weights" / f"{trials[0].id}.pt"
    kept = path.read_bytes()
    path.write_bytes(kept[: len(kept) // 2] if damage is None else damage)
    with pytest.raises(ScannerError, match=rf"{trials[0].id}.pt: unreadable.*launch again"):
        load(folder, trials[0].id)
    path.write_bytes(kept)


def test_the_threads_of_the_session_are_left_alone(trained):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    score(trained, read(open_dataset("sample"), "3", "monotop_200_A"), ("kl",))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
