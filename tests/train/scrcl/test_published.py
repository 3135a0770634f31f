"""scRCL as published: training in linear time is training on the paper's equations."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch

from scrcl.engine.load_config import load_config
from scrcl.train.loop import train
from scrcl.train.setup import Setup
from tests import reference_train as reference
from tests.train.data import METHOD, dense, fresh, make_inputs

STEPS = 20


def published():
    small = {"train.epochs": STEPS, "scrcl.dim": 8, "scrcl.refined_dim": 3, "scrcl.dropout": 0.0}
    config = load_config(overrides={"preset": "scrcl-paper", "train.lr": 1e-2, **small})
    return Setup(config.method_settings, config.train, seed=0)


def trained_on_the_equations(model, inputs, how):
    """Return the loss of each step, in float64, with every entry of the N x N matrices."""
    x, ax, genes = (
        torch.from_numpy(np.array(rows, np.float64)) for rows in (inputs.x, inputs.ax, inputs.genes)
    )
    adjacency = dense(inputs.graph)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=how.train.lr, weight_decay=how.train.weight_decay
    )
    found = []
    for _ in range(STEPS):
        views = reference.embed(model, x, ax, genes, adjacency)
        em, eg, zm, zg = views
        settings = how.settings
        loss = (
            reference.hea_global(em, eg, settings.temperature)
            + settings.hea_cell_weight * reference.hea_cell(em, eg, settings.temperature)
            + settings.alpha * reference.ndc(em, eg, adjacency, settings.temperature)
            + settings.beta * reference.cvc(zm, zg, adjacency)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return np.array(found)


def test_the_loss_of_twenty_steps_is_that_of_the_dense_equations():
    inputs, how = make_inputs(n=60), published()
    state = fresh(inputs, how)
    model = deepcopy(state.learner.model).double()
    train(METHOD, inputs, state, how)
    names = ("hea_global", "hea_cell", "ndc", "cvc")
    ours = np.array([sum(row[name] for name in names) for row in state.history])
    theirs = trained_on_the_equations(model, inputs, how)
    assert len(ours) == STEPS
    assert (
        abs(theirs[-1] / theirs[0] - 1) > 0.01
    )  # training changes the loss by more than is allowed
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
