"""Properties of every architecture, and of each the facts that its definition fixes."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from conftest import make_inputs, make_trial
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, pad

from scanner.errors import ScannerError
from scanner.layers import BatchNorm, pack_models
from scanner.losses import training_loss
from scanner.models import Outputs, build_model
from scanner.models.conv_vae import ConvVAE
from scanner.models.convolution import Convolution, Deconvolution, same_margins
from scanner.models.deepset_vae import DeepSetVAE
from scanner.models.gcn_vae import GCNVAE, SELF_WEIGHT, WIDTHS, gcn_vae
from scanner.models.graph import (
    NEIGHBOURS,
    GraphConvolution,
    neighbours,
    normalized,
    pairs,
    squared_distances,
)
from scanner.registry import ARCHITECTURES, FLOWS, REPRESENTATIONS
from scanner.representations import Inputs, Shape
from scanner.trial import Variant, variant

NONE = Variant("none")
VARIANTS = [
    *ARCHITECTURES,
    ("conv_vae", {"padding": "valid"}),
    ("gcn_vae", {"preset": "complete", "hidden": 20}),
    ("gcn_vae", {"adjacency": "knn"}),
    ("gcn_vae", {"preset": "plus"}),
    ("gcn_vae", {"preset": "plus", "adjacency": "knn", "hidden": 20}),
]
PLUS = ("gcn_vae", {"preset": "plus"})
MEMBERS = 3


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def noise(*size, seed=5):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*size, 15, generator=random, dtype=torch.float64)


def members(trial):
    """Models of one shape with different weights, in double precision."""
    torch.manual_seed(0)
    return [build_model(trial).double() for _ in range(MEMBERS)]


def stacked(inputs):
    """The inputs of a pack from those of its members."""
    return Inputs(*(torch.stack(tensors) for tensors in zip(*inputs, strict=True)))


def largest_difference(one, other):
    """Relative to the largest number of each tensor, or to 1 where that is more."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a.numel()]
    return max(((a - b).abs().max() / b.abs().max().clamp_min(1)).item() for a, b in pairs)


# every architecture


@pytest.mark.parametrize("hlf", [False, True])
@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("architecture", VARIANTS)
def test_shapes_and_posterior_mean(architecture, representation, hlf):
    trial = make_trial(architecture, representation=representation, hlf=hlf)
    inputs, model = make_inputs(trial, 7), members(trial)[0].eval()
    outputs = model(inputs, torch.zeros(7, 15))
    assert isinstance(outputs, Outputs)
    assert outputs.objects.shape[:2] == inputs.objects.shape[:2]
    assert outputs.hlf.shape == inputs.hlf.shape
    assert outputs.mean.shape == outputs.log_variance.shape == (7, 15)
    assert torch.equal(outputs.z0, outputs.mean)
    drawn = model(inputs, noise(7))
    expected = outputs.mean + noise(7) * torch.exp(outputs.log_variance / 2)
    torch.testing.assert_close(drawn.z0, expected)
    assert all(
        torch.equal(a, b) for a, b in zip(drawn[:-1], model(inputs, noise(7))[:-1], strict=True)
    )


@pytest.mark.parametrize("hlf", [False, True])
@pytest.mark.parametrize("representation", ["truncated", "truncated_mult", "physics"])
@pytest.mark.parametrize("architecture", VARIANTS)
@pytest.mark.parametrize("training", [False, True])
def test_member_is_the_same_in_a_pack(architecture, representation, hlf, training):
    """Loss, gradients and running statistics; in training and in evaluation."""
    trial = make_trial(architecture, "planar", representation=representation, hlf=hlf)
    models = [model.train(training) for model in members(trial)]
    packed = pack_models(models).train(training)
    inputs = [make_inputs(trial, 8, seed=k) for k in range(MEMBERS)]

    def loss(model, inputs, noise):
        outputs = model(inputs, noise)
        beta, weight = torch.tensor([0.5, 2.0]).double()
        loss = training_loss(inputs, outputs, beta=beta, hlf_weight=weight, training=trial.training)
        return loss.mean(-1)

    together = loss(packed, stacked(inputs), noise(MEMBERS, 8))
    gradients = torch.autograd.grad(together.sum(), list(packed.parameters()))
    for k, model in enumerate(models):
        alone = loss(model, inputs[k], noise(MEMBERS, 8)[k])
        assert (alone - together[k]).abs() < 1e-12 * alone.abs()
        own = torch.autograd.grad(alone, list(model.parameters()))
        assert largest_difference([g[k] for g in gradients], own) < 1e-12
        kept = [packed.get_buffer(name)[k] for name, _ in model.named_buffers()]
        assert not kept or largest_difference(kept, list(model.buffers())) < 1e-12


