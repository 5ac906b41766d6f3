"""Events per second of training and scoring, beside the plain loop in the same minutes."""

from __future__ import annotations

import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from unittest.mock import patch

import torch

from scanner import models
from scanner.members import initial_model
from scanner.registry import ARCHITECTURES, FLOWS, REPRESENTATIONS
from scanner.representations import Inputs, Shape, shape_of
from scanner.run import score_inputs
from scanner.train import fit
from scanner.trial import Training, Trial, Variant, variant

from . import plain
from .rows import Row

PUBLISHED_CONV = Variant("published_conv", label="published_conv")  # 32 rows of 4, and MET
VALIDATION = 32
LEAST_STEPS, MOST_STEPS = 2, 1000
SCORED, SCORE_BATCH = 2048, 256


@dataclass(frozen=True)
class Point:
    """An architecture and a flow on a representation."""

    architecture: Variant
    flow: Variant
    representation: Variant

    @property
    def name(self):
        """As it stands in a table."""
        rows = "" if self.representation != PUBLISHED_CONV else " 32 rows"
        return f"{self.architecture.label}{rows} {self.flow.label}"

    def trial(self, seed=0, epochs=1):
        """The baseline of arXiv:2110.08508, which never stops early."""
        training = Training(max_epochs=epochs, patience=1_000_000)
        parts = self.representation, self.architecture, False, 0.5, self.flow, seed, training
        return Trial("sample", "3", *parts)

    def shape(self):
        """Sizes of the inputs."""
        if self.representation == PUBLISHED_CONV:
            return Shape(32, 5, 0, 1)
        return shape_of(self.representation, False)


def points(only):
    """Every architecture with every flow, and what the paper's public code has.

    That is its Conv-VAE, and its Householder flows: 4, fed by a 20-vector (32,760 parameters).

    Args:
        only: Names of architectures and flows; where one kind is not named, all of it.
    """
    every = variant(REPRESENTATIONS, "all", {})
    nets = [(variant(ARCHITECTURES, name, {}), every) for name in ARCHITECTURES]
    nets.append((variant(ARCHITECTURES, "conv_vae", {"padding": "valid"}), PUBLISHED_CONV))
    fed = [(variant(ARCHITECTURES, "gcn_vae", {"hidden": 20}), every), nets[-1]]
    flows = [variant(FLOWS, name, {}) for name in FLOWS]
    published = variant(FLOWS, "sylvester_householder", {"flows": 4})
    nets = [(net, rep) for net, rep in nets if only & {net.name, net.label}] or nets
    flows = [flow for flow in flows if flow.name in only] or flows
    found = [Point(net, flow, rep) for net, rep in nets for flow in flows]
    if published.name in {flow.name for flow in flows}:
        named = {net.name for net, _ in nets}
        found += [Point(net, published, rep) for net, rep in fed if net.name in named]
    return found


@contextmanager
def published_shape():
    """Let networks be built for 32 rows and one high-level feature, as the public code has them.

    No representation has this shape, and with it the Conv-VAE has the 16,288 parameters of the
    public code.
    """
    def chosen(representation, hlf):
        special = representation == PUBLISHED_CONV
        return Shape(32, 5, 0, 1) if special else shape_of(representation, hlf)

    with patch.object(models, "shape_of", chosen):
        yield


def made_inputs(shape, events, device):
    """Random standardised events, a third of the slots filled."""
    random = torch.Generator().manual_seed(events)
    mask = (torch.rand(events, shape.slots, generator=random) < 0.3).float()
    objects = torch.randn(events, shape.slots, shape.features, generator=random)
    extra, hlf = (torch.randn(events, n, generator=random) for n in (shape.extra, shape.hlf))
    return Inputs(*(t.to(device) for t in (objects * mask[..., None], mask, extra, hlf)))


def parameters_of(point):
    """Parameters of one member."""
    return sum(p.numel() for p in initial_model(point.trial()).parameters())


class Chunks:
    """A generator of steps, timed a chunk at a time; its first step is not timed.

    Attributes:
        rates: Events per second of every chunk.
    """

    def __init__(self, steps, seconds, device):
        self.steps, self.seconds, self.device, self.rates = steps, seconds, device, []
        next(steps)

    def run(self):
        """One chunk."""
        synchronize(self.device)
        started, events = time.perf_counter(), 0
        while time.perf_counter() - started < self.seconds:
            events += next(self.steps)
        synchronize(self.device)
        self.rates.append(events / (time.perf_counter() - started))


def training_rows(point, packs, seconds, repeats, device, scoring):
    """Rates of one point: every pack, each epoch of it followed by a chunk of the plain loop."""
    shape, trial = point.shape(), point.trial()
    model = plain.plain_model(trial, shape)
    feed = made_inputs(shape, SCORED, "cpu")
    rows, rate = [], None
    if packs:
        chunks = Chunks(plain.train_forever(trial, model, feed, device), seconds / 2, device)
    for size in packs:
        rate = rate or _first_rate(point, shape, device)
        before = len(chunks.rates)
        events = _events(rate, size, seconds)
        rates = _epochs(point, shape, size, events, repeats, device, chunks.run)
        ratio = statistics.median(rates) / statistics.median(chunks.rates[before:])
        rate = statistics.median(rates)
        rows.append(Row("training", point.name, size, rate, "events/s", ratio=ratio))
    if packs:
        rows = [replace(row, plain=statistics.median(chunks.rates)) for row in rows]
    return rows + ([_scoring_row(point, trial, model, seconds, repeats, device)] if scoring else [])


def _events(rate, size, seconds):
    """Events of an epoch, so that it lasts about `seconds` if the pack has this rate."""
    steps = round(rate * seconds / (32 * size))
    return 32 * min(max(steps, LEAST_STEPS), MOST_STEPS)


def _first_rate(point, shape, device):
    (rate,) = _epochs(point, shape, 1, 32 * 4, 1, device, lambda: None)
    return rate


def _epochs(point, shape, size, events, repeats, device, between):
    """Events per second of each epoch after the first, summed over the members.

    An epoch is what a scan makes of it: shuffling, noise, steps, the validation (of 32 events) and
    the copy of the best weights.
    """
    pack = [point.trial(seed, repeats + 1) for seed in range(size)]
    train, validation = made_inputs(shape, events, device), made_inputs(shape, VALIDATION, device)
    rates, started = [], 0.0

    def on_epoch(epoch, members):
        nonlocal started
        synchronize(device)
        if epoch > 1:
            rates.append(events * size / (time.perf_counter() - started))
            between()
        started = time.perf_counter()

    fit(pack, train, validation, on_epoch)
    return rates


def _scoring_row(point, trial, model, seconds, repeats, device):
    """Every registered score against the plain loop's reconstruction, KL and R_z."""
    inputs = made_inputs(point.shape(), SCORED, device)
    state = initial_model(trial).state_dict()
    chunks = Chunks(plain.score_forever(model, inputs_on_host(inputs), device, SCORE_BATCH),
                    seconds / 2, device)  # fmt: skip
    score_inputs(trial, state, Inputs(*(t[:SCORE_BATCH] for t in inputs)))
    rates = []
    for _ in range(repeats):
        started = time.perf_counter()
        score_inputs(trial, state, inputs)
        rates.append(SCORED / (time.perf_counter() - started))
        chunks.run()
    found, other = statistics.median(rates), statistics.median(chunks.rates)
    return Row("scoring", point.name, 1, found, "events/s", other, found / other)


def inputs_on_host(inputs):
    """The inputs as a DataLoader takes them."""
    return Inputs(*(t.cpu() for t in inputs))


def synchronize(device):
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()
