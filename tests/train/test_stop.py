from __future__ import annotations

import numpy as np
import pytest
import torch

from scrcl.train.checkpoint import Checkpoints
from scrcl.train.loop import train
from scrcl.train.methods.scrcl.embed import embed_all
from scrcl.train.stop import NeighborsStable, StabilityChecks, check, kept_share, nearest_rows
from tests.train.data import METHOD, fresh, make_inputs, setup

QUICK = {
    "steps": 40,
    "lr": 1e-4,
    "stop": "auto",
    "stop_every": 2,
    "stop_cells": 64,
    "patience": 2,
}


def run(inputs, settings, *, state=None, checkpoints=None):
    state = state or fresh(inputs, settings)
    train(METHOD, inputs, state, settings, checkpoints=checkpoints)
    return state


def weights(state):
    return torch.cat([p.detach().flatten() for p in state.learner.parameters()])


@torch.no_grad()
def checked(inputs, settings, state):
    """The reference of a first check, in evaluation mode."""
    checks, subset = StabilityChecks(), METHOD.subset(inputs, settings)
    state.learner.eval()
    check(checks, NeighborsStable(2), lambda: METHOD.subset_embedding(state.learner, subset), 10)
    return checks.reference


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
def test_neighbours_are_stable_if_the_share_has_not_risen_over_patience_checks(kept, still):
    assert NeighborsStable(3).is_over(kept) is still


def test_a_check_is_compared_with_the_one_before_and_made_once():
    checks, rule, rng = StabilityChecks(), NeighborsStable(5), np.random.default_rng(0)
    first, second = (torch.from_numpy(rng.normal(size=(60, 6))) for _ in range(2))
    for step, rows in ((10, first), (20, second), (30, second), (30, first)):
        check(checks, rule, lambda rows=rows: rows, step)
    assert [each["step"] for each in checks.kept] == [20, 30]
    assert checks.shares[0] < checks.shares[1] == 1


def test_the_sample_is_embedded_as_all_cells_are(tmp_path):
    inputs, settings = make_inputs(), setup(stop_cells=90, dropout=0.4)
    state = fresh(inputs, settings)
    nearest = checked(inputs, settings, state)
    embed_all(state.learner.model, inputs, tmp_path)
    rows = np.load(tmp_path / "embedding.npy").astype(np.float64)
    assert (nearest.numpy() == by_sorting(rows, 15)).mean() > 0.99  # float32 ties


def test_the_sample_is_bounded_and_the_same_for_every_process():
    inputs = make_inputs()
    state = fresh(inputs, setup())
    seen = [checked(inputs, setup(seed, stop_cells=20), state) for seed in (0, 0, 1)]
    assert len(seen[0]) <= 20
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_checks_in_training_do_not_change_the_weights():
    inputs = make_inputs()
    often, never = (
        run(inputs, setup(**{**QUICK, "patience": 20, "steps": 9, "dropout": 0.4, "stop": stop}))
        for stop in ("auto", "never")
    )
    assert often.checks.kept
    assert torch.equal(weights(often), weights(never))


def test_a_run_whose_neighbours_are_stable_stops_early_and_is_saved_there(tmp_path):
    state = run(make_inputs(), setup(**QUICK), checkpoints=Checkpoints(tmp_path, "one"))
    assert state.step < 40
    assert state.step == state.checks.kept[-1]["step"] == len(state.history)
    assert Checkpoints(tmp_path, "one").latest()["step"] == state.step
    assert [each["step"] for each in state.checks.kept] == list(range(4, state.step + 1, 2))
    assert not state.learner.training


def test_a_run_with_more_patience_than_checks_trains_to_its_last_step():
    state = run(make_inputs(), setup(**{**QUICK, "patience": 20}))
    assert state.step == 40


@pytest.mark.parametrize("broken_at", [1, 3, 4, 5])
def test_a_resumed_run_stops_at_the_same_step_with_the_same_bits(tmp_path, broken_at):
    inputs, settings = make_inputs(), setup(**QUICK, dropout=0.2)
    unbroken = run(inputs, settings)
    checkpoints = Checkpoints(tmp_path, "one")
    run(inputs, settings.with_train(steps=broken_at), checkpoints=checkpoints)
    state = fresh(inputs, settings)
    state.restore(checkpoints.latest())
    assert state.step == broken_at < unbroken.step
    run(inputs, settings, state=state)
    assert state.step == unbroken.step
    assert torch.equal(weights(state), weights(unbroken))
    assert state.checks.kept == unbroken.checks.kept


def test_a_run_that_has_stopped_is_not_trained_further_when_resumed(tmp_path):
    inputs, settings = make_inputs(), setup(**QUICK)
    checkpoints = Checkpoints(tmp_path, "one")
    stopped = run(inputs, settings, checkpoints=checkpoints)
    state = fresh(inputs, settings)
    state.restore(checkpoints.latest())
    run(inputs, settings, state=state)
    assert state.step == stopped.step
    assert torch.equal(weights(state), weights(stopped))
