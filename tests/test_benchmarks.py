"""The benchmarks compare like with like: the plain loop computes what scanner computes."""

from __future__ import annotations

import pytest
import torch
from benchmarks.plain import loader, parts_of, plain_loss, plain_model
from benchmarks.roofline import architecture_count, flow_count, step_work
from benchmarks.rows import Row, to_csv, wide
from benchmarks.training import PUBLISHED_CONV, parameters_of, points, published_shape
from conftest import make_inputs, make_trial
from torch.utils.flop_counter import FlopCounterMode

from scanner.losses import training_loss
from scanner.members import initial_model
from scanner.models import LATENT
from scanner.registry import ARCHITECTURES, FLOWS
from scanner.representations import shape_of

CASES = [("gcn_vae", flow, False) for flow in FLOWS] + [
    *((architecture, "none", False) for architecture in ARCHITECTURES),
    ("gcn_vae", "none", True),
    (("gcn_vae", {"preset": "complete"}), "none", True),
    (("conv_vae", {"padding": "valid"}), "sylvester_householder", True),
    ("conv_vae", "planar", True),
    (("gcn_vae", {"preset": "plus"}), "none", False),
]


@pytest.mark.filterwarnings("ignore:Using padding=.same:UserWarning")
@pytest.mark.parametrize(("architecture", "flow", "hlf"), CASES)
def test_the_plain_loop_has_the_same_loss(architecture, flow, hlf):
    """Loss and gradient for the same weights, batch and noise, in double precision."""
    trial = make_trial(architecture, flow, hlf=hlf, seed=3)
    inputs = make_inputs(trial, 6)
    noise = torch.randn(6, LATENT, dtype=torch.float64)
    ours = initial_model(trial, torch.float64)
    beta, weight = (torch.tensor(v, dtype=torch.float64) for v in (0.3, 2.0))
    outputs = ours(inputs, noise)
    wanted = training_loss(
        inputs, outputs, beta=beta, hlf_weight=weight, training=trial.training
    ).mean()
    model = plain_model(trial, shape_of(trial.representation, trial.hlf)).double()
    (batch,) = loader(model, inputs, 6, shuffle=False)
    found = plain_loss(*parts_of(model, batch), model(batch, noise), 0.3, 2.0)
    if "plus" in str(architecture):  # its loss counts real objects: only the network is shared
        assert torch.isfinite(found)
        return
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    largest = [
        max(g.abs().max() for g in torch.autograd.grad(loss, list(net.parameters()),
                                                       allow_unused=True) if g is not None)
        for loss, net in ((found, model), (wanted, ours))
    ]  # fmt: skip
    torch.testing.assert_close(*largest, rtol=1e-5, atol=1e-8)


COUNTED = [("gcn_vae", flow) for flow in FLOWS] + [
    (architecture, "none")
    for architecture in ("conv_vae", ("conv_vae", {"padding": "valid"}), "deepset_vae")
]


@pytest.mark.filterwarnings("ignore:Using padding=.same:UserWarning")
@pytest.mark.parametrize(("architecture", "flow"), COUNTED)
def test_products_counted_by_hand_are_those_that_torch_counts(architecture, flow):
    """Per event of a forward pass of the plain network; its graph's sums are no products."""
    trial = make_trial(architecture, flow)
    shape, events = shape_of(trial.representation, False), 64
    model = plain_model(trial, shape).eval()
    (batch,) = loader(model, make_inputs(trial, events, torch.float32), events)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(batch, torch.zeros(events, LATENT))
    total, context = architecture_count(trial.architecture.name, trial.architecture.get(), shape)
    counted = total + flow_count(flow, trial.flow.get(), context)
    found = counter.get_total_flops() / events
    if flow == "sylvester_householder":  # whole matrices there, one vector at a time by hand
        found -= 2 * 6 * 8 * (LATENT**3 - 8 * LATENT)
    assert 2 * counted.products == pytest.approx(found, rel=0.05)


def test_a_step_moves_its_weights_once_and_its_events_once():
    trial = make_trial()
    shape = shape_of(trial.representation, False)
    forward, _ = architecture_count("gcn_vae", trial.architecture.get(), shape)
    one, two = (step_work(forward, shape, 5_129, members) for members in (1, 2))
    assert [b / a for a, b in zip(one, two, strict=True)] == [2, 2]
    assert one[1] - step_work(forward, shape, 0, 1)[1] == 4 * 5_129 * 10


def test_the_published_network_is_among_the_points():
    (point,) = points({"conv_vae[padding=valid]", "none"})
    assert point.representation == PUBLISHED_CONV
    with published_shape():
        assert parameters_of(point) == 16_288
    assert len(points(set())) == (len(ARCHITECTURES) + 1) * len(FLOWS) + 2


def test_a_table_has_a_line_per_name_and_a_column_per_pack():
    rows = [Row("training", "a", n, 1000.0 * n, "events/s", 500.0, 2.0 * n) for n in (1, 5)]
    assert wide(rows).splitlines()[-1] == "| a    |        500 | 1,000 (2 x) | 5,000 (10 x) |"
    text = to_csv(rows, {"host": "h"})
    assert text.startswith("# host: h\npart,name,size,value,unit,plain,ratio\ntraining,a,1,1000.0,")
