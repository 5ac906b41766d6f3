"""A recorded step against the step itself, on what recording could get wrong."""

from __future__ import annotations

import pytest
import torch
from conftest import make_inputs, make_trial

from scanner.members import start
from scanner.registry import ARCHITECTURES, FLOWS
from scanner.replay import _Recorder, replayed
from scanner.train import stepper

EVENTS, SIZE = 16, 4


def agree(step, state, inputs):
    """Run a step and its recording on the same inputs, from the same state."""
    other = [tensor.clone() for tensor in state]
    run = replayed(lambda *given: step(other, *given))
    for given in inputs:
        step(state, *given)
        run(*given)
        for one, two in zip(state, other, strict=True):
            assert torch.equal(one, two)


def drawn(count, *shape):
    """Inputs of `count` calls."""
    return [(torch.randn(*shape),) for _ in range(count)]


def test_views_of_inputs_and_of_state_follow_what_is_written():
    def step(state, x):
        view = state[0][1:].T
        state[0].mul_(2)
        state[1].add_((view.expand(3, -1, -1).sum(0) * x[:, 1:].unsqueeze(0)[0]).sum())

    agree(step, [torch.randn(3, 2), torch.zeros(())], drawn(4, 2, 3))


def test_a_tensor_made_in_the_step_is_filled_anew():
    def step(state, x):
        made = torch.zeros(3)
        made[1:].add_(x[1:])
        made.unbind()[0].sub_(1)
        state[0].add_(made.view(torch.int32).bitwise_and(-16).view(torch.float32))

    agree(step, [torch.zeros(3)], drawn(4, 3))


def test_functions_of_what_never_changes_are_not_called_again():
    weight, total = torch.randn(3, 3), torch.zeros(3)

    def step(x):
        total.add_(torch.linalg.inv(weight) @ x)

    run = replayed(step)
    run(torch.ones(3))
    with _Recorder() as recorder:
        run(torch.ones(3))
    names = [call.operation._schema.name for call in recorder.calls]
    assert not any("inv" in name for name in names)
    torch.testing.assert_close(total, 2 * torch.linalg.inv(weight).sum(1))


def test_gradients_hand_written_and_several_results():
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, slope):
            return 3 * ctx.saved_tensors[0] ** 2 * slope

    def step(state, x):
        weight = state[0].detach().requires_grad_()
        high, place = (Cube.apply(weight) * x).topk(2)
        (slope,) = torch.autograd.grad(high.sum(), [weight])
        state[0].sub_(0.1 * slope)
        state[1].index_add_(0, place, high.detach())

    agree(step, [torch.randn(5), torch.zeros(5)], drawn(5, 5))


def test_numbers_that_python_cannot_print_are_kept():
    def step(state, x):
        state[0].copy_(torch.where(x > 0, x, torch.inf).clamp(max=1e300).nan_to_num(posinf=7.0))

    agree(step, [torch.zeros(4, dtype=torch.float64)], [(t.double(),) for (t,) in drawn(3, 4)])


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, ("gcn_vae", {"preset": "plus"})])
@pytest.mark.parametrize("flow", FLOWS)
def test_training_steps_are_the_same_to_the_bit(architecture, flow, monkeypatch):
    pack = [make_trial(architecture, flow, seed=s) for s in (0, 1)]
    train, validation = make_inputs(pack[0], EVENTS), make_inputs(pack[0], 3, seed=2)
    reached = []
    for wrap in (replayed, lambda step: step):
        monkeypatch.setattr("scanner.train.replayed", wrap)
        members = start(pack, validation)
        steps, total = stepper(members, train)
        random = torch.Generator().manual_seed(0)
        for _ in range(3):
            index = torch.randint(EVENTS, (2, SIZE), generator=random)
            steps([(index, torch.randn(2, SIZE, 15, generator=random).to(total))])
        reached.append([members.flat, members.first, total, *members.model.buffers()])
    for one, two in zip(*reached, strict=True):
        assert torch.equal(one, two)
