"""Labelled sets as training reads them, and scores and exact losses of what is trained on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from bench._frame.labelled import read_labelled
from bench._frame.training import embedded, prepared, reordered
from scrcl import RunConfig, score
from scrcl.cluster.find import cluster
from scrcl.cluster.settings import ClusterSettings
from scrcl.graph.partition import partition
from scrcl.train.methods.scrcl.minibatch import BatchSource
from scrcl.train.methods.scrcl.objective import objective

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.train.config import TrainConfig
    from scrcl.train.methods.scrcl.minibatch import Inputs
    from scrcl.train.methods.scrcl.model import ScRCL
    from scrcl.train.state import TrainState

__all__ = ["EVERY_CELL", "TrainingSet", "scored", "training_set", "whole_loss"]

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


def training_set(path: Path) -> TrainingSet:
    """Prepare one file; sets with coordinates get their graph from them."""
    known = read_labelled(path)
    inputs, retained, scores = prepared(path, RunConfig(device="cpu", spatial=known.spatial))
    inputs = reordered(inputs, partition(inputs.x, seed=0, list_rows=LIST_CELLS).order)
    return TrainingSet(path.stem, known.spatial, inputs, scores, known.labels[retained], known.k)


def scored(model: ScRCL, data: TrainingSet, seed: int) -> dict[str, float]:
    """Return the agreement with labels of the clusters that the model gives at this step."""
    points = embedded(model, data.inputs)["embedding"]
    found = cluster(points, data.k, settings=ClusterSettings(), seed=seed, scores=data.scores)
    scores = score(found, data.labels)
    return {name: float(scores[name]) for name in SCORES}


@torch.no_grad()
def whole_loss(state: TrainState, inputs: Inputs, config: TrainConfig) -> dict[str, float]:
    """Return the loss terms over all cells, exactly."""
    exact = config.model_copy(
        update={"batch_cells": EVERY_CELL, "negatives": "batch", "fanout": None}
    )
    batch = BatchSource(inputs, exact, seed=0).batch(0)
    terms = objective(state.model, batch, state.moments, exact)
    return {name: float(value) for name, value in terms.items()}
