"""A channel's arrays are those of the plain way, bit for bit, and processes share their pages."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import scanner.channel
from scanner.channel import Source, load_channel
from scanner.datasets import mapped, open_dataset, read
from scanner.registry import REPRESENTATIONS
from scanner.representations import encode, fit_scaler
from scanner.split import split_indices
from scanner.trial import Split, variant

SIGNALS = open_dataset("sample").channels["2a"]
ARRAYS = ("objects", "mask", "extra", "hlf")


def of(name):
    return variant(REPRESENTATIONS, name, {})


def load(root, name="all", hlf=False, split=Split()):  # noqa: B008 - frozen
    """The channel, as a new process loads it."""
    load_channel.cache_clear()
    return load_channel("sample", "2a", of(name), hlf, split, root, "cpu")


def inputs_of(data):
    return {"train": data.train, "validation": data.validation, **data.test}


def same(one, other):
    for name, inputs in inputs_of(one).items():
        for part, left, right in zip(ARRAYS, inputs, inputs_of(other)[name], strict=True):
            assert left.dtype == right.dtype
            assert torch.equal(left, right), (name, part)
        if name in one.test:
            np.testing.assert_array_equal(one.quantities[name], other.quantities[name])
            np.testing.assert_array_equal(one.events[name], other.events[name])
    for key, tensor in one.scaler.state().items():
        assert torch.equal(tensor, other.scaler.state()[key]), key


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory):
    """The channel as a process of its own has it, without files."""
    root = tmp_path_factory.mktemp("none")
    data = load(root)
    assert not any(root.iterdir())
    return data


@pytest.fixture
def small_steps(monkeypatch):
    """Every channel is mapped, and encoded in many steps."""
    monkeypatch.setattr(scanner.channel, "MAP_BYTES", 0)
    monkeypatch.setattr(scanner.channel, "CHUNK_EVENTS", 700)


@pytest.mark.parametrize("hlf", [False, True])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_mapped_arrays_are_those_of_the_plain_way(name, hlf, tmp_path, small_steps):
    data, representation, sample = load(tmp_path, name, hlf), of(name), open_dataset("sample")
    raw = encode(representation, read(sample, "2a", "background"))
    parts = split_indices(len(raw.objects), Split(), "2a")
    split = [type(raw)(*(tensor[torch.from_numpy(rows)] for tensor in raw)) for rows in parts]
    scaler = fit_scaler(split[0], representation, hlf)
    arrays = dict(zip(("train", "validation", "background"), split, strict=True))
    arrays |= {name: encode(representation, read(sample, "2a", name)) for name in SIGNALS}
    assert inputs_of(data).keys() == arrays.keys()
    for name, found in inputs_of(data).items():
        for part, left, right in zip(ARRAYS, found, scaler.apply(arrays[name]), strict=True):
            assert left.dtype == right.dtype
            assert torch.equal(left, right), (name, part)
    for name, found in data.quantities.items():
        expected = torch.column_stack([arrays[name].hlf, arrays[name].multiplicity.sum(1)])
        np.testing.assert_array_equal(found, expected)
    assert data.events["background"].tolist() == parts[2].tolist()
    assert all(torch.equal(t, data.scaler.state()[key]) for key, t in scaler.state().items())


MAPPED = """
import sys
from pathlib import Path
import scanner.channel
from scanner.registry import REPRESENTATIONS
from scanner.trial import Split, variant
scanner.channel.MAP_BYTES = 0
data = scanner.channel.load_channel(
    "sample", "2a", variant(REPRESENTATIONS, "all", {}), False, Split(), Path(sys.argv[1]), "cpu")
objects = data.train.objects
objects.sum()
for block in Path("/proc/self/smaps").read_text().split("VmFlags")[:-1]:
    head = [line for line in block.splitlines() if " kB" not in line and "-" in line][-1].split()
    first, last = (int(word, 16) for word in head[0].split("-"))
    if first <= objects.data_ptr() < last:
        sizes = dict(line.split(":") for line in block.splitlines() if " kB" in line)
        print(head[4], head[5], sizes["Private_Dirty"].split()[0])
"""


def test_two_processes_make_the_arrays_once_and_map_the_same_file(tmp_path):
    command = [sys.executable, "-c", MAPPED, tmp_path]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate()[0].split() for process in both)
    assert first == second
    inode, path, changed_kb = first
    assert Path(path).name == "train.objects.npy"
    assert (int(inode), int(changed_kb)) == (Path(path).stat().st_ino, 0)
    names = sorted(entry.name for entry in mapped.cache_root(tmp_path).iterdir())
    (folder,) = (name for name in names if not name.startswith("."))
    assert names == [f".{folder}.lock", folder]


def test_a_change_in_one_process_stays_there(tmp_path, small_steps):
    load(tmp_path).train.objects.zero_()
    assert load(tmp_path).train.objects.any()


def test_what_a_killed_process_left_is_made_again(tmp_path, in_memory, small_steps):
    folder = mapped.cache_root(tmp_path) / scanner.channel._key(
        Source(open_dataset("sample"), "2a", of("all"), Split()))
    unfinished = folder.with_name(f".{folder.name}")
    unfinished.mkdir(parents=True)
    (unfinished / "train.objects.npy").write_bytes(b"half")
    same(load(tmp_path), in_memory)
    assert folder.is_dir()
    assert not unfinished.exists()


def test_a_full_disk_or_a_folder_that_cannot_be_written_costs_nothing_but_memory(
    tmp_path, in_memory, small_steps, monkeypatch
):
    (tmp_path / "refused").mkdir()
    (tmp_path / "refused" / ".cache").write_text("not a folder")
    same(load(tmp_path / "refused"), in_memory)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(mapped.os, "posix_fallocate", full)
    same(load(tmp_path / "full"), in_memory)
    left = [path.suffix for path in mapped.cache_root(tmp_path / "full").iterdir()]
    assert left == [".lock"]


def test_folders_used_longest_ago_make_room(tmp_path, in_memory, small_steps, monkeypatch):
    monkeypatch.setattr(mapped, "ROOM_BYTES", 1)
    old = load(tmp_path)
    load(tmp_path, "truncated")
    folders = [path for path in mapped.cache_root(tmp_path).iterdir() if path.is_dir()]
    assert len(folders) == 1
    same(old, in_memory)  # removed, and still mapped


def test_other_events_splits_representations_and_code_have_other_names(monkeypatch):
    source = Source(open_dataset("sample"), "2a", of("all"), Split())
    others = [source._replace(dataset=replace(source.dataset, digest="0")),
              source._replace(channel="3"), source._replace(representation=of("physics")),
              source._replace(split=Split(seed=7))]
    keys = {scanner.channel._key(one) for one in [source, *others]}
    monkeypatch.setattr(scanner.channel, "_code", lambda: "other")
    assert len(keys | {scanner.channel._key(source)}) == 6
