"""Two or three processes over gloo against one, at equal global batch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import traceback
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from scrcl._interrupt import Interrupted, Interruption
from scrcl._progress import Silent
from scrcl.engine.config import RunConfig
from scrcl.engine.run import run_matrix
from scrcl.errors import InputError
from scrcl.train.checkpoint import Checkpoints
from scrcl.train.loop import train
from scrcl.train.ranks import Ranks
from tests.train.data import METHOD, fresh, make_inputs, minibatches, setup

MODES = {
    "moments": {"minibatch_cells": 40},
    "sampled": {"minibatch_cells": 40, "negatives": "sampled", "n_negatives": 35},
    "batch": {"minibatch_cells": 40, "negatives": "batch"},
    "full batch": {"minibatch_cells": 90},
}
STEPS = {"steps": 7, "report_every": 2, "checkpoint_every": 3}


def free_port():
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def be_rank(work, rank, size, port, results):
    """Body of a process: what ``work`` returns, or the error that it raised."""
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    try:
        results.put((rank, work(Ranks.from_environment(timeout_s=60))))
    except BaseException as error:  # noqa: BLE001 - the test reads it
        results.put((rank, (type(error).__name__, str(error), traceback.format_exc())))


def on_ranks(work, size=2, n_results=None):
    """Run ``work(ranks)`` in ``size`` processes; what they return, by rank."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["scrcl.train.loop", "scrcl.train.methods.scrcl.minibatch", "tests.train.data"]
    )
    results, port = context.Queue(), free_port()
    processes = [
        context.Process(target=be_rank, args=(work, rank, size, port, results))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    try:
        found = dict(results.get(timeout=120) for _ in range(n_results or size))
    finally:
        for process in processes:
            process.join(20)
            process.kill()
    return found


def outcome(state):
    weights = torch.cat([p.detach().flatten() for p in state.learner.parameters()])
    return weights.numpy(), state.history, state.halvings


def together(ranks, settings, *, folder=None, steps=None, prepare=None, **how):
    """Train on every rank, from the last checkpoint of ``folder`` on."""
    inputs = make_inputs()
    settings = replace(settings.with_train(steps=steps or settings.train.steps), ranks=ranks)
    with ranks.joined("cpu"):
        state = fresh(inputs, settings)
        checkpoints = Checkpoints(folder, "one") if folder and ranks.is_first else None
        saved = ranks.hand_out(checkpoints.latest() if checkpoints else None)
        if saved is not None:
            state.restore(saved)
        source = METHOD.batches(inputs, settings).with_minibatches_of(state.minibatch_cells)
        if prepare is not None:
            source = prepare(source, ranks)
        train(METHOD, inputs, state, settings, batches=source, checkpoints=checkpoints, **how)
    return outcome(state)


def alone(settings, **how):
    return together(Ranks.alone(), settings, **how)


def assert_close(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=2e-6)
    for row, other in zip(found[1], expected[1], strict=True):
        assert row == pytest.approx(other, rel=2e-5, abs=1e-6)


def in_every_mode(ranks):
    return {mode: together(ranks, setup(**changes, **STEPS)) for mode, changes in MODES.items()}


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_take_the_steps_of_one_process(size):
    found, expected = on_ranks(in_every_mode, size), in_every_mode(Ranks.alone())
    for mode in MODES:
        for rank in range(1, size):
            assert np.array_equal(found[rank][mode][0], found[0][mode][0])
            assert found[rank][mode][1] == found[0][mode][1]
        assert_close(found[0][mode], expected[mode])


def unbroken_and_broken(ranks, settings, folder):
    unbroken = together(ranks, settings)
    together(ranks, settings, folder=folder / "same", steps=4)
    together(ranks, settings, folder=folder / "fewer", steps=4)
    return unbroken, together(ranks, settings, folder=folder / "same")


def test_training_resumes_with_another_number_of_ranks(tmp_path):
    settings = setup(**MODES["moments"], **STEPS)
    found = on_ranks(partial(unbroken_and_broken, settings=settings, folder=tmp_path))
    unbroken, again = found[1]
    assert np.array_equal(again[0], unbroken[0])
    assert again[1] == unbroken[1]
    assert_close(alone(settings, folder=tmp_path / "fewer"), unbroken)


class Asks(Silent):
    """Asks to stop after step 4."""

    def __init__(self, interruption):
        self.interruption = interruption

    def metrics(self, step, values):
        if step == 4:
            self.interruption.ask(signal.SIGUSR1)


def asked_on_rank_1(ranks, settings, folder):
    interruption = Interruption()
    reporter = Asks(interruption) if ranks.rank == 1 else Silent()
    how = {"interruption": interruption, "reporter": reporter}
    try:
        together(ranks, settings, folder=folder, **how)
    except Interrupted as stopped:
        return stopped.number
    return None


def test_a_signal_to_one_rank_stops_all_after_the_same_step(tmp_path):
    settings = setup(**MODES["moments"], **STEPS)
    found = on_ranks(partial(asked_on_rank_1, settings=settings, folder=tmp_path))
    assert found == {0: signal.SIGUSR1, 1: signal.SIGUSR1}
    assert Checkpoints(tmp_path, "one").latest()["step"] == 5
    assert_close(alone(settings, folder=tmp_path), alone(settings))


class Tight:
    """Mini-batches on devices of which the last rank's is too small."""

    def __init__(self, source, ranks, *, room, in_backward=False):
        self.source, self.ranks, self.room = source, ranks, room
        self.in_backward = in_backward

    def __getattr__(self, name):
        return getattr(self.source, name)

    def with_minibatches_of(self, minibatch_cells):
        smaller = self.source.with_minibatches_of(minibatch_cells)
        return Tight(smaller, self.ranks, room=self.room, in_backward=self.in_backward)

    def starting_at(self, step):
        for at, batch in enumerate(self.source.starting_at(step), start=step + 1):
            full = self.ranks.rank == self.ranks.size - 1 and at == 4
            if full and self.source.minibatch_cells > self.room and not self.in_backward:
                raise torch.OutOfMemoryError("no memory")
            if full and self.source.minibatch_cells > self.room:
                x = batch.cells.x.clone().requires_grad_()
                x.register_hook(raise_out_of_memory)
                yield replace(batch, cells=replace(batch.cells, x=x))
            else:
                yield batch


def raise_out_of_memory(grad):
    raise torch.OutOfMemoryError("no memory")


def short_of_memory_in_every_mode(ranks):
    return {
        (mode, in_backward): together(
            ranks,
            setup(**changes, **STEPS),
            prepare=partial(Tight, room=30, in_backward=in_backward),
        )
        for mode, changes in MODES.items()
        for in_backward in (False, True)
    }


def test_ranks_halve_the_batch_where_one_has_no_memory_for_it():
    found, expected = (
        on_ranks(short_of_memory_in_every_mode),
        short_of_memory_in_every_mode(Ranks.alone()),
    )
    for case, expected_alone in expected.items():
        assert np.array_equal(found[0][case][0], found[1][case][0])
        assert_close(found[0][case], expected_alone)
        sizes = [45, 23] if case[0] == "full batch" else [20]
        assert found[1][case][2] == [{"step": 3, "minibatch_cells": size} for size in sizes]
        assert expected_alone[2] == found[0][case][2]


def dies(source, ranks):
    return Dying(source, ranks, room=0)


class Dying(Tight):
    def starting_at(self, step):
        for at, batch in enumerate(self.source.starting_at(step), start=step + 1):
            if self.ranks.rank == 1 and at == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch


def test_a_killed_rank_ends_the_others_in_an_error_and_training_resumes(tmp_path):
    settings = setup(**MODES["moments"], **STEPS)
    work = partial(together, settings=settings, prepare=dies, folder=tmp_path)
    name, message, _ = on_ranks(work, n_results=1)[0]
    assert name == "TrainingError"
    assert "one is gone" in message
    assert Checkpoints(tmp_path, "one").latest()["step"] == 3
    assert_close(alone(settings, folder=tmp_path), alone(settings))


def leads_into_an_error(ranks):
    if not ranks.is_first:
        return ranks.called()
    with ranks.leading():
        raise InputError("cells must be there")


def test_the_other_ranks_name_the_failure_of_rank_0():
    found = on_ranks(leads_into_an_error)
    assert found[0][:2] == ("InputError", "cells must be there")
    assert found[1][:2] == (
        "TrainingError",
        "rank 0 must reach training; got: cells must be there",
    )


def leads_past_training(ranks):
    if not ranks.is_first:
        return ranks.called()
    with ranks.leading():
        return None


def test_ranks_are_let_go_where_there_is_nothing_to_train():
    assert on_ranks(leads_past_training) == {0: None, 1: False}


def test_more_ranks_than_cells_to_share_out_are_refused():
    inputs = make_inputs()
    with pytest.raises(InputError, match=r"ranks must be at most 45.* got 50"):
        minibatches(inputs, minibatch_cells=45, ranks=Ranks(0, 50))
    few = {"minibatch_cells": 45, "negatives": "sampled", "n_negatives": 1}
    with pytest.raises(InputError, match=r"at most 1, .* got 2"):
        minibatches(inputs, **few, ranks=Ranks(0, 2))


def test_an_environment_that_is_incomplete_is_named(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"WORLD_SIZE, .* must"):
        Ranks.from_environment()
    monkeypatch.delenv("WORLD_SIZE")
    assert Ranks.from_environment().is_alone


def test_a_rank_that_stops_with_rank_0_keeps_its_signal(tmp_path):
    class Stopped(Ranks):
        def called(self):
            raise Interrupted(signal.SIGTERM)

    interruption = Interruption()
    with pytest.raises(Interrupted):
        run_matrix(
            lambda _: None, tmp_path, RunConfig(), ranks=Stopped(1, 2), interruption=interruption
        )
    assert interruption.asked == signal.SIGTERM