@pytest.mark.parametrize("architecture", VARIANTS)
def test_single_precision_of_a_member_does_not_depend_on_the_pack(architecture):
    trial = make_trial(architecture)
    torch.manual_seed(0)
    models = [build_model(trial).train() for _ in range(MEMBERS)]
    inputs, drawn = make_inputs(trial, 32, torch.float32), noise(32).float()

    def gradients(models):
        given = stacked([inputs] * len(models)), torch.stack([drawn] * len(models))
        packed = pack_models(models)
        outputs = packed(*given)
        loss = outputs.objects.square().mean((1, 2, 3)) + outputs.mean.square().mean((1, 2))
        return torch.autograd.grad(loss.sum(), list(packed.parameters()))

    alone, together = gradients(models[1:2]), gradients(models)
    assert all(torch.equal(a[0], b[1]) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("architecture", VARIANTS)
def test_encoder_is_the_same_for_every_flow(architecture, flow):
    model = build_model(make_trial(architecture, flow))
    without = build_model(make_trial(architecture))
    added = sum(parameter.numel() for parameter in model.posterior.flow.parameters())
    assert parameters(model) == parameters(without) + added


@pytest.mark.parametrize("architecture", VARIANTS)
def test_every_input_reaches_the_posterior_and_every_weight_the_outputs(architecture):
    trial = make_trial(architecture, representation="truncated_mult", hlf=True)
    inputs, model = make_inputs(trial, 16), members(trial)[0].train()
    seen = [
        tensor.clone().requires_grad_() for tensor in (inputs.objects, inputs.extra, inputs.hlf)
    ]
    outputs = model(inputs._replace(objects=seen[0], extra=seen[1], hlf=seen[2]), noise(16))
    for tensor in torch.autograd.grad(outputs.mean.square().sum(), seen, retain_graph=True):
        assert (tensor.abs().sum((0, *range(1, tensor.dim() - 1))) > 0).sum() >= min(
            4, tensor.shape[-1]
        )
    total = outputs.objects.square().sum() + outputs.hlf.square().sum()
    reached = torch.autograd.grad(total, list(model.parameters()), materialize_grads=True)
    assert all((gradient != 0).any() for gradient in reached)


# the Conv-VAE


def test_conv_vae_of_the_public_code_has_its_parameters():
    assert parameters(ConvVAE(Shape(32, 5, 0, 1), NONE, "valid")) == 16_288
    flat = 39 * 4 * 8
    same = 16_288 - (20 + 2 + 21 + 2) * 161 + (20 + 2 + 21 + 2) * flat
    assert parameters(ConvVAE(Shape(39, 5, 0, 0), NONE, "same")) == same


def test_conv_vae_does_not_see_the_type():
    trial = make_trial("conv_vae")
    inputs, model = make_inputs(trial, 5), members(trial)[0].eval()
    other = inputs.objects.clone()
    other[..., 4:] += 1
    changed = model(inputs._replace(objects=other), noise(5))
    assert torch.equal(changed.mean, model(inputs, noise(5)).mean)


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("kernel", [(3, 4), (5, 1), (2, 3)])
@pytest.mark.parametrize("widths", [(1, 6), (6, 4), (4, 4), (6, 1)])
def test_convolutions_are_those_of_torch(widths, kernel, same):
    torch.manual_seed(1)
    layer, mirror = Convolution(*widths, kernel, same), Deconvolution(*widths, kernel, same)
    table = torch.randn(5, 9, 8, widths[0])
    first = table.movedim(-1, 1)
    margins = same_margins(kernel) if same else (0, 0, 0, 0)
    expected = conv2d(pad(first, margins), layer.kernel.weight, layer.kernel.bias)
    torch.testing.assert_close(layer(table).movedim(-1, 1), expected)
    assert not same or expected.shape[2:] == (9, 8)
    left, right, top, bottom = margins
    full = conv_transpose2d(first, mirror.kernel.weight, mirror.kernel.bias)
    cropped = full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]
    torch.testing.assert_close(mirror(table).movedim(-1, 1), cropped)


