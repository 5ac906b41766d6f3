"""Properties of every flow of the registry, with each of its words and switches."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from scanner.errors import ScannerError
from scanner.flows import build_flow
from scanner.layers import pack_models
from scanner.registry import FLOWS
from scanner.trial import Variant, variant

DIM, CONTEXT, BATCH = 15, 20, 6


def _variants() -> list[Variant]:
    """Each flow at its defaults, and with every other value of a switch or word."""
    found = []
    for name, entry in FLOWS.items():
        found.append(variant(FLOWS, name, {}))
        for key, default in entry.settings.items():
            others = default[1:] if isinstance(default, tuple) else ()
            others = (not default,) if isinstance(default, bool) else others
            found += [variant(FLOWS, name, {key: value}) for value in others]
    return found


VARIANTS = {v.label: v for v in _variants()}
every_flow = pytest.mark.parametrize("label", VARIANTS)
every_state = pytest.mark.parametrize("trained", [False, True], ids=["fresh", "trained"])


def _flow(label: str, seed: int = 0, *, trained: bool = True) -> nn.Module:
    """A flow in float64; `trained` stirs every parameter far from its start."""
    torch.manual_seed(seed)
    flow = build_flow(VARIANTS[label], DIM, CONTEXT).double()
    if trained:
        _stir(flow)
    return flow


def _stir(flow: nn.Module, strength: float = 0.3) -> None:
    with torch.no_grad():
        for p in flow.parameters():
            fan_in = p.shape[-1] if p.ndim > 1 else 1
            p.add_(strength * torch.randn_like(p) / fan_in**0.5)


def _inputs(batch: int = BATCH, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(width: int) -> Tensor:
        return torch.randn(batch, width, dtype=torch.float64, generator=generator)

    return normal(DIM), normal(CONTEXT)


def _jacobian(flow: nn.Module, z: Tensor, context: Tensor) -> Tensor:
    """Jacobians (B, D, D) of all events."""
    z = z.detach().requires_grad_()
    mapped = flow(z, context)[0]
    rows = [torch.autograd.grad(row.sum(), z, retain_graph=True)[0] for row in mapped.unbind(-1)]
    return torch.stack(rows, -2)


def _scalar(flow: nn.Module, z: Tensor, context: Tensor) -> Tensor:
    """One number for each network."""
    mapped, log_det = flow(z, context)
    return (mapped.square().sum(-1) + log_det).mean(-1)


@every_flow
@every_state
def test_log_determinant_is_that_of_the_jacobian(label, trained):
    flow, (z, context) = _flow(label, trained=trained), _inputs()
    log_det = flow(z, context)[1]
    expected = torch.linalg.slogdet(_jacobian(flow, z, context))[1]
    assert log_det.shape == (BATCH,)
    torch.testing.assert_close(log_det, expected, atol=1e-8, rtol=0)


@every_flow
@every_state
def test_inverse_returns_the_input(label, trained):
    flow, (z, context) = _flow(label, trained=trained), _inputs()
    with torch.no_grad():
        back = flow.inverse(flow(z, context)[0], context)
    torch.testing.assert_close(back, z, atol=1e-8, rtol=0)


@every_flow
def test_start_is_near_the_identity(label):
    flow, (z, context) = _flow(label, trained=False), _inputs(200)
    mapped, log_det = flow(z, context)
    assert (mapped - z).norm() < 0.06 * z.norm()
    assert log_det.abs().max() < 0.05 * DIM


@every_flow
def test_trained_flow_moves_the_vector(label):
    flow, (z, context) = _flow(label), _inputs(200)
    moved = (flow(z, context)[0] - z).norm() / z.norm()
    assert moved > 0.01 or label == "none"


@every_flow
@every_state
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite(label, trained, dtype):
    flow = _flow(label, trained=trained).to(dtype)
    for norm in (0.0, 1e-3, 1.0, 1e3):
        flow.zero_grad()
        z, context = (norm * t / t.norm(dim=-1, keepdim=True) for t in _inputs())
        z, context = z.to(dtype).requires_grad_(), context.to(dtype).requires_grad_()
        mapped, log_det = flow(z, context)
        (mapped.mean() + log_det.mean()).backward()
        for tensor in (mapped, log_det, z.grad, *(p.grad for p in flow.parameters())):
            assert torch.isfinite(tensor).all(), norm


@every_flow
def test_every_parameter_is_used(label):
    flow, (z, context) = _flow(label), _inputs()
    mapped, log_det = flow(z, context)
    if not list(flow.parameters()):
        return
    (mapped.square().mean() + log_det.mean()).backward()
    for name, p in flow.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name


@every_flow
def test_zero_parameters_stay_finite(label):
    flow, (z, context) = _flow(label), _inputs()
    with torch.no_grad():
        for p in flow.parameters():
            p.zero_()
    mapped, log_det = flow(z.requires_grad_(), context)
    (mapped.sum() + log_det.sum()).backward()
    assert torch.isfinite(z.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in flow.parameters() if p.grad is not None)


@every_flow
def test_pack_is_its_members(label):
    flows = [_flow(label, seed) for seed in range(3)]
    packed = pack_models(flows)
    given = [_inputs(4, seed) for seed in range(3)]
    z, context = (torch.stack(t) for t in zip(*given, strict=True))
    mapped, log_det = packed(z, context)
    if list(packed.parameters()):
        _scalar(packed, z, context).sum().backward()
    gradients = {name: p.grad for name, p in packed.named_parameters()}
    for k, flow in enumerate(flows):
        alone, alone_det = flow(*given[k])
        torch.testing.assert_close(mapped[k], alone, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(log_det[k], alone_det, atol=1e-12, rtol=1e-12)
        if gradients:
            _scalar(flow, *given[k]).backward()
        for name, p in flow.named_parameters():
            torch.testing.assert_close(gradients[name][k], p.grad, atol=1e-12, rtol=1e-10)


@every_flow
def test_weights_may_be_given_in_a_call(label):
    """As scoring gives them, without a copy of the network."""
    one, other, given = _flow(label, 1), _flow(label, 2), _inputs()
    called = functional_call(one, other.state_dict(), given)
    torch.testing.assert_close(called, other(*given), atol=0, rtol=0)


@every_flow
def test_event_does_not_depend_on_its_batch(label):
    flow, (z, context) = _flow(label), _inputs()
    together = flow(z, context)
    for k in range(BATCH):
        alone = flow(z[k : k + 1], context[k : k + 1])
        torch.testing.assert_close(alone[0][0], together[0][k], atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(alone[1][0], together[1][k], atol=1e-12, rtol=1e-12)


@every_flow
def test_seed_decides_the_start(label):
    first, second, other = (_flow(label, seed, trained=False) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in _pairs(first, second))
    if list(first.parameters()):
        assert not all(torch.equal(a, b) for a, b in _pairs(first, other))


def _pairs(a: nn.Module, b: nn.Module) -> list[tuple[Tensor, Tensor]]:
    return list(zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@every_flow
def test_state_dict_round_trip(label, tmp_path):
    flow, other, given = _flow(label), _flow(label, seed=9), _inputs()
    torch.save(flow.state_dict(), tmp_path / "flow.pt")
    other.load_state_dict(torch.load(tmp_path / "flow.pt", weights_only=True))
    assert all(torch.equal(a, b) for a, b in zip(flow(*given), other(*given), strict=True))


@every_flow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_input(label, dtype):
    flow, (z, context) = _flow(label).to(dtype), _inputs()
    mapped, log_det = flow(z.to(dtype), context.to(dtype))
    assert mapped.dtype == log_det.dtype == dtype
    exact = _flow(label)(z, context)
    torch.testing.assert_close(mapped.double(), exact[0], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(log_det.double(), exact[1], atol=1e-3, rtol=1e-3)


@every_flow
@pytest.mark.parametrize("device", ["meta", *["cuda"] * torch.cuda.is_available()])
def test_moves_to_a_device(label, device):
    flow, given = _flow(label).to(device), _inputs()
    mapped, log_det = flow(*(t.to(device) for t in given))
    assert mapped.device.type == log_det.device.type == device
    assert (mapped.shape, log_det.shape) == ((BATCH, DIM), (BATCH,))
    if device == "cuda":
        torch.testing.assert_close(mapped.cpu(), _flow(label)(*given)[0], atol=1e-10, rtol=1e-10)


@every_flow
def test_only_amortised_flows_see_the_event(label):
    chosen, flow, (z, context) = VARIANTS[label].get(), _flow(label), _inputs()
    differs = not torch.equal(flow(z, context)[0], flow(z, context.flip(0))[0])
    assert differs == chosen.get("amortised", False)


def _count(name: str, **settings: int | bool) -> int:
    flow = build_flow(variant(FLOWS, name, settings), DIM, CONTEXT)
    return sum(p.numel() for p in flow.parameters())


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("none", {}, 0),
        ("planar", {"flows": 6}, 3906),
        ("sylvester_orthogonal", {"flows": 4, "vectors": 5}, 9660),
        ("sylvester_orthogonal", {"flows": 4, "vectors": 8}, 17472),
        ("sylvester_householder", {"flows": 4, "reflections": 8}, 32760),
        ("sylvester_triangular", {"flows": 4}, 22680),
        ("iaf", {"flows": 4, "hidden": 330}, 525480),
        ("convolutional", {"flows": 4, "kernel": 7}, 368),
    ],
)
def test_parameter_counts(name, settings, expected):
    assert _count(name, **settings) == expected


@pytest.mark.parametrize("name", [n for n, e in FLOWS.items() if "amortised" in e.settings])
def test_free_parameters_are_the_outputs_of_the_network(name):
    if name == "iaf":
        without_context = 4 * (CONTEXT + 1) * 330
        assert _count(name, amortised=False) == _count(name) - without_context
    else:
        assert _count(name, amortised=False) * (CONTEXT + 1) == _count(name)


def _reflections(vectors: Tensor) -> Tensor:
    """Products (B, D, D) of the reflections at the columns of (B, D, H), column by column."""
    from scanner.flows.sylvester_basis import Reflections, _Products, reflecting

    reflected = reflecting(vectors.permute(2, 1, 0)[None, None])
    basis = Reflections(reflected[:, 0], _Products.apply(reflected)[:, 0])
    units = torch.eye(vectors.shape[1]).to(vectors)[:, None, :, None]
    columns = [basis.map(u.expand(1, -1, len(vectors)), 0, False)[0][0].T for u in units]
    rows = [basis.map(u.expand(1, -1, len(vectors)), 0, True)[0][0].T for u in units]
    torch.testing.assert_close(torch.stack(columns, -1), torch.stack(rows, -2))
    return torch.stack(columns, -1)


def _orthonormal(seed: Tensor) -> Tensor:
    """Q of matrices (B, D, M)."""
    from scanner.flows.orthonormal import orthonormal

    return orthonormal(seed.permute(1, 2, 0)[None, None])[0, 0].permute(2, 0, 1)


def _by_qr(seed: Tensor) -> Tensor:
    q, r = torch.linalg.qr(seed)
    return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)


def _hard_seeds(dtype: torch.dtype) -> dict[str, Tensor]:
    """Matrices (50, D, 8) that are nearly or wholly of a lower rank."""
    random = torch.Generator().manual_seed(2)
    wide = torch.randn(50, DIM, 8, generator=random, dtype=dtype)
    near = wide[..., :1] + 1e-7 * wide
    zero_column, twin = wide.clone(), wide.clone()
    zero_column[..., 3], twin[..., 5] = 0, twin[..., 2]
    return {
        "nearly parallel": near,
        "graded": wide * 10.0 ** -torch.arange(8).to(dtype),
        "tiny": 1e-12 * wide,
        "parallel": wide[..., :1].expand(-1, -1, 8),
        "zero column": zero_column,
        "twin columns": twin,
        "zeros": torch.zeros_like(wide),
    }


@pytest.mark.parametrize("columns", [1, 5, 8])
def test_bases_are_orthonormal_in_float32(columns):
    seed = torch.randn(500, DIM, columns, generator=torch.Generator().manual_seed(0))
    for q in (_orthonormal(seed), _reflections(seed)):
        q = q.double()
        assert (q.mT @ q - torch.eye(q.shape[-1])).abs().max() < 1e-6


@pytest.mark.parametrize("kind", _hard_seeds(torch.float32))
def test_orthonormal_whatever_the_seed_with_a_finite_gradient(kind):
    seed = _hard_seeds(torch.float32)[kind].requires_grad_()
    q = _orthonormal(seed)
    exact = q.double()
    assert (exact.mT @ exact - torch.eye(8)).abs().max() < 1e-6
    (gradient,) = torch.autograd.grad((q * torch.linspace(-1, 1, DIM)[:, None]).sum(), seed)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-12)], ids=["float32", "float64"]
)
@pytest.mark.parametrize("columns", [1, 8, DIM])
def test_orthonormal_is_that_of_qr(columns, dtype, bound):
    random = torch.Generator().manual_seed(3)
    noise, slope = torch.randn(2, 40, DIM, columns, generator=random, dtype=dtype)
    seed = (2 * torch.eye(DIM, columns) + 0.3 * noise).to(dtype).requires_grad_()
    found, expected = _orthonormal(seed), _by_qr(seed)
    torch.testing.assert_close(found, expected, atol=bound, rtol=0)
    gradients = [torch.autograd.grad(q, seed, slope)[0] for q in (found, expected)]
    torch.testing.assert_close(*gradients, atol=10 * bound, rtol=10 * bound)


def test_gradient_of_orthonormal():
    seed = torch.randn(3, DIM, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(_orthonormal, [seed])


def test_orthonormal_calls_no_factorisation_of_single_matrices():
    """Which would take a GPU 25 us for each of them."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recorded(TorchDispatchMode):
        def __torch_dispatch__(self, call, types, args=(), kwargs=None):
            calls.append(str(call))
            return call(*args, **(kwargs or {}))

    calls = []
    flow, given = _flow("sylvester_orthogonal"), _inputs()
    with Recorded():
        flow(*given)[0].sum().backward()
    assert calls
    assert not [c for c in calls if "linalg" in c or "triangular" in c]


