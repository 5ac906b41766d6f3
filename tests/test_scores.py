"""Properties that every registered score has, and the formula of each."""

from __future__ import annotations

import pytest
import torch
from conftest import make_inputs, make_trial
from torch.distributions import Normal

from scanner.losses import chamfer, kl
from scanner.models import build_model
from scanner.registry import ARCHITECTURES, SCORES, resolve
from scanner.representations import Inputs
from scanner.scores import Evaluated

EVENTS = 12


def scored(score, architecture="gcn_vae", index=slice(None), flow="planar", **training):
    trial = make_trial(architecture, flow, hlf=True, **training)
    torch.manual_seed(3)  # a graph encoder that is alive: two ReLUs are its bottleneck
    model = build_model(trial).double().eval()
    inputs = Inputs(*(tensor[index] for tensor in make_inputs(trial, EVENTS)))
    outputs = model(inputs, inputs.objects.new_zeros(len(inputs.objects), model.latent))
    return inputs, outputs, resolve(SCORES[score])(Evaluated(inputs, outputs, trial))


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
    _, outputs, rz = scored("rz")
    sigma = torch.exp(outputs.log_variance / 2)
    torch.testing.assert_close(rz, (outputs.mean / sigma).square().sum(-1))
    assert torch.equal(outputs.z0, outputs.mean)
    divergence = kl(outputs.mean, outputs.log_variance)
    assert torch.equal(scored("kl")[2], divergence)
    torch.testing.assert_close(scored("latent_norm")[2], outputs.zk.norm(dim=-1).square())
    assert not torch.equal(outputs.zk, outputs.z0)


def sample_kl(outputs):
    """ln q(z0|x) - ln p(zK) - ln|det| at the posterior mean, by torch.distributions."""
    sigma = torch.exp(outputs.log_variance / 2)
    log_q = Normal(outputs.mean, sigma).log_prob(outputs.mean).sum(-1)
    return log_q - Normal(0, 1).log_prob(outputs.zk).sum(-1) - outputs.log_det


@pytest.mark.parametrize("beta", [0.0, 1e-6, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("flow", ["none", "planar"])
def test_the_elbo_has_the_proportion_of_the_training(beta, flow):
    inputs, outputs, values = scored("elbo", flow=flow, beta=beta)
    l_c = chamfer(inputs.objects, outputs.objects)
    divergence = kl(outputs.mean, outputs.log_variance) if flow == "none" else sample_kl(outputs)
    torch.testing.assert_close(values, beta * divergence + (1 - beta) * l_c)


@pytest.mark.parametrize("flow", ["none", "planar"])
def test_the_elbo_of_the_modified_loss_knows_no_beta(flow):
    for beta in (0.1, 0.9):
        trial = {"flow": flow, "beta": beta, "loss": "modified_elbo"}
        inputs, outputs, values = scored("elbo", **trial)
        l_c = chamfer(inputs.objects, outputs.objects)
        torch.testing.assert_close(values, sample_kl(outputs) + l_c)


def test_a_flow_changes_the_latent_norm_and_no_other_latent_score():
    _, outputs, norm = scored("latent_norm", flow="none")
    torch.testing.assert_close(norm, outputs.mean.norm(dim=-1).square())
    _, outputs, norm = scored("latent_norm")
    torch.testing.assert_close(norm, outputs.zk.square().sum(-1))
    assert not torch.allclose(norm, outputs.z0.square().sum(-1))
