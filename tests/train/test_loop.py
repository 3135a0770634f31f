from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from scrcl.errors import ResumeError, TrainingError
from scrcl.graph.csr import normalized_adjacency, symmetric_graph
from scrcl.train.batch import BatchSource
from scrcl.train.checkpoint import Checkpoints
from scrcl.train.loop import train
from scrcl.train.state import TrainState
from tests.train.data import config, make_inputs


class Recorder:
    """Keeps the numbers it is told."""

    def __init__(self):
        self.steps, self.rows = 0, []

    def advance(self, n):
        self.steps += n

    def metrics(self, step, values):
        self.rows.append((step, values))


def run(inputs, settings, *, state=None, checkpoints=None, reporter=None, seed=0):
    state = state or TrainState.fresh(inputs, settings, seed=seed)
    source = BatchSource(inputs, settings, seed=seed)
    train(state, source, settings, checkpoints=checkpoints, reporter=reporter)
    return state


def weights(state):
    return torch.cat([p.detach().flatten() for p in state.model.parameters()])


MODES = [
    {},
    {"batch_cells": 128},
    {"dropout": 0.3},
    {"dropout": 0.3, "batch_cells": 128},
    {"negatives": "sampled", "n_negatives": 30, "fanout": 2, "dropout": 0.2},
    {"negatives": "batch", "weight_decay": 0.01, "warmup_steps": 20},
]


@pytest.mark.parametrize("changes", MODES, ids=str)
@pytest.mark.parametrize("n_joined", [0, 8])
def test_cells_without_a_neighbour_are_trained_on_too(changes, n_joined):
    ids = np.full((90, 1), -1)
    ids[:n_joined, 0] = (np.arange(n_joined) + 1) % max(n_joined, 1)
    whole = make_inputs()
    graph = symmetric_graph(ids)
    ax = (normalized_adjacency(graph) @ whole.x).astype(np.float32)
    assert np.array_equal(ax[n_joined:], whole.x[n_joined:])
    state = run(replace(whole, ax=ax, graph=graph), config(steps=6, report_every=1, **changes))
    assert torch.isfinite(weights(state)).all()


@pytest.mark.parametrize("changes", MODES, ids=str)
def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path, changes):
    inputs = make_inputs()
    settings = config(steps=17, checkpoint_every=5, report_every=4, **changes)
    unbroken = run(inputs, settings)
    checkpoints = Checkpoints(tmp_path, "one")
    run(inputs, settings.model_copy(update={"steps": 7}), checkpoints=checkpoints)
    state = TrainState.fresh(inputs, settings, seed=0)
    state.restore(checkpoints.latest())
    assert state.step == 7
    run(inputs, settings, state=state)
    assert torch.equal(weights(state), weights(unbroken))
    assert state.history == unbroken.history
    assert [row["step"] for row in state.history] == list(range(1, 18))


@pytest.mark.parametrize("changes", [{}, {"batch_cells": 128}], ids=str)
def test_training_lowers_the_loss_and_twice_gives_the_same(changes):
    inputs, settings = make_inputs(), config(steps=60, lr=0.01, **changes)
    first, second = run(inputs, settings), run(inputs, settings)
    assert torch.equal(weights(first), weights(second))
    for name, share in (("ndc", 0.97), ("cvc", 0.9)):
        values = [row[name] for row in first.history]
        assert np.mean(values[-10:]) < share * np.mean(values[:10])
    assert not first.model.training


def test_reports_come_when_due_and_count_every_step(tmp_path):
    inputs, reporter = make_inputs(), Recorder()
    settings = config(steps=11, report_every=4, checkpoint_every=5)
    run(inputs, settings, reporter=reporter, checkpoints=Checkpoints(tmp_path, "one"))
    assert [step for step, _ in reporter.rows] == [4, 5, 8, 10, 11]
    assert reporter.steps == 11
    assert set(reporter.rows[0][1]) == {"step", "hea_global", "hea_cell", "ndc", "cvc", "grad_norm"}


class Spoilt:
    """Batches of a source; the cells of one step are not numbers."""

    def __init__(self, source, step):
        self.source, self.step, self.n_cells = source, step, source.n_cells

    def starting_at(self, step):
        for at, batch in enumerate(self.source.starting_at(step), start=step + 1):
            x = batch.cells.x * (torch.nan if at == self.step else 1)
            yield replace(batch, cells=replace(batch.cells, x=x))


@pytest.mark.parametrize("bad_step", [8, 9])
def test_a_value_that_is_not_finite_stops_training_before_any_checkpoint(tmp_path, bad_step):
    inputs, checkpoints = make_inputs(), Checkpoints(tmp_path, "one")
    settings = config(steps=30, checkpoint_every=3, report_every=10)
    batches = Spoilt(BatchSource(inputs, settings, seed=0), bad_step)
    state = TrainState.fresh(inputs, settings, seed=0)
    with pytest.raises(
        TrainingError, match=rf"hea_global must stay finite .* got nan at step {bad_step}\."
    ):
        train(state, batches, settings, checkpoints=checkpoints)
    assert checkpoints.latest()["step"] == 6


def test_a_gradient_that_is_not_finite_is_named():
    inputs = make_inputs()
    settings = config(steps=2)
    state = TrainState.fresh(inputs, settings, seed=0)
    state.model.psi_out.weight.register_hook(lambda grad: grad * torch.inf)
    with pytest.raises(TrainingError, match=r"grad_norm must stay finite .* at step 1"):
        run(inputs, settings, state=state)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, caplog, damage):
    inputs, settings = make_inputs(), config(steps=6, checkpoint_every=2)
    checkpoints = Checkpoints(tmp_path, "one")
    run(inputs, settings, checkpoints=checkpoints)
    assert [p.name for p in sorted(tmp_path.iterdir())] == [
        "step-00000004.ckpt",
        "step-00000006.ckpt",
    ]
    last = tmp_path / "step-00000006.ckpt"
    content = bytearray(last.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    last.write_bytes({"cut": content[:-100], "flipped": content, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert checkpoints.latest()["step"] == 4
    assert "step-00000006.ckpt is damaged" in caplog.text
    (tmp_path / "step-00000004.ckpt").write_bytes(b"?")
    assert checkpoints.latest() is None


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    inputs, settings = make_inputs(), config(steps=1)
    run(inputs, settings, checkpoints=Checkpoints(tmp_path, "one"))
    with pytest.raises(ResumeError, match=r"must be of this run \(two\); got .* of one"):
        Checkpoints(tmp_path, "two").latest()


def test_no_checkpoint_yet_is_none(tmp_path):
    assert Checkpoints(tmp_path / "absent", "one").latest() is None


def test_a_run_that_is_already_at_its_last_step_changes_nothing():
    inputs, settings = make_inputs(), config(steps=4)
    state = run(inputs, settings)
    before = weights(state)
    run(inputs, settings, state=state)
    assert torch.equal(weights(state), before)
    assert len(state.history) == 4