@pytest.mark.parametrize("size", [(64, 6), (8, 5, 3, 6)])
def test_batch_norm_is_that_of_torch(size):
    ours, theirs = BatchNorm(6), nn.BatchNorm1d(6)
    for step in range(3):
        values = 3 * torch.randn(*size) + step
        torch.testing.assert_close(ours(values), theirs(values.flatten(0, -2)).view(size))
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    frozen = theirs.eval()(values.flatten(0, -2)).view(size)
    torch.testing.assert_close(ours.eval()(values), frozen)
    assert (ours.train()(torch.randn(1, 6)) == 0).all()


# the GCN-VAE


@pytest.mark.parametrize(("hidden", "count"), [(0, 5_129), (20, 5_679)])
@pytest.mark.parametrize("preset", SELF_WEIGHT)
def test_gcn_vae_has_the_parameters_of_the_paper(preset, hidden, count):
    assert parameters(gcn_vae(Shape(39, 5, 0, 0), NONE, preset, hidden, "complete")) == count


@pytest.mark.parametrize(("hidden", "width"), [(0, 78), (20, 20)])
def test_the_vector_of_the_posterior_heads_feeds_the_flow(hidden, width):
    planar = variant(FLOWS, "planar", {})
    model = gcn_vae(Shape(39, 5, 0, 0), planar, "paper", hidden, "complete")
    flow = sum(parameter.numel() for parameter in model.posterior.flow.parameters())
    assert flow % (width + 1) == 0
    extended = gcn_vae(Shape(39, 5, 7, 3), planar, "paper", hidden, "complete")
    more = sum(parameter.numel() for parameter in extended.posterior.flow.parameters())
    assert more == flow if hidden else more == flow * (width + 11) / (width + 1)


def test_negative_hidden_width_is_refused():
    with pytest.raises(ScannerError, match="hidden is -1; it must be 0"):
        gcn_vae(Shape(39, 5, 0, 0), NONE, "paper", -1, "complete")


