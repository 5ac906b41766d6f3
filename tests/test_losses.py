"""The losses against their definitions, in value and in gradient."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import make_inputs, make_trial
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from scanner.losses import (
    chamfer,
    flow_kl,
    hlf_error,
    kl,
    reconstruction_error,
    training_loss,
)
from scanner.models import Outputs, build_model
from scanner.trial import Training

KINDS = {
    "l2": lambda d: d.square().sum().sqrt(),
    "l1": lambda d: d.abs().sum(),
    "l2sq": lambda d: d.square().sum(),
}


def points(*size, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*size, generator=random, dtype=torch.float64)


def double_loop(x, y, kind, mask):
    """The definition, event by event and point by point."""
    total = []
    for x_event, y_event, real in zip(x, y, mask, strict=True):
        kept = [a for a, m in zip(x_event, real, strict=True) if m]
        terms = [min(KINDS[kind](a - b) for b in y_event) for a in kept]
        terms += [min(KINDS[kind](a - b) for a in kept) for b in y_event]
        total.append(sum(terms))
    return torch.stack(total)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_chamfer_and_its_gradient_are_the_double_loop(kind, masked):
    x, y = points(4, 6, 5).requires_grad_(), points(4, 7, 5, seed=1).requires_grad_()
    mask = torch.ones(4, 6).double()
    mask[:, 3:] = 0 if masked else 1
    weight = points(4, seed=2)
    fast = chamfer(x, y, kind, mask if masked else None)
    slow = double_loop(x, y, kind, mask)
    torch.testing.assert_close(fast, slow, rtol=1e-13, atol=0)
    gradients = (torch.autograd.grad((weight * loss).sum(), (x, y)) for loss in (fast, slow))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_chamfer_does_not_depend_on_the_order_of_points(kind):
    x, y = points(8, 39, 5), points(8, 39, 5, seed=1)
    shuffled = (torch.randperm(39), torch.randperm(39))
    permuted = chamfer(x[:, shuffled[0]], y[:, shuffled[1]], kind)
    torch.testing.assert_close(chamfer(x, y, kind), permuted, rtol=1e-13, atol=0)
    swapped_axes = chamfer(x.reshape(8, 5, 39).mT, y.reshape(8, 5, 39).mT, kind)
    assert (swapped_axes - permuted).abs().min() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_chamfer_of_equal_sets_is_zero_with_zero_gradient(kind):
    y = points(3, 39, 5).requires_grad_()
    loss = chamfer(y.detach()[:, torch.randperm(39)], y, kind)
    assert (loss == 0).all()
    (gradient,) = torch.autograd.grad(loss.sum(), y)
    assert (gradient == 0).all()


def test_chamfer_does_not_see_masked_points():
    x, y, mask = points(3, 9, 5), points(3, 9, 5, seed=1), torch.ones(3, 9)
    mask[:, 4:] = 0
    elsewhere = torch.where(mask[..., None] == 1, x, y)
    assert torch.equal(chamfer(x, y, mask=mask), chamfer(elsewhere, y, mask=mask))
    assert chamfer(x[:1], y[:1], mask=torch.zeros(1, 9)).isfinite().all()
    whole, doubled = chamfer(x, y, mask=mask), chamfer(x, y, mask=2 * mask)
    distance = torch.cdist(x[:, :4], y).amin(-1).sum(-1)
    torch.testing.assert_close(doubled - whole, distance)


def test_chamfer_with_both_masks_is_that_of_the_real_points():
    x, y = points(3, 6, 5), points(3, 7, 5, seed=1).requires_grad_()
    ones, some = torch.ones(3, 6), torch.ones(3, 7)
    ones[:, 4:], some[:, :3] = 0, 0
    both, kept = chamfer(x, y, mask=ones, mask_y=some), chamfer(x[:, :4], y[:, 3:])
    torch.testing.assert_close(both, kept, rtol=1e-13, atol=0)
    gradients = [torch.autograd.grad(loss.sum(), y)[0] for loss in (both, kept)]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_error_of_a_model_that_predicts_the_mask_is_per_real_object(kind):
    trial = make_trial(("gcn_vae", {"preset": "plus"}), representation="truncated")
    inputs = make_inputs(trial, 5)
    with torch.no_grad():
        outputs = build_model(trial).double()(inputs, points(5, 15))
    expected = []
    for k, real in enumerate(inputs.mask == 1):
        x, y = inputs.objects[k, real][None], outputs.objects[k, real][None]
        given = torch.sigmoid(outputs.mask_logits[k])
        entropy = -torch.where(real, given, 1 - given).log().sum()
        expected.append((double_loop(x, y, kind, torch.ones(1, len(x[0]))) + entropy) / real.sum())
    error = reconstruction_error(inputs, outputs, Training(chamfer=kind))
    torch.testing.assert_close(error, torch.cat(expected))


def test_chamfer_is_the_same_in_a_pack():
    x, y = points(3, 4, 9, 5), points(3, 4, 9, 5, seed=1).requires_grad_()
    together = chamfer(x, y)
    alone = torch.stack([chamfer(a, b) for a, b in zip(x, y, strict=True)])
    assert torch.equal(together, alone)
    pair = (torch.autograd.grad(loss.sum(), y)[0] for loss in (together, alone))
    torch.testing.assert_close(*pair, rtol=0, atol=0)


def test_kl_is_that_of_torch():
    mean, log_variance = points(6, 15), points(6, 15, seed=1)
    posterior = Normal(mean, torch.exp(log_variance / 2))
    expected = kl_divergence(posterior, Normal(torch.zeros(15), torch.ones(15))).sum(-1)
    torch.testing.assert_close(kl(mean, log_variance), expected)
    assert (kl(torch.zeros(2, 15), torch.zeros(2, 15)) == 0).all()


def test_flow_kl_follows_a_linear_map_of_the_latent_space():
    mean, log_variance, matrix = points(6, 15), points(6, 15, seed=1), points(15, 15, seed=2)
    z0 = mean + points(6, 15, seed=3) * torch.exp(log_variance / 2)
    log_det = torch.linalg.slogdet(matrix).logabsdet.expand(6)
    outputs = Outputs(mean, log_variance, z0, z0 @ matrix.T, log_det, z0, z0)
    scale = matrix * torch.exp(log_variance / 2)[:, None]
    posterior = MultivariateNormal(mean @ matrix.T, scale @ scale.mT)
    prior = Normal(torch.zeros(15).double(), torch.ones(15).double())
    expected = posterior.log_prob(outputs.zk) - prior.log_prob(outputs.zk).sum(-1)
    torch.testing.assert_close(flow_kl(outputs), expected)


def test_flow_kl_averages_to_the_kl_without_a_flow():
    mean, log_variance = points(1, 15) / 3, points(1, 15, seed=1) / 3
    z0 = mean + points(200_000, 15, seed=2) * torch.exp(log_variance / 2)
    outputs = Outputs(mean, log_variance, z0, z0, torch.zeros(len(z0)), z0, z0)
    sample = flow_kl(outputs)
    error = sample.std() / math.sqrt(len(sample))
    assert (sample.mean() - kl(mean, log_variance)).abs() < 4 * error


@pytest.mark.parametrize("hlf", [False, True])
@pytest.mark.parametrize("architecture", ["gcn_vae", "conv_vae"])
def test_training_loss_is_its_formula(architecture, hlf):
    trial = make_trial(architecture, hlf=hlf)
    inputs = make_inputs(trial, 6)
    with torch.no_grad():
        outputs = build_model(trial).double()(inputs, points(6, 15))
    shown = inputs.objects[..., : outputs.objects.shape[-1]]
    assert shown.shape == outputs.objects.shape
    difference = inputs.hlf - outputs.hlf
    error = difference.square().mean(-1) if hlf else torch.zeros(6).double()
    assert torch.equal(hlf_error(inputs, outputs), error)
    beta, weight = torch.tensor(0.3).double(), torch.tensor(7.0).double()
    kinds = [Training(chamfer=k, masked=m) for k in KINDS for m in (False, True)]
    for training in kinds:
        mask = inputs.mask if training.masked else None
        l_c = chamfer(shown, outputs.objects, training.chamfer, mask)
        loss = training_loss(inputs, outputs, beta=beta, hlf_weight=weight, training=training)
        expected = 0.3 * kl(outputs.mean, outputs.log_variance) + 0.7 * (l_c + 7 * error)
        torch.testing.assert_close(loss, expected)
    elbo = Training(loss="modified_elbo")
    loss = training_loss(inputs, outputs, beta=beta, hlf_weight=weight, training=elbo)
    expected = flow_kl(outputs) + chamfer(shown, outputs.objects) + 7 * error
    torch.testing.assert_close(loss, expected)