def test_reflections_are_their_product():
    vectors = torch.randn(7, 15, 8, dtype=torch.float64)
    vectors[0, :, 2] = 0
    expected = torch.eye(15, dtype=torch.float64).expand(7, 15, 15)
    for v in vectors.unbind(-1):
        unit = v / v.norm(dim=-1, keepdim=True).clamp(min=1e-300)
        expected = expected - 2 * (expected @ unit[..., None]) * unit[:, None]
    torch.testing.assert_close(_reflections(vectors), expected, atol=1e-12, rtol=0)


def test_gradient_of_the_products_of_reflections():
    from scanner.flows.sylvester_basis import _Products, reflecting

    vectors = torch.randn(1, 2, 4, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: _Products.apply(reflecting(v)), [vectors])


def test_qr_basis_spans_the_seed_and_keeps_its_signs():
    seed = torch.randn(5, 15, 8, dtype=torch.float64)
    q = _orthonormal(seed)
    torch.testing.assert_close(q @ (q.mT @ seed), seed)
    assert ((q * seed).sum(-2) > 0).all()


@every_flow
def test_first_and_last_dimension_see_each_other(label):
    jacobian = _jacobian(_flow(label), *_inputs()).abs().amax(0)
    assert (jacobian[0, -1] > 1e-5 and jacobian[-1, 0] > 1e-5) or label == "none"


