"""Training without the other stages: the inputs of one file in memory, and models trained on them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scrcl.engine.run import STAGES, run_files
from scrcl.engine.stage import Stage
from scrcl.engine.views import training_inputs
from scrcl.graph.renumber import renumbered
from scrcl.train.loop import train
from scrcl.train.methods.scrcl.embed import EMBEDDING, REFINED, embed_all
from scrcl.train.methods.scrcl.minibatch import BatchSource, Inputs
from scrcl.train.state import TrainState

if TYPE_CHECKING:
    from scrcl import RunConfig
    from scrcl.engine.stage import Run
    from scrcl.train.config import TrainConfig
    from scrcl.train.methods.scrcl.model import ScRCL
    from scrcl.train.stop import Stop
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Prepared", "embedded", "prepared", "reordered", "trained"]


class Prepared(NamedTuple):
    """The results of the stages before training, in memory."""

    inputs: Inputs
    retained: Any
    """shape (n_cells,): which cells are in the run"""
    scores: Any
    """Principal component scores for the final clusters; None for tissues"""


def prepared(path: Path, config: RunConfig) -> Prepared:
    """Run all stages before training."""
    from scrcl.prep.stats import MatrixStats

    found: list[Prepared] = []

    def fill(run: Run, _: Path) -> dict[str, Any]:
        inputs = training_inputs(run)
        retained = MatrixStats.load(run.stage("stats")).kept
        scores = None if config.spatial else np.array(run.array("reduce", "scores"))
        found.append(Prepared(reordered(inputs, np.arange(inputs.graph.n)), retained, scores))
        return {"n_cells": inputs.graph.n}

    before = [stage.name for stage in STAGES].index("train")
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        stages = [*STAGES[:before], Stage("inputs", fill)]
        run_files([path], Path(folder) / "out", config, stages=stages)
    return found[0]


def reordered(inputs: Inputs, order: IntArray) -> Inputs:
    """Return inputs in memory whose row ``r`` is row ``order[r]`` of ``inputs``."""
    cells = order if inputs.cells is None else inputs.cells[order]
    x, ax = np.asarray(inputs.x[order]), np.asarray(inputs.ax[order])
    return Inputs(x, ax, inputs.genes, renumbered(inputs.graph, order), cells)


def trained(
    inputs: Inputs, config: TrainConfig, seed: int, *, stop: Stop | None = None
) -> TrainState:
    """Train from the start."""
    state = TrainState.fresh(inputs, config, seed=seed)
    train(state, BatchSource(inputs, config, seed=seed), config, stop=stop)
    return state


def embedded(model: ScRCL, inputs: Inputs) -> dict[str, FloatArray]:
    """Return the embeddings of all cells, by the names that ``cluster.on`` has for them.

    The model is left in the mode (training or not) that it was in.
    """
    training = model.training
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        embed_all(model, inputs, Path(folder))
        points = {
            "embedding": np.load(Path(folder) / EMBEDDING),
            "refined": np.load(Path(folder) / REFINED),
        }
    model.train(training)
    # E is [E^m | E^g]: the graph view is its second half.
    half = points["embedding"].shape[1] // 2
    return points | {"graph_view": np.ascontiguousarray(points["embedding"][:, half:])}
