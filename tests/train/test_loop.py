from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scrcl._interrupt import Interrupted, Interruption
from scrcl.errors import ResumeError, TrainingError
from scrcl.graph.csr import normalized_adjacency, symmetric_graph
from scrcl.train.checkpoint import Checkpoints
from scrcl.train.loop import train
from tests.train.data import METHOD, fresh, make_inputs, setup


class Recorder:
    """Keeps what is reported."""

    def __init__(self):
        self.steps, self.rows, self.notes = 0, [], []

    def advance(self, n):
        self.steps += n

    def metrics(self, step, values):
        self.rows.append((step, values))

    def note(self, message):
        self.notes.append(message)


def run(inputs, settings, *, state=None, **how):
    state = state or fresh(inputs, settings)
    train(METHOD, inputs, state, settings, **how)
    return state


def weights(state):
    return torch.cat([p.detach().flatten() for p in state.learner.parameters()])


MODES = [
    {},
    {"minibatch_cells": 128},
    {"dropout": 0.3},
    {"dropout": 0.3, "minibatch_cells": 128},
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
    state = run(replace(whole, ax=ax, graph=graph), setup(steps=6, report_every=1, **changes))
    assert torch.isfinite(weights(state)).all()


@pytest.mark.parametrize("changes", MODES, ids=str)
def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path, changes):
    inputs = make_inputs()
    settings = setup(steps=17, checkpoint_every=5, report_every=4, **changes)
    unbroken = run(inputs, settings)
    checkpoints = Checkpoints(tmp_path, "one")
    run(inputs, settings.with_train(steps=7), checkpoints=checkpoints)
    state = fresh(inputs, settings)
    state.restore(checkpoints.latest())
    assert state.step == 7
    run(inputs, settings, state=state)
    assert torch.equal(weights(state), weights(unbroken))
    assert state.history == unbroken.history
    assert [row["step"] for row in state.history] == list(range(1, 18))


@pytest.mark.parametrize("changes", [{}, {"minibatch_cells": 128}], ids=str)
def test_training_lowers_the_loss_and_twice_gives_the_same(changes):
    inputs, settings = make_inputs(), setup(steps=60, lr=0.01, **changes)
    first, second = run(inputs, settings), run(inputs, settings)
    assert torch.equal(weights(first), weights(second))
    for name, share in (("ndc", 0.97), ("cvc", 0.9)):
        values = [row[name] for row in first.history]
        assert np.mean(values[-10:]) < share * np.mean(values[:10])
    assert not first.learner.training


def test_reports_come_when_due_and_count_every_step(tmp_path):
    inputs, reporter = make_inputs(), Recorder()
    settings = setup(steps=11, report_every=4, checkpoint_every=5)
    run(inputs, settings, reporter=reporter, checkpoints=Checkpoints(tmp_path, "one"))
    assert [step for step, _ in reporter.rows] == [4, 5, 8, 10, 11]
    assert reporter.steps == 11
    assert set(reporter.rows[0][1]) == {"hea_global", "hea_cell", "ndc", "cvc", "grad_norm"}


class Wrapped:
    """Batches of a source, all but `starting_at` as they are."""

    def __init__(self, source):
        self.source = source

    def __getattr__(self, name):
        return getattr(self.source, name)


class Spoilt(Wrapped):
    """The cells of one step are not numbers."""

    def __init__(self, source, step):
        super().__init__(source)
        self.step = step

    def starting_at(self, step):
        for at, batch in enumerate(self.source.starting_at(step), start=step + 1):
            x = batch.cells.x * (torch.nan if at == self.step else 1)
            yield replace(batch, cells=replace(batch.cells, x=x))


@pytest.mark.parametrize("bad_step", [8, 9])
def test_a_value_that_is_not_finite_stops_training_before_any_checkpoint(tmp_path, bad_step):
    inputs, checkpoints = make_inputs(), Checkpoints(tmp_path, "one")
    settings = setup(steps=30, checkpoint_every=3, report_every=10)
    batches = Spoilt(METHOD.batches(inputs, settings), bad_step)
    state = fresh(inputs, settings)
    with pytest.raises(
        TrainingError, match=rf"hea_global must stay finite .* got nan at step {bad_step}\."
    ):
        train(METHOD, inputs, state, settings, batches=batches, checkpoints=checkpoints)
    assert checkpoints.latest()["step"] == 6


