"""The benchmarks compare like with like: the plain loop computes what scanner computes."""

from __future__ import annotations

import pytest
import torch
from benchmarks.plain import loader, parts_of, plain_loss, plain_model
from conftest import make_inputs, make_trial

from scanner.losses import training_loss
from scanner.models import LATENT
from scanner.registry import ARCHITECTURES, FLOWS
from scanner.representations import shape_of
from scanner.train import initial_model

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
