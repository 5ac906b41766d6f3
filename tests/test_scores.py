"""Properties that every registered score has, and the formulas of the paper's three."""

from __future__ import annotations

import pytest
import torch
from conftest import make_inputs, make_trial

from scanner.losses import chamfer, kl
from scanner.models import build_model
from scanner.registry import ARCHITECTURES, SCORES, resolve
from scanner.representations import Inputs

EVENTS = 12


def scored(score, architecture="gcn_vae", index=slice(None), **training):
    trial = make_trial(architecture, "planar", hlf=True, **training)
    torch.manual_seed(3)  # a graph encoder that is alive: two ReLUs are its bottleneck
    model = build_model(trial).double().eval()
    inputs = Inputs(*(tensor[index] for tensor in make_inputs(trial, EVENTS)))
    outputs = model(inputs, inputs.objects.new_zeros(len(inputs.objects), model.latent))
    return inputs, outputs, resolve(SCORES[score])(inputs, outputs, trial.training)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("score", SCORES)
def test_one_finite_number_per_event_whatever_the_batch(score, architecture):
    values = scored(score, architecture)[2]
    assert values.shape == (EVENTS,)
    assert values.isfinite().all()
    assert len(values.unique()) == EVENTS
    shuffled = torch.randperm(EVENTS)
    torch.testing.assert_close(scored(score, architecture, shuffled)[2], values[shuffled])
    single = torch.cat([scored(score, architecture, slice(k, k + 1))[2] for k in range(EVENTS)])
    torch.testing.assert_close(single, values)


def test_reconstruction_is_the_chamfer_distance_of_the_training():
    for kind, masked in (("l2", False), ("l1", True), ("l2sq", False)):
        inputs, outputs, values = scored("reconstruction", chamfer=kind, masked=masked)
        mask = inputs.mask if masked else None
        assert torch.equal(values, chamfer(inputs.objects, outputs.objects, kind, mask))


def test_latent_scores_are_their_formulas():
    inputs, outputs, rz = scored("rz")
    sigma = torch.exp(outputs.log_variance / 2)
    torch.testing.assert_close(rz, (outputs.mean / sigma).square().sum(-1))
    assert torch.equal(outputs.z0, outputs.mean)
    divergence = kl(outputs.mean, outputs.log_variance)
    assert torch.equal(scored("kl")[2], divergence)
    l_c = chamfer(inputs.objects, outputs.objects)
    torch.testing.assert_close(scored("elbo")[2], l_c + divergence)
    torch.testing.assert_close(scored("latent_norm")[2], outputs.zk.norm(dim=-1).square())
    assert not torch.equal(outputs.zk, outputs.z0)