def test_a_gradient_that_is_not_finite_is_named():
    inputs = make_inputs()
    settings = setup(steps=2)
    state = fresh(inputs, settings)
    state.learner.model.psi_out.weight.register_hook(lambda grad: grad * torch.inf)
    with pytest.raises(TrainingError, match=r"grad_norm must stay finite .* at step 1"):
        run(inputs, settings, state=state)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, damage):
    inputs, settings = make_inputs(), setup(steps=6, checkpoint_every=2)
    reported = Recorder()
    checkpoints = Checkpoints(tmp_path, "one", reporter=reported)
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
    assert checkpoints.latest()["step"] == 4
    assert len(reported.notes) == 1
    assert "step-00000006.ckpt is damaged. Training resumes" in reported.notes[0]
    (tmp_path / "step-00000004.ckpt").write_bytes(b"?")
    assert checkpoints.latest() is None
    assert "step-00000004.ckpt is damaged. Training starts" in reported.notes[-1]


def test_the_newest_checkpoint_has_the_largest_step_whatever_its_digits(tmp_path):
    checkpoints = Checkpoints(tmp_path, "one")
    run(make_inputs(), setup(steps=6, checkpoint_every=2), checkpoints=checkpoints)
    (tmp_path / "step-00000004.ckpt").rename(tmp_path / "step-99999999.ckpt")
    (tmp_path / "step-00000006.ckpt").rename(tmp_path / "step-100000001.ckpt")
    assert checkpoints.latest()["step"] == 6


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    inputs, settings = make_inputs(), setup(steps=1)
    run(inputs, settings, checkpoints=Checkpoints(tmp_path, "one"))
    with pytest.raises(ResumeError, match=r"\(two\); got .* of run one"):
        Checkpoints(tmp_path, "two").latest()


def test_no_checkpoint_yet_is_none(tmp_path):
    assert Checkpoints(tmp_path / "absent", "one").latest() is None


def test_a_run_that_is_already_at_its_last_step_changes_nothing():
    inputs, settings = make_inputs(), setup(steps=4)
    state = run(inputs, settings)
    before = weights(state)
    run(inputs, settings, state=state)
    assert torch.equal(weights(state), before)
    assert len(state.history) == 4


class Tight(Wrapped):
    """Batches of a device that has room for a number of cells; steps before ``first`` do fit."""

    def __init__(self, source, room, first=1):
        super().__init__(source)
        self.room, self.first = room, first

    def with_minibatches_of(self, minibatch_cells):
        return Tight(self.source.with_minibatches_of(minibatch_cells), self.room, self.first)

    def starting_at(self, step):
        for at, batch in enumerate(self.source.starting_at(step), start=step + 1):
            if at >= self.first and self.source.minibatch_cells > self.room:
                raise torch.OutOfMemoryError("no memory")
            yield batch


@pytest.mark.parametrize(
    ("minibatch_cells", "sizes"), [(90, [45, 23]), (4096, [45, 23]), (40, [20])]
)
def test_a_batch_that_memory_has_no_room_for_is_halved_and_stays_so(
    tmp_path, minibatch_cells, sizes
):
    inputs, reported = make_inputs(), Recorder()
    settings = setup(steps=9, checkpoint_every=4, minibatch_cells=minibatch_cells)
    checkpoints = Checkpoints(tmp_path, "one")
    until = settings.with_train(steps=7)
    state = fresh(inputs, until)
    batches = Tight(METHOD.batches(inputs, settings), room=30, first=6)
    train(METHOD, inputs, state, until, batches=batches, checkpoints=checkpoints, reporter=reported)
    assert state.halvings == [{"step": 5, "minibatch_cells": size} for size in sizes]
    assert f"step 6 they have {sizes[-1]}." in reported.notes[-1]
    assert [row["step"] for row in state.history] == list(range(1, 8))
    resumed = fresh(inputs, settings)
    resumed.restore(checkpoints.latest())
    assert resumed.minibatch_cells == sizes[-1]
    unbroken = fresh(inputs, settings)
    unbroken.restore(state.snapshot())
    for each in (unbroken, resumed):
        train(METHOD, inputs, each, settings)
    assert torch.equal(weights(resumed), weights(unbroken))
    assert resumed.halvings == unbroken.halvings