@pytest.fixture(scope="module")
def gcn_conv():
    """torch-geometric's layer; its import uses deprecated parts of torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch_geometric.nn import GCNConv
    return GCNConv


@pytest.mark.parametrize("preset", SELF_WEIGHT)
def test_graph_convolution_is_that_of_the_explicit_graph(preset, gcn_conv):
    nodes, total = torch.randn(4, 39, 5, dtype=torch.float64), 39
    ours = GraphConvolution(5, 32, SELF_WEIGHT[preset]).double()
    theirs = gcn_conv(5, 32, add_self_loops=False).double()
    theirs.load_state_dict({"lin.weight": ours.linear.weight, "bias": ours.linear.bias})
    edges = torch.cartesian_prod(torch.arange(total), torch.arange(total)).T
    weight = torch.where(edges[0] == edges[1], SELF_WEIGHT[preset], 1.0).double()
    expected = torch.stack([theirs(event, edges, weight) for event in nodes])
    torch.testing.assert_close(ours(nodes), expected, rtol=0, atol=1e-6)
    adjacency = torch.ones(total, total).double() + (SELF_WEIGHT[preset] - 1) * torch.eye(total)
    root = adjacency.sum(1).rsqrt()
    product = root[:, None] * adjacency * root @ nodes
    torch.testing.assert_close(ours(nodes), ours.linear(product), rtol=0, atol=1e-12)


def spread_of_nodes(preset):
    """Size of the nodes' deviation from their mean over that of the mean, after each layer.

    Random inputs, weights without bias, median of 100 networks.
    """
    torch.manual_seed(0)
    spreads = []
    for _ in range(100):
        nodes, spread = torch.randn(39, 5, dtype=torch.float64), []
        for before, after in pairwise((5, *WIDTHS)):
            layer = GraphConvolution(before, after, SELF_WEIGHT[preset]).double()
            torch.nn.init.zeros_(layer.linear.bias)
            nodes = torch.relu(layer(nodes))
            mean = nodes.mean(0, keepdim=True)
            spread.append((nodes - mean).norm() / mean.expand_as(nodes).norm())
        spreads.append(torch.stack(spread))
    return torch.stack(spreads).detach().nanmedian(0).values


def test_spread_of_the_nodes_dies_layer_by_layer():
    assert (spread_of_nodes("complete") < 1e-12).all()
    published = torch.tensor([0.14, 2.7e-3, 5.9e-5], dtype=torch.float64)  # of other random draws
    assert ((spread_of_nodes("paper") / published).log2().abs() < 1).all()


def test_complete_graph_reconstructs_one_particle_39_times():
    trial = make_trial(("gcn_vae", {"preset": "complete"}))
    outputs = members(trial)[0](make_inputs(trial, 5), noise(5))
    assert (outputs.objects - outputs.objects[:, :1]).abs().max() < 1e-12
    assert (outputs.objects[0] - outputs.objects[1]).abs().max() > 1e-6


# the graph of neighbours


def brute_force_graph(direction, real):
    """Event by event, object by object: the symmetrised graph of the nearest real objects."""
    near = torch.zeros(len(direction), len(direction), dtype=torch.float64)
    kept = [i for i in range(len(real)) if real[i]]
    for i in kept:
        others = sorted((j for j in kept if j != i), key=lambda j: math.dist(
            direction[i].tolist(), direction[j].tolist()))  # fmt: skip
        for j in others[:NEIGHBOURS]:
            near[i, j] = near[j, i] = 1
    return near


@pytest.mark.parametrize("filled", [0, 1, 5, 14])
@pytest.mark.parametrize("representation", ["all", "physics"])
def test_neighbours_are_those_of_a_search_by_hand(representation, filled):
    trial = make_trial(representation=representation)
    inputs = make_inputs(trial, 6)
    mask = torch.zeros_like(inputs.mask)
    mask[:, torch.randperm(mask.shape[1])[:filled]] = 1
    kinematic = 5 if representation == "physics" else 4
    directions = inputs.objects[..., 2:kinematic] + torch.randn(
        *mask.shape, kinematic - 2, dtype=torch.float64
    )
    inputs = inputs._replace(
        mask=mask,
        objects=torch.cat(
            [inputs.objects[..., :2], directions, inputs.objects[..., kinematic:]], dim=-1
        ),
    )
    graph = neighbours(squared_distances(inputs, kinematic), mask)
    expected = [brute_force_graph(d, m) for d, m in zip(directions, mask, strict=True)]
    assert torch.equal(graph, torch.stack(expected))
    assert filled < 14 or graph.sum(-1).amax() > NEIGHBOURS


@pytest.mark.parametrize("preset", SELF_WEIGHT)
def test_convolution_over_neighbours_is_that_of_torch_geometric(preset, gcn_conv):
    random = torch.Generator().manual_seed(3)
    nodes = torch.randn(4, 39, 5, generator=random, dtype=torch.float64)
    mask = (torch.rand(4, 39, generator=random) < 0.4).double()
    inputs = Inputs(nodes, mask, nodes[:, 0, :0], nodes[:, 0, :0])
    graph = neighbours(squared_distances(inputs, 4), mask)
    ours = GraphConvolution(5, 32, SELF_WEIGHT[preset]).double()
    theirs = gcn_conv(5, 32, improved=preset == "paper").double()
    theirs.load_state_dict({"lin.weight": ours.linear.weight, "bias": ours.linear.bias})
    edges = [g.nonzero().T for g in graph]
    ones = [torch.ones(e.shape[1], dtype=torch.float64) for e in edges]
    expected = [theirs(*event) for event in zip(nodes, edges, ones, strict=True)]
    found = ours(nodes, normalized(graph, SELF_WEIGHT[preset]))
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-6)


def test_given_graph_of_all_rows_is_the_closed_form():
    nodes, layer = torch.randn(4, 9, 5).double(), GraphConvolution(5, 3, 2.0).double()
    graph = normalized(pairs(torch.ones(4, 9).double()), 2.0)
    torch.testing.assert_close(layer(nodes, graph), layer(nodes), rtol=0, atol=1e-12)


# the preset `plus`


def plus_and_inputs():
    trial = make_trial(PLUS, representation="physics", hlf=True)
    return members(trial)[0], make_inputs(trial, 8)


def test_plus_does_not_see_the_padding():
    model, inputs = plus_and_inputs()
    other = inputs.objects + 7 * (1 - inputs.mask[..., None])
    one, changed = model(inputs, noise(8)), model(inputs._replace(objects=other), noise(8))
    assert all(torch.equal(a, b) for a, b in zip(one, changed, strict=True))


def test_encoder_of_plus_does_not_know_the_order_of_the_rows():
    model, inputs = plus_and_inputs()
    order = torch.randperm(inputs.mask.shape[1])
    shuffled = inputs._replace(objects=inputs.objects[:, order], mask=inputs.mask[:, order])
    torch.testing.assert_close(model(shuffled, noise(8)).mean, model(inputs, noise(8)).mean)


def test_plus_keeps_objects_apart_in_encoder_and_decoder():
    model, inputs = plus_and_inputs()
    mask = inputs.mask[..., None]
    nodes, graph = inputs.objects, model._graph(inputs)
    for layer in model.encoder:
        nodes = layer(nodes, graph, mask)
        centre = nodes.sum(1, keepdim=True) / mask.sum(1, keepdim=True)
        assert ((nodes - centre) * mask).norm() > 0.3 * nodes.norm()
    rows = model(inputs, noise(8)).objects
    assert (rows - rows.mean(1, keepdim=True)).norm() > 0.1 * rows.norm()


def test_graph_of_plus_is_equation_3_on_the_weighted_complete_graph():
    model, inputs = plus_and_inputs()
    graph, real = model._graph(inputs)[0], inputs.mask[0] == 1
    direction = inputs.objects[0, real, 2:5]
    weights = torch.exp(-(torch.cdist(direction, direction) ** 2))
    root = weights.sum(1).rsqrt()
    torch.testing.assert_close(graph[real][:, real], root[:, None] * weights * root)
    assert (graph[real][:, ~real] == 0).all()


def test_plus_cannot_die_where_the_paper_does():
    trials = [make_trial(), make_trial(PLUS)]
    for trial, alive in zip(trials, (False, True), strict=True):
        model, inputs = members(trial)[0], make_inputs(trial, 16)
        last = model.encoder[-1]
        with torch.no_grad():
            (last.root if alive else last.linear).bias.fill_(-50.0)
        mean = model(inputs, noise(16)).mean
        gradient = torch.autograd.grad(mean.square().sum(), list(model.encoder.parameters()))
        assert any((g != 0).any() for g in gradient) == alive
        assert (mean.std(0) > 1e-3).all() == alive


def test_plus_copes_with_an_event_without_objects():
    model, inputs = plus_and_inputs()
    empty = inputs._replace(mask=torch.zeros_like(inputs.mask))
    outputs = model(empty, noise(8))
    total = sum(tensor.sum() for tensor in outputs)
    gradients = torch.autograd.grad(total, list(model.parameters()), materialize_grads=True)
    assert all(tensor.isfinite().all() for tensor in (*outputs, *gradients))


# the deep-set VAE


def test_deep_set_encoder_is_that_of_the_complete_graph():
    trial = make_trial("deepset_vae")
    model, inputs = members(trial)[0], make_inputs(trial, 6)
    assert isinstance(model, DeepSetVAE)
    nodes = inputs.objects
    for dense in (layer for layer in model.encoder if isinstance(layer, nn.Linear)):
        graph = GraphConvolution(dense.in_features, dense.out_features, 1.0).double()
        graph.linear.load_state_dict(dense.state_dict())
        nodes = torch.relu(graph(nodes))
    mean = model.posterior.mean(nodes[:, 7])
    torch.testing.assert_close(model(inputs, noise(6)).mean, mean, rtol=0, atol=1e-12)


def test_deep_set_reconstructs_one_object():
    trial = make_trial("deepset_vae")
    objects = members(trial)[0](make_inputs(trial, 5), noise(5)).objects
    assert torch.equal(objects, objects[:, :1].expand_as(objects))


@pytest.mark.parametrize("architecture", VARIANTS)
def test_log_variance_stays_bounded_with_a_gradient(architecture):
    trial = make_trial(architecture)
    inputs, model = make_inputs(trial, 5), members(trial)[0].eval()
    with torch.no_grad():
        model.posterior.log_variance.bias.fill_(20.0)
    outputs = model(inputs, noise(5))
    assert ((outputs.log_variance > 4.9) & (outputs.log_variance < 5)).all()
    bias = model.posterior.log_variance.bias
    assert (torch.autograd.grad(outputs.log_variance.sum(), bias)[0] > 0).all()


def test_a_trial_names_its_model():
    trial = make_trial(("gcn_vae", {"hidden": 20}), hlf=True, representation="truncated_mult")
    model = build_model(trial)
    assert isinstance(model, GCNVAE)
    assert model.posterior.mean.in_features == 20
    assert model.hidden[0].in_features == 22 * 2 + 7 + 3
    direct = build_model(replace(trial, architecture=make_trial().architecture))
    assert direct.posterior.mean.in_features == 22 * 2 + 7 + 3
