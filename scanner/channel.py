"""One channel as a trial needs it: encoded, divided, scaled; mapped from files where it is large.

The mapped arrays of a channel lie in ``.cache`` inside the folder of datasets, under a name that
holds the digests of the dataset, the split, the representation and the code that makes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from scanner.datasets import Dataset, open_dataset
from scanner.datasets.files import BACKGROUND, chunks, count
from scanner.datasets.mapped import (
    Make,
    cache_root,
    in_files,
    in_memory,
    make_once,
    open_array,
    read_small,
    write_small,
)
from scanner.representations import Arrays, Inputs, Scaler, encode, fit_scaler, shape_of
from scanner.split import split_indices
from scanner.trial import Split, Trial, Variant

CHUNK_EVENTS = 1 << 16
MAP_BYTES = 128 << 20  # smaller channels are encoded faster than they are worth a file
PARTS = ("train", "validation", BACKGROUND)


@dataclass(frozen=True)
class ChannelData:
    """One channel as a trial needs it: scaled inputs, and which event is which.

    Attributes:
        train: Background training inputs.
        validation: Background validation inputs.
        test: Background test inputs and each signal's, by process.
        quantities: MET, HT, mEff in GeV and the number of objects of the test events (N, 4).
        events: Row of every test event in its file, by process.
        scaler: Fitted on the background training events alone.
    """

    train: Inputs
    validation: Inputs
    test: dict[str, Inputs]
    quantities: dict[str, NDArray[np.float32]]
    events: dict[str, np.ndarray]
    scaler: Scaler


class Source(NamedTuple):
    """What a channel's arrays are made of; `hlf` is no part of it, since it is left out later."""

    dataset: Dataset
    channel: str
    representation: Variant
    split: Split


class _Raw(NamedTuple):
    """Encoded events of one part: objects are scaled where they lie, the rest is small."""

    objects: NDArray[np.float32]
    mask: NDArray[np.bool_]
    multiplicity: NDArray[np.int32]
    hlf: NDArray[np.float32]
    met_phi: NDArray[np.float32]


@lru_cache(maxsize=2)
def load_channel(
    dataset: str,
    channel: str,
    representation: Variant,
    hlf: bool,
    split: Split,
    data_root: Path | None,
    device: str,
) -> ChannelData:
    """Encode, divide and scale one channel; labels decide nothing but the file names."""
    source = Source(open_dataset(dataset, data_root), channel, representation, split)
    folder = cache_root(data_root) / _key(source)
    if _bytes(source) >= MAP_BYTES and make_once(folder, lambda new: _write(source, new)):
        data = _mapped(source, folder)
    else:
        data = build(source, in_memory)
    return _placed(data if hlf else _without_hlf(data), device)


def load_channel_of(trial: Trial, data_root: Path | None, device: str) -> ChannelData:
    """The channel that a trial is trained on, as it is trained."""
    source = trial.dataset, trial.channel, trial.representation, trial.hlf, trial.split
    return load_channel(*source, data_root, device)


def build(source: Source, make: Make) -> ChannelData:
    """The arrays of a channel, with high-level features, in as little memory as `make` takes.

    Args:
        source: What they are made of.
        make: Gives the array of a name and a shape, of zeros.
    """
    opened, channel, representation, split = source
    parts = split_indices(count(opened, channel, BACKGROUND), split, channel)
    rows = dict(zip(PARTS, parts, strict=True))
    raw = {name: _room(source, make, name, len(index)) for name, index in rows.items()}
    first = 0
    for encoded in _encoded(source, BACKGROUND):
        last = first + len(encoded.objects)
        for name, index in rows.items():
            low, high = np.searchsorted(index, [first, last])
            picked = torch.from_numpy(index[low:high] - first)
            for array, values in zip(raw[name], encoded, strict=True):
                array[low:high] = values[picked].numpy()
        first = last
    scaler = fit_scaler(_arrays(raw["train"], slice(None)), representation, hlf=True)
    for signal in opened.channels[channel]:
        raw[signal] = _room(source, make, signal, count(opened, channel, signal))
        first = 0
        for encoded in _encoded(source, signal):
            for array, values in zip(raw[signal], encoded, strict=True):
                array[first : first + len(values)] = values.numpy()
            first += len(encoded.objects)
    inputs = {name: _scaled(scaler, part, make, name) for name, part in raw.items()}
    test = {name: inputs[name] for name in inputs if name not in PARTS[:2]}
    return ChannelData(
        inputs["train"],
        inputs["validation"],
        test,
        {name: _quantities(raw[name]) for name in test},
        {name: rows.get(name, np.arange(len(raw[name].objects))) for name in test},
        scaler,
    )


def _encoded(source: Source, process: str) -> Iterator[Arrays]:
    for events in chunks(source.dataset, source.channel, process, CHUNK_EVENTS):
        yield encode(source.representation, events)


