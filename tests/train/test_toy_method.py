"""A linear autoencoder of the components as a method: the protocol needs no more than this."""

from dataclasses import dataclass

import anndata
import numpy as np
import pytest
import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import normalize

from scrcl._contract import Estimate
from scrcl._random import torch_stream
from scrcl._settings import Settings
from scrcl.engine.load_config import load_config
from scrcl.errors import InputError
from scrcl.io.arrays import RowWriter, row_blocks
from scrcl.prep.artifacts import COMPONENTS
from scrcl.train.checkpoint import Checkpoints
from scrcl.train.loop import train
from scrcl.train.memory import LIBRARIES_BYTES
from scrcl.train.method import Embedded, Estimates, Learner, Method
from scrcl.train.methods import METHODS, MethodEntry
from scrcl.train.minibatches import MinibatchSource
from scrcl.train.schedule import Schedule
from scrcl.train.settings import TrainSettings
from scrcl.train.setup import Phase, Setup
from scrcl.train.state import TrainState
from scrcl.train.stop import NeighborsStable
from tests.cells import FAST


class ToySettings(Settings):
    dim: int = Field(4, ge=1, description="Width of the embedding.")


@dataclass
class Scores:
    rows: np.ndarray

    @property
    def n_cells(self):
        return len(self.rows)


class Autoencoder(Learner):
    def __init__(self, width, dim, generator):
        super().__init__()
        self.encode, self.decode = nn.Linear(width, dim), nn.Linear(dim, width)
        for layer in (self.encode, self.decode):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def embedded(self, rows):
        return normalize(self.encode(torch.from_numpy(np.array(rows))), dim=1).numpy()


class ToyMinibatches(MinibatchSource):
    def batch(self, step):
        return torch.from_numpy(np.array(self.inputs.rows[self.own_seeds(step)])).to(self.device)


class ToyNewCells:
    values_per_neighbor = 1

    def __init__(self, learner, scores):
        self.learner, self.scores = learner, scores
        self.widths = {"embedding": learner.encode.out_features}

    def embed(self, start, stop, links):
        return {"embedding": self.learner.embedded(self.scores[start:stop])}


class Toy(Method):
    def open_inputs(self, opener, folder, settings):
        return Scores(opener.open(COMPONENTS))

    def start(self, inputs, setup):
        generator = torch_stream(setup.seed, "toy.model")
        return Autoencoder(inputs.rows.shape[1], setup.settings.dim, generator).to(setup.device)

    def batches(self, inputs, setup):
        return ToyMinibatches(inputs, setup)

    def step(self, learner, batch, now):
        return {"error": (learner.decode(learner.encode(batch)) - batch).square().mean()}

    def subset_embedding(self, learner, subset):
        return normalize(learner.encode(subset), dim=1)

    def embed(self, learner, inputs, folder, work, *, space):
        with RowWriter(folder / f"{space}.npy", inputs.n_cells, self.width_of(learner)) as out:
            for start, stop in row_blocks(inputs.n_cells, work.block_rows):
                out.write(start, learner.embedded(inputs.rows[start:stop]))
        return Embedded((space,))

    def width_of(self, learner):
        return learner.encode.out_features

    def new_cells(self, learner, inputs, new, work):
        return ToyNewCells(learner, new.own.open(COMPONENTS))

    def width(self, settings):
        return settings.dim

    def estimates(self, shape, settings, train, *, space):
        embedding = Estimate(LIBRARIES_BYTES, 10**7, disk_bytes=4 * shape.n_cells * settings.dim)
        nothing = Estimate(0)
        return Estimates(nothing, Estimate(LIBRARIES_BYTES, 10**8), embedding, embedding)


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(METHODS, "toy", MethodEntry(ToySettings, Toy))


def settings_of(groups, *more):
    named = [f"{group}.{name}={v}" for group, inner in groups.items() for name, v in inner.items()]
    return [part for setting in [*named, *more] for part in ("--set", setting)]


TOY = settings_of({k: v for k, v in FAST.items() if k != "scrcl"}, "method=toy", "toy.dim=3")


@pytest.mark.usefixtures("toy")
def test_a_registered_method_runs_and_predicts_by_the_public_command(scrcl, cells, tmp_path):
    out, to = tmp_path / "out", tmp_path / "to"
    steps = ["--set", "train.steps=60", "--set", "train.lr=0.02"]
    code, _, err = scrcl("run", cells, "-o", out, "--quiet", "--n-clusters", 4, *TOY, *steps)
    assert not code, err
    result = anndata.read_h5ad(out / "result.h5ad")
    assert result.obsm["X_scrcl"].shape == (240, 3)
    assert result.uns["scrcl"]["config"]["toy"]["dim"] == 3
    assert result.uns["scrcl"]["config"]["method"] == "toy"
    assert "scrcl" not in result.uns["scrcl"]["config"]
    code, _, err = scrcl("predict", out, cells, "-o", to, "--quiet")
    assert not code, err
    predicted = anndata.read_h5ad(to / "result.h5ad")
    np.testing.assert_allclose(predicted.obsm["X_scrcl"], result.obsm["X_scrcl"], atol=1e-4)
    same = predicted.obs["scrcl"].astype(str) == result.obs["scrcl"].astype(str)
    assert same.mean() > 0.9


