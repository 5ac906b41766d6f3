"""Encoding keeps what it should, and the scaler knows nothing but what it was fitted on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from scanner.errors import DataError
from scanner.events import KINDS, Events, ht
from scanner.metrics import auc
from scanner.registry import REPRESENTATIONS
from scanner.representations import Scaler, encode, fit_scaler, shape_of
from scanner.trial import variant

BLOCKS = {"all": (15, 4, 4, 4, 4, 4, 4), "truncated": (4, 3, 3, 3, 3, 3, 3)}
GENUINE = "data/monojet_Zp2000.0_DM_50.0_chan3.csv"


def of(name):
    return variant(REPRESENTATIONS, name, {})


def make_events(counts, seed=0):
    """Events with the given number of objects per kind (N, 7), all numbers different."""
    random = np.random.default_rng(seed)
    counts = np.asarray(counts)
    kind = np.concatenate([np.repeat(np.arange(1, 8), row) for row in counts]).astype(np.int8)
    offsets = np.concatenate([[0], np.cumsum(counts.sum(1))])
    pt = random.uniform(20, 500, len(kind)).astype(np.float32)
    event = np.repeat(np.arange(len(counts)), counts.sum(1))
    pt = pt[np.lexsort((-pt, kind, event))]
    eta = random.uniform(-2.5, 2.5, len(kind)).astype(np.float32)
    phi, met_phi = (
        random.uniform(-math.pi, math.pi, n).astype(np.float32) for n in (len(kind), len(counts))
    )
    met = random.uniform(50, 900, len(counts)).astype(np.float32)
    word = np.full(len(counts), "made", dtype=object)
    return Events(
        word, word, np.ones(len(counts)), met, met_phi, offsets, kind,
        (pt * np.cosh(eta)).astype(np.float32), pt, eta, phi,
    )  # fmt: skip


def some_events(number, seed=0):
    """Events with up to 8 jets and few of the rest, at least one jet each."""
    random = np.random.default_rng(seed)
    rare = random.poisson((0.5, 0.2, 0.2, 0.2, 0.2, 0.3), (number, 6))
    return make_events(np.column_stack([random.integers(1, 9, number), rare]), seed)


def read_genuine(path):
    """The genuine file, parsed line by line, in the order of kinds and of falling pT."""
    rows = [line.rstrip().rstrip(";").split(";") for line in path.read_text().splitlines()]
    parsed = [[x.split(",") for x in row[5:]] for row in rows]
    for objects in parsed:
        objects.sort(key=lambda x: (KINDS.index(x[0]), -float(x[2])))
    table = np.array([[float(v) for v in x[1:]] for objects in parsed for x in objects])
    kind = np.array([KINDS.index(x[0]) + 1 for objects in parsed for x in objects], np.int8)
    header = np.array([[float(row[k]) for k in (2, 3, 4)] for row in rows])
    offsets = np.concatenate([[0], np.cumsum([len(objects) for objects in parsed])])
    words = [np.array([row[k] for row in rows], dtype=object) for k in (1, 0)]
    table = (table / (1000, 1000, 1, 1)).astype(np.float32).T
    met, met_phi = (header[:, 1:] / (1000, 1)).astype(np.float32).T
    return Events(*words, header[:, 0], met, met_phi, offsets, kind, *table)


# encoding


@pytest.mark.parametrize("name", ["all", "truncated", "all_mult", "truncated_mult"])
def test_every_block_holds_the_leading_objects_of_its_kind(name):
    events = some_events(300)
    arrays, slots = encode(of(name), events), BLOCKS[name.removesuffix("_mult")]
    columns = np.stack([events.energy, events.pt, events.eta, events.phi, events.kind], axis=1)
    for k in range(len(events)):
        objects = columns[events.offsets[k] : events.offsets[k + 1]]
        start = 0
        for code, size in enumerate(slots, 1):
            own = objects[objects[:, 4] == code]
            block = arrays.objects[k, start : start + size].numpy()
            kept = min(size, len(own))
            assert np.array_equal(block[:kept], own[:kept])
            assert (block[kept:] == 0).all()
            assert arrays.mask[k, start : start + size].sum() == kept
            assert arrays.multiplicity[k, code - 1] == len(own)
            start += size
        assert start == arrays.objects.shape[1]


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_truncation_keeps_the_leading_jets_and_reports_all_17(name):
    events = make_events([[17, 5, 0, 0, 1, 0, 2], [1, 0, 0, 0, 0, 0, 0]])
    arrays = encode(of(name), events)
    jets = 4 if name.startswith("truncated") else 15
    assert arrays.multiplicity[0].tolist() == [17, 5, 0, 0, 1, 0, 2]
    assert arrays.mask[0, :jets].all()
    assert arrays.mask[1].sum() == (2 if name == "physics" else 1)
    pt = events.pt[:jets] if name != "physics" else np.log(events.pt[:jets])
    np.testing.assert_allclose(arrays.objects[0, :jets, 1], pt, rtol=1e-6)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_events_keep_their_order_and_do_not_see_each_other(name):
    events, representation = some_events(200), of(name)
    order = np.random.default_rng(1).permutation(200)
    whole, shuffled = encode(representation, events), encode(representation, events.take(order))
    for one, other in zip(whole, shuffled, strict=True):
        assert torch.equal(one[torch.from_numpy(order)], other)
    np.testing.assert_allclose(whole.hlf[:, 0], events.met)
    np.testing.assert_allclose(whole.hlf[:, 1], ht(events))
    np.testing.assert_allclose(whole.hlf[:, 2], ht(events) + events.met)
    assert torch.equal(whole.met_phi, torch.from_numpy(events.met_phi))
    nothing = encode(representation, events.take(np.arange(0)))
    assert [len(tensor) for tensor in nothing] == [0] * 5


def test_objects_out_of_order_are_refused():
    events = some_events(50)
    for column in (events.pt[::-1].copy(), np.sort(events.pt)):
        with pytest.raises(DataError, match="falling pT inside a kind"):
            encode(of("all"), replace(events, pt=column))
    with pytest.raises(DataError, match="order of the kinds"):
        encode(of("all"), replace(events, kind=events.kind[::-1].copy()))


@pytest.mark.parametrize("hlf", [False, True])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_shape_is_that_of_the_inputs(name, hlf):
    arrays, shape = encode(of(name), some_events(60)), shape_of(of(name), hlf)
    inputs = fit_scaler(arrays, of(name), hlf).apply(arrays)
    assert inputs.objects.shape == (60, shape.slots, shape.features)
    assert inputs.mask.shape == (60, shape.slots)
    assert inputs.extra.shape == (60, shape.extra)
    assert inputs.hlf.shape == (60, shape.hlf)
    assert shape.extra == (7 if name.endswith("_mult") else 0)
    assert all(tensor.dtype == torch.float32 for tensor in inputs)
    assert shape_of(of("all"), hlf).slots == 39
    assert shape_of(of("truncated"), hlf).slots == 22


# scaling


@pytest.mark.parametrize("name", ["all", "truncated_mult"])
def test_paper_scaler_is_that_of_numpy_per_row_and_column(name):
    arrays = encode(of(name), some_events(500))
    inputs = fit_scaler(arrays, of(name), hlf=True).apply(arrays)
    for raw, scaled in (
        (arrays.objects, inputs.objects),
        (arrays.multiplicity[:, : inputs.extra.shape[1]], inputs.extra),
        (arrays.hlf, inputs.hlf),
    ):
        values = raw.numpy().astype(np.float64)
        sigma = values.std(0)
        expected = (values - values.mean(0)) / np.where(sigma == 0, 1, sigma)
        np.testing.assert_allclose(scaled, expected, rtol=0, atol=2e-4)
    empty = ~arrays.mask.any(0)
    assert empty.any()
    assert (inputs.objects[:, empty] == 0).all()


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_scaler_is_fitted_on_what_it_is_given_only(name):
    arrays = encode(of(name), some_events(400))
    half = type(arrays)(*(tensor[:200] for tensor in arrays))
    other = half._replace(objects=half.objects * 1.6)
    scaler = fit_scaler(half, of(name), hlf=True)
    before = {key: tensor.clone() for key, tensor in scaler.state().items()}
    whole = scaler.apply(arrays)
    scaler.apply(other)
    assert all(torch.equal(before[key], tensor) for key, tensor in scaler.state().items())
    for one, other in zip(whole, scaler.apply(half), strict=True):
        assert torch.equal(one[:200], other)
    order = torch.randperm(200)
    again = fit_scaler(type(arrays)(*(t[order] for t in half)), of(name), hlf=True)
    for key, tensor in again.state().items():
        torch.testing.assert_close(tensor, before[key])


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_scaler_survives_a_weights_file(name, tmp_path):
    arrays = encode(of(name), some_events(50))
    scaler = fit_scaler(arrays, of(name), hlf=True)
    torch.save(scaler.state(), tmp_path / "scaler.pt")
    loaded = Scaler.from_state(torch.load(tmp_path / "scaler.pt", weights_only=True))
    for one, other in zip(scaler.apply(arrays), loaded.apply(arrays), strict=True):
        assert torch.equal(one, other)


def test_constants_and_a_single_event_have_sigma_one():
    arrays = encode(of("all_mult"), make_events([[3, 1, 0, 0, 0, 0, 0]]))
    scaler = fit_scaler(arrays, of("all_mult"), hlf=True)
    assert (scaler.sigma == 1).all()
    assert (scaler.apply(arrays).objects == 0).all()
    repeated = type(arrays)(*(tensor.expand(1000, *tensor.shape[1:]) for tensor in arrays))
    scaler = fit_scaler(repeated, of("all_mult"), hlf=True)
    assert (scaler.sigma == 1).all()
    assert (scaler.hlf_sigma == 1).all()


def test_no_event_is_refused():
    nothing = encode(of("all"), some_events(3).take(np.arange(0)))
    with pytest.raises(DataError, match="no background training event"):
        fit_scaler(nothing, of("all"), hlf=False)


def test_common_scaler_keeps_a_shift_that_an_own_scaler_erases(shared):
    """E and pT x 1.6 as signal: the norm of the scaled event, with a common and an own scaler."""
    events = read_genuine(shared / GENUINE)
    order = np.random.default_rng(0).permutation(len(events))
    signal = events.take(order[3200:])
    signal = replace(signal, energy=signal.energy * 1.6, pt=signal.pt * 1.6)
    background, signal = (encode(of("all"), e) for e in (events.take(order[:3200]), signal))
    common = fit_scaler(background, of("all"), hlf=False)
    own = fit_scaler(signal, of("all"), hlf=False)

    def norm(scaler, arrays):
        return scaler.apply(arrays).objects[..., :4].flatten(1).norm(dim=1).numpy()

    plain = norm(common, background)
    assert auc(plain, norm(common, signal)) > 0.62
    assert auc(plain, norm(own, signal)) < 0.55


# physics


def test_physics_columns_are_their_formulas():
    events = some_events(100)
    raw, arrays = encode(of("all"), events), encode(of("physics"), events)
    energy, pt, eta, phi, code = raw.objects[raw.mask].unbind(-1)
    real = arrays.objects[:, :39][raw.mask]
    phi = phi - raw.met_phi[:, None].expand_as(raw.mask)[raw.mask]
    expected = torch.stack([energy.log(), pt.log(), eta, phi.sin(), phi.cos()], dim=-1)
    torch.testing.assert_close(real[:, :5], expected)
    assert torch.equal(real[:, 5:].argmax(-1) + 1, code.long())
    assert (real[:, 5:].sum(-1) == 1).all()
    assert (arrays.objects[~arrays.mask] == 0).all()
    met = arrays.objects[:, 39]
    torch.testing.assert_close(met[:, 0].exp(), torch.from_numpy(events.met))
    assert torch.equal(met[:, 2:5], torch.tensor([0.0, 0, 1]).expand(100, 3))
    assert (met[:, 12] == 1).all()


def test_physics_scaler_sees_real_objects_and_leaves_padding_and_type_alone():
    arrays = encode(of("physics"), some_events(500))
    inputs = fit_scaler(arrays, of("physics"), hlf=False).apply(arrays)
    real = inputs.objects[arrays.mask][:, :5]
    torch.testing.assert_close(real.mean(0), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(real.std(0, correction=0), torch.ones(5), rtol=0, atol=1e-5)
    assert (inputs.objects[~arrays.mask] == 0).all()
    assert torch.equal(inputs.objects[..., 5:], arrays.objects[..., 5:])


def test_physics_has_no_seam_in_phi():
    events = some_events(20)
    turned = replace(events, phi=np.where(events.phi > 0, events.phi - 2 * np.pi, events.phi))
    one, other = (encode(of("physics"), e).objects for e in (events, turned))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_physics_does_not_see_a_turn_about_the_beam():
    events = some_events(20)
    turned = replace(events, phi=events.phi + 0.7, met_phi=events.met_phi + 0.7)
    one, other = (encode(of("physics"), e).objects for e in (events, turned))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