def _room(source: Source, make: Make, name: str, events: int) -> _Raw:
    shape = shape_of(source.representation, hlf=True)
    return _Raw(
        make(f"{name}.objects", (events, shape.slots, shape.features)),
        np.zeros((events, shape.slots), np.bool_),
        np.zeros((events, 7), np.int32),
        np.zeros((events, 3), np.float32),
        np.zeros(events, np.float32),
    )


def _arrays(raw: _Raw, part: slice) -> Arrays:
    return Arrays(*(torch.from_numpy(array[part]) for array in raw))


def _scaled(scaler: Scaler, raw: _Raw, make: Make, name: str) -> Inputs:
    """The inputs of a part; they take the place of its raw objects."""
    events, slots, _ = raw.objects.shape
    extra = (events, len(scaler.extra_mean))
    made = [raw.objects, make(f"{name}.mask", (events, slots)), make(f"{name}.extra", extra),
            make(f"{name}.hlf", (events, 3))]  # fmt: skip
    for start in range(0, events, CHUNK_EVENTS):
        part = slice(start, start + CHUNK_EVENTS)
        for array, values in zip(made, scaler.apply(_arrays(raw, part)), strict=True):
            array[part] = values.numpy()
    for array in made:
        if isinstance(array, np.memmap):
            array.flush()
    return Inputs(*(torch.from_numpy(array) for array in made))


def _quantities(raw: _Raw) -> NDArray[np.float32]:
    return np.column_stack([raw.hlf, raw.multiplicity.sum(1)]).astype(np.float32)


def _write(source: Source, folder: Path) -> None:
    data = build(source, in_files(folder))
    small = {f"scaler.{name}": tensor.numpy() for name, tensor in data.scaler.state().items()}
    small |= {f"quantities.{name}": array for name, array in data.quantities.items()}
    write_small(folder, small | {"rows": data.events[BACKGROUND]})


def _mapped(source: Source, folder: Path) -> ChannelData:
    small = read_small(folder)
    names = [*PARTS, *source.dataset.channels[source.channel]]
    inputs = {name: _opened(folder, name) for name in names}
    test = {name: inputs[name] for name in names[2:]}
    events = {name: np.arange(len(test[name].objects)) for name in test}
    state = {name: torch.from_numpy(array) for name, array in _under("scaler", small).items()}
    return ChannelData(
        inputs["train"],
        inputs["validation"],
        test,
        _under("quantities", small),
        events | {BACKGROUND: small["rows"]},
        Scaler.from_state(state),
    )


def _opened(folder: Path, name: str) -> Inputs:
    objects = open_array(folder, f"{name}.objects", 0)
    rest = (open_array(folder, f"{name}.{part}", len(objects)) for part in Inputs._fields[1:])
    return Inputs(*map(torch.from_numpy, (objects, *rest)))


def _under(word: str, small: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(f"{word}."): array for name, array in small.items()
            if name.startswith(f"{word}.")}  # fmt: skip


def _without_hlf(data: ChannelData) -> ChannelData:
    scaler = replace(
        data.scaler, hlf_mean=data.scaler.hlf_mean[:0], hlf_sigma=data.scaler.hlf_sigma[:0]
    )

    def cut(inputs: Inputs) -> Inputs:
        return inputs._replace(hlf=inputs.hlf[:, :0])

    test = {name: cut(inputs) for name, inputs in data.test.items()}
    return replace(
        data, train=cut(data.train), validation=cut(data.validation), test=test, scaler=scaler
    )


def _placed(data: ChannelData, device: str) -> ChannelData:
    def place(inputs: Inputs) -> Inputs:
        return Inputs(*(tensor.to(device) for tensor in inputs))

    test = {name: place(inputs) for name, inputs in data.test.items()}
    return replace(data, train=place(data.train), validation=place(data.validation), test=test)


def _bytes(source: Source) -> int:
    """Bytes of the objects of all events."""
    shape = shape_of(source.representation, hlf=True)
    processes = (BACKGROUND, *source.dataset.channels[source.channel])
    events = sum(count(source.dataset, source.channel, process) for process in processes)
    return 4 * events * shape.slots * shape.features


def _key(source: Source) -> str:
    made_of = [source.dataset.digest, source.representation.name, source.representation.settings,
               asdict(source.split), _code()]
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()
    return f"{source.dataset.name}-{source.channel}-{digest[:20]}"


@lru_cache(maxsize=1)
def _code() -> str:
    """sha256 of the code that the arrays depend on, so that no other code's arrays are taken."""
    here = Path(__file__).parent
    others = (here / f"{word}.py" for word in ("channel", "events", "registry", "split"))
    paths = sorted([*(here / "representations").glob("*.py"), *others])
    text = b"".join(path.read_bytes() for path in paths)
    return hashlib.sha256(text).hexdigest()
