from __future__ import annotations

import numpy as np
import pytest
import torch

from scrcl.train.checkpoint import Checkpoints
from scrcl.train.loop import train
from scrcl.train.methods.scrcl.embed import EMBEDDING, embed_all
from scrcl.train.methods.scrcl.minibatch import BatchSource
from scrcl.train.state import TrainState
from scrcl.train.stop import Looks, Stop, kept_share, nearest_rows, stands_still
from tests.train.data import config, make_inputs

QUICK = {"steps": 40, "lr": 1e-4, "stop_every": 2, "stop_cells": 64, "patience": 2}


def run(inputs, settings, *, state=None, checkpoints=None, seed=0):
    state = state or TrainState.fresh(inputs, settings, seed=seed)
    source = BatchSource(inputs, settings, seed=seed)
    stop = Stop(inputs, settings, seed=seed)
    train(state, source, settings, stop=stop, checkpoints=checkpoints)
    return state


def weights(state):
    return torch.cat([p.detach().flatten() for p in state.model.parameters()])


def by_sorting(rows, k):
    likeness = rows @ rows.T
    np.fill_diagonal(likeness, -np.inf)
    return np.sort(np.argsort(-likeness, axis=1)[:, :k], axis=1)


@pytest.mark.parametrize(("n_rows", "k"), [(40, 5), (1100, 15), (4, 9)])
def test_the_nearest_rows_are_those_that_sorting_finds(n_rows, k):
    rows = np.random.default_rng(0).normal(size=(n_rows, 6))
    found = nearest_rows(torch.from_numpy(rows), k)
    assert np.array_equal(found.numpy(), by_sorting(rows, min(k, n_rows - 1)))


def test_the_share_kept_is_that_of_sets():
    rng = np.random.default_rng(0)
    before, now = (
        np.sort(np.stack([rng.choice(30, 7, replace=False) for _ in range(50)])) for _ in range(2)
    )
    expected = np.mean([len(set(a) & set(b)) / 7 for a, b in zip(before, now, strict=True)])
    assert kept_share(torch.from_numpy(before), torch.from_numpy(now)) == pytest.approx(expected)
    assert kept_share(torch.from_numpy(now), torch.from_numpy(now)) == 1


@pytest.mark.parametrize(
    ("kept", "still"),
    [
        ([], False),
        ([0.9, 0.9, 0.9], False),  # too few to tell
        ([0.5, 0.9, 0.9, 0.9], False),  # risen since the first
        ([0.5, 0.9, 0.9, 0.91, 0.92], True),
        ([0.86, 0.88, 0.89, 0.9], False),  # still rising
        ([0.8, 0.7, 0.75, 0.81], True),  # no more than before the dip
        ([0.9, 0.9, 0.8, 0.7], True),
    ],
)
def test_cells_stand_still_where_the_share_has_not_risen_over_patience_looks(kept, still):
    assert stands_still(kept, 3) is still


def test_the_sample_is_embedded_as_all_cells_are(tmp_path):
    inputs, settings = make_inputs(), config(stop_cells=90, dropout=0.4)
    state = TrainState.fresh(inputs, settings, seed=0)
    state.model.train()
    looks = Looks()
    Stop(inputs, settings, seed=0).look(state.model, looks, 10)
    assert state.model.training
    embed_all(state.model, inputs, tmp_path)
    rows = np.load(tmp_path / EMBEDDING).astype(np.float64)
    assert (looks.nearest_bk.numpy() == by_sorting(rows, 15)).mean() > 0.99  # float32 ties


def test_the_sample_is_bounded_and_the_same_for_every_process():
    inputs, settings = make_inputs(), config(stop_cells=20)
    state = TrainState.fresh(inputs, settings, seed=0)
    seen = [Looks(), Looks(), Looks()]
    for looks, seed in zip(seen, (0, 0, 1), strict=True):
        Stop(inputs, settings, seed=seed).look(state.model, looks, 10)
    assert len(seen[0].nearest_bk) <= 20
    assert torch.equal(seen[0].nearest_bk, seen[1].nearest_bk)
    assert not torch.equal(seen[0].nearest_bk, seen[2].nearest_bk)


def test_a_run_whose_cells_stand_still_stops_early_and_is_saved_there(tmp_path):
    state = run(make_inputs(), config(**QUICK), checkpoints=Checkpoints(tmp_path, "one"))
    assert state.step < 40
    assert state.step == state.looks.kept[-1]["step"] == len(state.history)
    assert Checkpoints(tmp_path, "one").latest()["step"] == state.step
    assert [look["step"] for look in state.looks.kept] == list(range(4, state.step + 1, 2))
    assert not state.model.training


def test_a_run_with_more_patience_than_looks_goes_on_to_its_last_step():
    state = run(make_inputs(), config(**{**QUICK, "patience": 20}))
    assert state.step == 40


@pytest.mark.parametrize("broken_at", [1, 3, 4, 5])
def test_a_resumed_run_stops_at_the_same_step_with_the_same_bits(tmp_path, broken_at):
    inputs, settings = make_inputs(), config(**QUICK, dropout=0.2)
    unbroken = run(inputs, settings)
    checkpoints = Checkpoints(tmp_path, "one")
    run(inputs, settings.model_copy(update={"steps": broken_at}), checkpoints=checkpoints)
    state = TrainState.fresh(inputs, settings, seed=0)
    state.restore(checkpoints.latest())
    assert state.step == broken_at < unbroken.step
    run(inputs, settings, state=state)
    assert state.step == unbroken.step
    assert torch.equal(weights(state), weights(unbroken))
    assert state.looks.kept == unbroken.looks.kept


def test_a_run_that_has_stopped_goes_no_further_when_resumed(tmp_path):
    inputs, settings = make_inputs(), config(**QUICK)
    checkpoints = Checkpoints(tmp_path, "one")
    stopped = run(inputs, settings, checkpoints=checkpoints)
    state = TrainState.fresh(inputs, settings, seed=0)
    state.restore(checkpoints.latest())
    run(inputs, settings, state=state)
    assert state.step == stopped.step
    assert torch.equal(weights(state), weights(stopped))
