"""scRCL whose graph view sees single cells: a GCN on a graph without edges is an MLP.

The losses keep their graph, so only the encoder changes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from scrcl.graph.csr import Graph
from scrcl.train.methods.scrcl.method import ScrclMethod
from scrcl.train.methods.scrcl.minibatch import ScrclMinibatches
from scrcl.train.sparse import SparseMatrix

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.train.method import Embedded
    from scrcl.train.methods.scrcl.inputs import Inputs
    from scrcl.train.methods.scrcl.method import ScrclLearner
    from scrcl.train.methods.scrcl.minibatch import Minibatch
    from scrcl.train.methods.scrcl.model import Cells
    from scrcl.train.methods.scrcl.settings import ScrclSettings
    from scrcl.train.setup import Setup, Work

__all__ = ["SingleCells", "TwoMlps"]


class SingleCells(ScrclMinibatches):
    """The mini-batches of scRCL, whose graph encoder mixes no cell with another."""

    def batch(self, step: int) -> Minibatch:
        """Return the mini-batch of one step."""
        batch = super().batch(step)
        drawn = None if batch.negatives is None else _unmixed(batch.negatives)
        return replace(batch, cells=_unmixed(batch.cells), negatives=drawn)


class TwoMlps(ScrclMethod):
    """scRCL with single cells in training, in stability checks and in the embedding."""

    def batches(self, inputs: Inputs, setup: Setup[ScrclSettings]) -> SingleCells:
        """Return the mini-batches."""
        return SingleCells(inputs, setup)

    def embed(
        self, learner: ScrclLearner, inputs: Inputs, folder: Path, work: Work, *, space: str
    ) -> Embedded:
        """Write the embeddings of all cells."""
        return super().embed(learner, _without_edges(inputs), folder, work, space=space)


def _unmixed(cells: Cells) -> Cells:
    adjacency = cells.adjacency
    nothing = cells.x.new_zeros(len(adjacency.pattern.columns_p))
    own = torch.ones_like(adjacency.diagonal_r)
    adjacency = SparseMatrix.on(adjacency.pattern, nothing, own)
    return replace(cells, ax=cells.x, adjacency=adjacency)


def _without_edges(inputs: Inputs) -> Inputs:
    """Return inputs whose graph view is the cells themselves."""
    empty = Graph(np.zeros(inputs.n_cells + 1, np.int64), np.empty(0, np.int32))
    return replace(inputs, ax=inputs.x, graph=empty)
