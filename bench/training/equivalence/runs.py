"""Labelled sets as training reads them, and scores and exact losses of what is trained on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from bench._frame.labelled import read_labelled
from bench._frame.training import SCRCL, changed, embedded, prepared, reordered
from scrcl import RunConfig
from scrcl.cluster.find import cluster
from scrcl.cluster.settings import ClusterSettings
from scrcl.engine.evaluate import score
from scrcl.graph.divide import partition
from scrcl.train.methods.scrcl.objective import objective

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.train.methods.scrcl.inputs import Inputs
    from scrcl.train.methods.scrcl.method import ScrclLearner
    from scrcl.train.methods.scrcl.settings import ScrclSettings
    from scrcl.train.setup import Setup

__all__ = ["EVERY_CELL", "TrainingSet", "batches_of", "scored", "training_set", "whole_loss"]

EVERY_CELL = 10**9
"""Cells of a mini-batch that is a full batch"""
LIST_CELLS = 128
SCORES = ("acc", "nmi", "ari")


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The training inputs of a set, made once for all seeds and modes, and its labels."""

    name: str
    spatial: bool
    inputs: Inputs
    scores: Any
    """Principal component scores for the final clusters; None for tissues"""
    labels: Any
    k: int

    @property
    def n_cells(self) -> int:
        """Number of retained cells."""
        return len(self.labels)


def batches_of(mode: str, data: TrainingSet, minibatch_cells: int) -> dict[str, Any]:
    """Return the settings of ``mode``: "full", or an estimator of the means over all cells."""
    if mode == "full":
        return {"minibatch_cells": EVERY_CELL}
    # At least two mini-batches: one would be a full batch.
    return {"minibatch_cells": min(minibatch_cells, -(-data.n_cells // 2)), "negatives": mode}


def training_set(path: Path) -> TrainingSet:
    """Prepare one file; sets with coordinates get their graph from them."""
    known = read_labelled(path)
    inputs, retained, scores = prepared(path, RunConfig(device="cpu", spatial=known.spatial))
    inputs = reordered(inputs, partition(inputs.x, seed=0, list_rows=LIST_CELLS).order)
    return TrainingSet(path.stem, known.spatial, inputs, scores, known.labels[retained], known.k)


def scored(learner: ScrclLearner, data: TrainingSet, seed: int) -> dict[str, float]:
    """Return the agreement with labels of the clusters that the learner gives at this step."""
    points = embedded(learner, data.inputs)["embedding"]
    found = cluster(points, data.k, settings=ClusterSettings(), seed=seed, scores=data.scores)
    scores = score(found, data.labels)
    return {name: float(scores[name]) for name in SCORES}


@torch.no_grad()
def whole_loss(
    learner: ScrclLearner, inputs: Inputs, how: Setup[ScrclSettings]
) -> dict[str, float]:
    """Return the loss terms over all cells, exactly."""
    exact = changed(how, minibatch_cells=EVERY_CELL, negatives="batch", fanout=None)
    batch = SCRCL.batches(inputs, exact).batch(0)
    terms = objective(learner.model, batch, learner.moments, exact.settings)
    return {name: float(value) for name, value in terms.items()}