@pytest.mark.usefixtures("toy")
def test_settings_of_another_method_are_refused_and_the_chosen_ones_are_kept():
    with pytest.raises(InputError, match=r"settings of scrcl with method 'toy'"):
        load_config(settings=["method=toy", "scrcl.dim=8"])
    with pytest.raises(InputError, match=r"settings of toy with method 'scrcl'"):
        load_config(settings=["toy.dim=8"])
    with pytest.raises(InputError, match=r"cluster\.on .*embedding.* got 'refined'"):
        load_config(settings=["method=toy", "cluster.on=refined"])
    with pytest.raises(InputError, match=r"toy\.dimm .* Did you mean toy\.dim\?"):
        load_config(settings=["method=toy", "toy.dimm=8"])
    config = load_config(settings=["method=toy", "toy.dim=8"])
    assert config.method_settings == ToySettings(dim=8)
    assert load_config(overrides=config.model_dump(mode="json")) == config
    assert config.model_copy(update={"seed": 3}).method_settings.dim == 8


def trained(method, steps, *, folder=None, minibatch_cells=32, **more):
    """Weights and state after ``steps``, from the last checkpoint of ``folder``."""
    rows = np.random.default_rng(0).normal(size=(90, 6)).astype(np.float32)
    how = {"steps": steps, "minibatch_cells": minibatch_cells, "stop": "never", **more}
    setup = Setup(ToySettings(), TrainSettings(**how))
    state = TrainState.fresh(method, Scores(rows), setup)
    checkpoints = None if folder is None else Checkpoints(folder, "one")
    saved = checkpoints.latest() if checkpoints else None
    if saved is not None:
        state.restore(saved)
    train(method, Scores(rows), state, setup, checkpoints=checkpoints)
    return torch.cat([p.detach().flatten() for p in state.learner.parameters()]), state


def test_training_resumes_to_the_same_bits(tmp_path):
    unbroken, _ = trained(Toy(), 17, lr=0.05)
    trained(Toy(), 7, folder=tmp_path, lr=0.05)
    resumed, state = trained(Toy(), 17, folder=tmp_path, lr=0.05)
    assert torch.equal(resumed, unbroken)
    assert [row["step"] for row in state.history] == list(range(1, 18))
    assert set(state.history[0]) == {"step", "error", "grad_norm"}
    assert state.history[-1]["error"] < state.history[0]["error"]


class TwoPhases(Toy):
    """A phase with batch normalisation and Adam, then one with Adadelta and a target that is refreshed."""

    def start(self, inputs, setup):
        learner = super().start(inputs, setup)
        learner.norm = nn.BatchNorm1d(setup.settings.dim)
        learner.register_buffer("target", torch.zeros(setup.settings.dim))
        return learner

    def phases(self, setup, inputs):
        steps = setup.train.steps // 2
        first = Phase("first", Schedule(steps, 1e-2), torch.optim.AdamW)
        stop = NeighborsStable(setup.train.patience) if setup.train.stop == "auto" else None
        second = Schedule(setup.train.steps - steps, 1.0)
        return [first, Phase("second", second, torch.optim.Adadelta, stop, 3)]

    def refresh(self, learner, inputs, setup, now):
        assert now.phase.name == "second"
        with torch.no_grad():
            learner.target.copy_(learner.encode(torch.from_numpy(inputs.rows)).mean(0))

    def step(self, learner, batch, now):
        encoded = learner.norm(learner.encode(batch))
        losses = {"error": (learner.decode(encoded) - batch).square().mean()}
        if now.phase.name == "second":
            losses["target"] = (encoded.mean(0) - learner.target).square().sum()
        return losses


@pytest.mark.parametrize("broken_at", [3, 10, 13])
def test_phases_have_their_own_optimizer_and_resume_to_the_same_bits(tmp_path, broken_at):
    unbroken, whole = trained(TwoPhases(), 20, checkpoint_every=broken_at)
    trained(TwoPhases(), 20, folder=tmp_path, checkpoint_every=broken_at)
    for path in sorted(tmp_path.iterdir())[1:]:
        path.unlink()
    resumed, state = trained(TwoPhases(), 20, folder=tmp_path)
    assert torch.equal(resumed, unbroken)
    assert torch.equal(state.learner.norm.running_mean, whole.learner.norm.running_mean)
    assert torch.equal(state.learner.target, whole.learner.target)
    assert isinstance(state.optimizer, torch.optim.Adadelta)
    assert [("target" in row) for row in state.history] == [False] * 10 + [True] * 10


def test_a_phase_that_stops_early_hands_over_to_the_next():
    class StopsFirst(TwoPhases):
        def phases(self, setup, inputs):
            first, second = super().phases(setup, inputs)
            rule = NeighborsStable(setup.train.patience)
            return [Phase("first", first.schedule, first.optimizer, rule), second]

    how = {"stop_every": 2, "patience": 1, "stop_cells": 64}
    _, state = trained(StopsFirst(), 60, **how)
    assert state.phase == 1
    assert state.phase_start < 30
    assert state.step == state.phase_start + 30
    assert len(state.history) == state.step


def test_a_step_that_ran_out_of_memory_leaves_buffers_as_they_were():
    class Tight(TwoPhases):
        def step(self, learner, batch, now):
            losses = super().step(learner, batch, now)
            if len(batch) > 20:
                raise torch.OutOfMemoryError
            return losses

    found, state = trained(Tight(), 6, minibatch_cells=40)
    expected, other = trained(TwoPhases(), 6, minibatch_cells=20)
    assert state.minibatch_cells == 20
    assert torch.equal(found, expected)
    assert torch.equal(state.learner.norm.running_mean, other.learner.norm.running_mean)