def test_convolution_matrix_is_a_padded_convolution():
    from scanner.flows.convolutional import shift_matrices

    z, taps = torch.randn(4, DIM), torch.randn(7)
    for dilation in (1, 2, 4, 8):
        matrix = (taps[:, None, None] * shift_matrices(DIM, 7, dilation)).sum(0)
        padded = nn.functional.pad(z[:, None], (0, 6 * dilation))
        expected = nn.functional.conv1d(padded, taps[None, None], dilation=dilation)[:, 0]
        torch.testing.assert_close(z @ matrix.T, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("amortised", [True, False])
def test_iaf_is_nflows_own_composite(amortised):
    from nflows import transforms
    from nflows.transforms import CompositeTransform, ReversePermutation

    flow = _flow("iaf" if amortised else "iaf[amortised=false]")
    z, context = _inputs()
    steps = []
    for step in flow.steps:
        theirs = transforms.MaskedAffineAutoregressiveTransform(DIM, DIM)
        theirs.autoregressive_net = step.autoregressive_net
        steps += [theirs, ReversePermutation(DIM)]
    mapped, log_det = CompositeTransform(steps)(z, context if amortised else None)
    torch.testing.assert_close(flow(z, context), (mapped, log_det), atol=1e-12, rtol=0)


@pytest.mark.parametrize("label", ["iaf", "iaf[form=gate]"])
def test_one_step_of_iaf_is_triangular_with_a_positive_diagonal(label):
    step, (z, context) = _flow(label).steps[0], _inputs()
    jacobian = _jacobian(step, z, context)
    assert torch.triu(jacobian, 1).abs().max() == 0
    assert (jacobian.diagonal(dim1=-2, dim2=-1) > 0).all()
    lowest = jacobian.abs().amax(0)[-1]
    assert (lowest > 0).all(), "every input must reach the last output"


def test_gate_mixes_the_vector_and_the_mean():
    step, (z, context) = _flow("iaf[form=gate]").steps[0], _inputs()
    raw, mean = step.autoregressive_net(z, context).reshape(BATCH, DIM, 2).unbind(-1)
    gate = torch.sigmoid(raw + 1)
    expected = gate * z + (1 - gate) * mean, gate.log().sum(-1)
    torch.testing.assert_close(step(z, context), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("bins", [1, 2, 10, 64])
@pytest.mark.parametrize("strength", [1e-2, 1.0, 10.0])
def test_spline_is_that_of_nflows(bins, strength):
    from nflows.transforms.splines import unconstrained_rational_quadratic_spline

    from scanner.flows.spline import inverse_spline, spline

    x = torch.linspace(-4, 4, 1001, dtype=torch.float64)
    parameters = strength * torch.randn(1001, 3 * bins - 1, dtype=torch.float64)
    widths, heights, derivatives = parameters.split([bins, bins, bins - 1], -1)
    expected = unconstrained_rational_quadratic_spline(
        x, widths, heights, derivatives, tails="linear", tail_bound=3.0
    )
    torch.testing.assert_close(spline(x, parameters, 3.0), expected, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(inverse_spline(expected[0], parameters, 3.0), x, atol=1e-6, rtol=0)


def test_spline_is_nflows_transform_inside_the_flow():
    from nflows.transforms import MaskedPiecewiseRationalQuadraticAutoregressiveTransform

    from scanner.flows.spline import spline

    flow, (z, _) = _flow("nsf_ar"), _inputs()
    settings = VARIANTS["nsf_ar"].get()
    theirs = MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        DIM,
        settings["hidden"],
        num_bins=settings["bins"],
        tails="linear",
        tail_bound=settings["tail_bound"],
        num_blocks=1,
        use_residual_blocks=False,
        activation=torch.tanh,
    ).double()
    theirs.autoregressive_net.load_state_dict(flow.nets[0].state_dict())
    mapped, log_slope = spline(z, flow.nets[0](z).reshape(BATCH, DIM, -1), settings["tail_bound"])
    torch.testing.assert_close((mapped, log_slope.sum(-1)), theirs(z), atol=1e-10, rtol=0)


def test_spline_is_the_identity_in_the_tails():
    flow, (z, context) = _flow("nsf_ar"), _inputs()
    mapped, log_det = flow(z + 10 * z.sign(), context)
    assert torch.equal(mapped, z + 10 * z.sign())
    assert torch.equal(log_det, torch.zeros_like(log_det))


def test_every_input_of_the_spline_network_reaches_a_later_output():
    net, z = _flow("nsf_ar").nets[0], torch.zeros(DIM, dtype=torch.float64)
    jacobian = jacrev(lambda z: net(z[None])[0].reshape(DIM, -1))(z).abs().amax(1)
    later = torch.tril(jacobian, -1)
    assert torch.equal(later, jacobian)
    assert (later.amax(0)[:-1] > 0).all()


@pytest.mark.parametrize("reach", ["u", "w"])
def test_planar_is_invertible_whatever_its_parameters(reach):
    flow, (z, context) = _flow("planar[amortised=false]"), _inputs()
    with torch.no_grad():
        flow.u.value.copy_(-flow.w.value * 30)
        getattr(flow, reach).value.mul_(10)
    log_det = flow(z, context)[1]
    assert torch.isfinite(log_det).all()
    u, w, _, along = flow._constrained(context)
    assert (along >= 0).all()
    torch.testing.assert_close(1 + (u * w).sum(-1), along, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("planar", {"flows": 0}, "flow planar: flows is 0"),
        ("sylvester_orthogonal", {"vectors": 16}, "use 1 to 15 vectors"),
        ("iaf", {"hidden": 8}, "at least 15 hidden units"),
        ("nsf_ar", {"hidden": 8}, "at least 15 hidden units"),
        ("nsf_ar", {"bins": 1000}, "fewer than 1000 bins"),
        ("nsf_ar", {"tail_bound": 0.0}, "a positive bound"),
    ],
)
def test_settings_that_do_not_fit_are_refused(name, settings, words):
    with pytest.raises(ScannerError, match=words):
        build_flow(variant(FLOWS, name, settings), DIM, CONTEXT)


def test_importing_the_flows_does_not_import_nflows():
    code = "import sys, scanner.flows; assert not {'nflows', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
