"""Adam against torch's own, and what it must not load."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from scrcl.train.optimizer import Adam


def gradients(step):
    """Return gradients of two weights; the second has none at first."""
    rng = torch.Generator().manual_seed(step)
    first = torch.randn(3, 4, generator=rng)
    return [first, None if step < 2 else torch.randn(5, generator=rng)]


def fresh():
    rng = torch.Generator().manual_seed(9)
    return [nn.Parameter(torch.randn(shape, generator=rng)) for shape in ((3, 4), (5,))]


def take(optimizer, weights, steps):
    for step in steps:
        optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
        for weight, gradient in zip(weights, gradients(step), strict=True):
            weight.grad = gradient
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        assert all(weight.grad is None for weight in weights)


@pytest.mark.parametrize("decay", [0, 0.01])
def test_weights_are_those_of_torch_bit_by_bit(decay):
    ours, theirs = fresh(), fresh()
    take(Adam(ours, lr=1, weight_decay=decay), ours, range(6))
    take(torch.optim.Adam(theirs, lr=1, weight_decay=decay, fused=True), theirs, range(6))
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("first", [Adam, partial(torch.optim.Adam, fused=True)])
def test_a_restored_state_continues_with_the_same_bits(first):
    whole = fresh()
    take(Adam(whole, lr=1, weight_decay=0), whole, range(6))
    weights = fresh()
    first = first(weights, lr=1, weight_decay=0)
    take(first, weights, range(3))
    state = first.state_dict()
    second = Adam(weights, lr=1, weight_decay=0)
    second.load_state_dict(state)
    take(second, weights, range(3, 6))
    assert all(torch.equal(one, other) for one, other in zip(whole, weights, strict=True))
    assert state["state"][0]["step"] == 3  # a copy was taken


def test_a_step_without_gradients_changes_nothing():
    weights = fresh()
    before = [weight.detach().numpy().copy() for weight in weights]
    Adam(weights, lr=1, weight_decay=0.1).step()
    for weight, was in zip(weights, before, strict=True):
        np.testing.assert_array_equal(weight.detach(), was)


def test_the_compiler_of_torch_is_not_loaded():
    code = (
        "import sys, torch; from torch import nn; from scrcl.train.optimizer import Adam\n"
        "layer = nn.Linear(2, 2); adam = Adam(layer.parameters(), lr=1, weight_decay=0)\n"
        "layer(torch.ones(1, 2)).sum().backward(); nn.utils.clip_grad_norm_(layer.parameters(), 1)\n"
        "adam.step(); adam.zero_grad(); print('torch._dynamo' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
