"""Training without the other stages: the inputs of one file in memory, and scRCL trained on them."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench._frame import runs
from scrcl.graph.renumber import renumbered
from scrcl.train.loop import train
from scrcl.train.methods.scrcl.inputs import Inputs
from scrcl.train.methods.scrcl.method import ScrclMethod
from scrcl.train.methods.scrcl.settings import ScrclSettings
from scrcl.train.settings import TrainSettings
from scrcl.train.setup import Setup, Work
from scrcl.train.state import TrainState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch

    from scrcl import RunConfig
    from scrcl.train.methods.scrcl.method import ScrclLearner
    from scrcl.train.methods.scrcl.minibatch import ScrclMinibatches
    from scrcl.typing import FloatArray, IntArray

__all__ = [
    "SCRCL",
    "Prepared",
    "changed",
    "embedded",
    "fresh",
    "prepared",
    "reordered",
    "setup",
    "setup_of",
    "train_until",
    "trained",
    "trained_in_parts",
]

SCRCL = ScrclMethod()


class Prepared(NamedTuple):
    """The results of the stages before training, in memory."""

    inputs: Inputs
    retained: Any
    """shape (n_cells,): which cells are in the run"""
    scores: Any
    """Principal component scores for the final clusters; None for tissues"""


def prepared(path: Path, config: RunConfig) -> Prepared:
    """Run all stages before training."""
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder) / "out"
        runs.run(path, out, config, until="inputs")
        inputs = runs.training_inputs(out)
        scores = None if config.spatial else np.array(runs.components(out))
        in_memory = reordered(inputs, np.arange(inputs.n_cells))
        return Prepared(in_memory, np.array(runs.retained(out)), scores)


def reordered(inputs: Inputs, order: IntArray) -> Inputs:
    """Return inputs in memory whose row ``r`` is row ``order[r]`` of ``inputs``."""
    cells = order if inputs.cells is None else inputs.cells[order]
    x, ax = np.asarray(inputs.x[order]), np.asarray(inputs.ax[order])
    return Inputs(x, ax, inputs.genes, renumbered(inputs.graph, order), cells)


def setup(
    seed: int = 0, *, device: str | torch.device = "cpu", **settings: Any
) -> Setup[ScrclSettings]:
    """Return settings of training and of scRCL, given together by name.

    All steps are taken unless ``stop`` is given.
    """
    own, shared = _by_group(settings)
    return Setup(
        ScrclSettings(**own), TrainSettings(**{"stop": "never", **shared}), seed, device=device
    )


def setup_of(config: RunConfig) -> Setup[ScrclSettings]:
    """Return the settings of a run, on the CPU."""
    return Setup(config.method_settings, config.train, config.seed)


def changed(how: Setup[ScrclSettings], **settings: Any) -> Setup[ScrclSettings]:
    """Return ``how`` with other settings of training or of scRCL, given by name."""
    own, shared = _by_group(settings)
    return replace(how.with_train(**shared), settings=how.settings.model_copy(update=own))


def _by_group(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of scRCL, and the others."""
    own = {name: settings[name] for name in settings if name in ScrclSettings.model_fields}
    return own, {name: value for name, value in settings.items() if name not in own}


def fresh(inputs: Inputs, how: Setup[ScrclSettings]) -> TrainState[ScrclLearner]:
    """Return the state before the first step."""
    return TrainState.fresh(SCRCL, inputs, how)


def trained(
    inputs: Inputs, how: Setup[ScrclSettings], *, method: ScrclMethod = SCRCL
) -> TrainState[ScrclLearner]:
    """Train from the start to the last step, or until the stopping rule ends it."""
    state = TrainState.fresh(method, inputs, how)
    train(method, inputs, state, how)
    return state


def trained_in_parts(
    inputs: Inputs, how: Setup[ScrclSettings], ends: Iterable[int]
) -> Iterator[TrainState[ScrclLearner]]:
    """Train, and yield the state after each number of steps in ``ends``, which ascend.

    It is one state, which changes. The weights are those of training without a pause, since mini-batches
    and learning rates depend only on the step: ``decay_steps`` must be 0.
    """
    state, batches = fresh(inputs, how), SCRCL.batches(inputs, how)
    for end in ends:
        train_until(state, inputs, how, end, batches=batches)
        yield state


def train_until(
    state: TrainState[ScrclLearner],
    inputs: Inputs,
    how: Setup[ScrclSettings],
    n_steps: int,
    *,
    batches: ScrclMinibatches | None = None,
) -> None:
    """Train a state further, until it has ``n_steps`` steps in all."""
    until = how.with_train(steps=n_steps)
    state.phases = SCRCL.phases(until, inputs)
    train(SCRCL, inputs, state, until, batches=batches)


def embedded(
    learner: ScrclLearner, inputs: Inputs, *, method: ScrclMethod = SCRCL
) -> dict[str, FloatArray]:
    """Return the embeddings of all cells, by the names that ``cluster.on`` has for them.

    The learner is left in the mode (training or not) that it was in.
    """
    training = learner.training
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as name:
        folder = Path(name)
        found = method.embed(learner, inputs, folder, Work(), space="graph_view")
        points = {space: np.load(folder / f"{space}.npy") for space in found.spaces}
    learner.train(training)
    return points