def test_a_batch_is_halved_to_no_fewer_than_sixteen_cells():
    inputs, settings = make_inputs(), setup(steps=1, minibatch_cells=20)
    state = fresh(inputs, settings)
    train(METHOD, inputs, state, settings, batches=Tight(METHOD.batches(inputs, settings), room=16))
    assert state.minibatch_cells == 16


def test_a_step_that_ran_out_of_memory_leaves_no_trace():
    inputs = make_inputs()
    settings = setup(steps=3, minibatch_cells=40)
    small = settings.with_train(minibatch_cells=20)
    found = fresh(inputs, settings)
    tight = Tight(METHOD.batches(inputs, settings), room=20)
    train(METHOD, inputs, found, settings, batches=tight)
    assert torch.equal(weights(found), weights(run(inputs, small)))
    assert found.learner.moments.n_batches == 3


def test_memory_for_not_even_the_smallest_batch_is_an_error():
    inputs, settings = make_inputs(), setup(steps=3)
    batches = Tight(METHOD.batches(inputs, settings), room=0)
    with pytest.raises(TrainingError, match="step 1: a mini-batch of 16 cells"):
        train(METHOD, inputs, fresh(inputs, settings), settings, batches=batches)


def test_a_request_to_stop_ends_training_after_a_saved_step(tmp_path):
    inputs, settings = make_inputs(), setup(steps=20, report_every=3, checkpoint_every=50)
    interruption, checkpoints = Interruption(), Checkpoints(tmp_path, "one")

    class Asks(Recorder):
        def metrics(self, step, values):
            super().metrics(step, values)
            if step == 6:
                interruption.ask()

    reported = Asks()
    state = fresh(inputs, settings)
    how = {"checkpoints": checkpoints, "reporter": reported, "interruption": interruption}
    with pytest.raises(Interrupted):
        train(METHOD, inputs, state, settings, **how)
    assert reported.notes == ["Training stops after step 7, which is saved."]
    resumed = fresh(inputs, settings)
    resumed.restore(checkpoints.latest())
    assert resumed.step == 7
    train(METHOD, inputs, resumed, settings)
    unbroken = run(inputs, settings)
    assert torch.equal(weights(resumed), weights(unbroken))
    assert resumed.history == unbroken.history


@pytest.mark.parametrize("when", ["written", "flushed"])
def test_a_disk_that_fills_at_a_checkpoint_keeps_the_one_before(tmp_path, monkeypatch, when):
    inputs, settings = make_inputs(), setup(steps=6, checkpoint_every=2)
    checkpoints = Checkpoints(tmp_path, "one")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    class Fills(Recorder):
        def metrics(self, step, values):
            if step == 4:
                monkeypatch.setattr(
                    *(Path, "open", full) if when == "written" else ("scrcl._atomic.os.fsync", full)
                )

    with pytest.raises(OSError, match="No space left"):
        run(inputs, settings, checkpoints=checkpoints, reporter=Fills())
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002.ckpt"]
    assert checkpoints.latest()["step"] == 2


def test_two_cells_and_a_batch_beyond_all_cells_are_trained_on():
    pair = make_inputs(n=2, k=1)
    assert torch.isfinite(weights(run(pair, setup(steps=5, report_every=1)))).all()
    inputs = make_inputs()
    exact, beyond = (run(inputs, setup(steps=5, minibatch_cells=size)) for size in (90, 100_000))
    assert torch.equal(weights(exact), weights(beyond))


def test_parts_without_an_edge_between_them_are_trained_on():
    whole = make_inputs()
    ids = np.arange(90)[:, None] // 30 * 30 + np.random.default_rng(0).integers(0, 30, (90, 3))
    graph = symmetric_graph(ids)
    ax = (normalized_adjacency(graph) @ whole.x).astype(np.float32)
    state = run(replace(whole, ax=ax, graph=graph), setup(steps=30, lr=0.01, minibatch_cells=32))
    ndc = [row["ndc"] for row in state.history]
    assert np.mean(ndc[-5:]) < np.mean(ndc[:5])
