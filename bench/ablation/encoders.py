"""Training whose graph view sees single cells: a GCN on a graph without edges is an MLP.

The losses keep their graph, so only the encoder changes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from scrcl.graph.csr import Graph
from scrcl.train.methods.scrcl.minibatch import Batch, BatchSource, Inputs
from scrcl.train.sparse import SparseMatrix

if TYPE_CHECKING:
    from scrcl.train.methods.scrcl.model import Cells

__all__ = ["SingleCells", "without_edges"]


class SingleCells(BatchSource):
    """The mini-batches of a `BatchSource`, whose graph encoder mixes no cell with another."""

    def batch(self, step: int) -> Batch:
        """Build the mini-batch of one step."""
        batch = super().batch(step)
        drawn = None if batch.negatives is None else _unmixed(batch.negatives)
        return replace(batch, cells=_unmixed(batch.cells), negatives=drawn)

    def with_batches_of(self, batch_cells: int) -> SingleCells:
        """Return the same source with mini-batches of another size."""
        config = self._config.model_copy(update={"batch_cells": batch_cells})
        return SingleCells(self._inputs, config, seed=self._seed, device=self._device)


def _unmixed(cells: Cells) -> Cells:
    adjacency = cells.adjacency
    nothing = cells.x.new_zeros(len(adjacency.pattern.columns_p))
    own = torch.ones_like(adjacency.diagonal_r)
    adjacency = SparseMatrix.on(adjacency.pattern, nothing, own)
    return replace(cells, ax=cells.x, adjacency=adjacency)


def without_edges(inputs: Inputs) -> Inputs:
    """Return inputs whose graph view is the cells themselves, for embedding and for stability checks."""
    empty = Graph(np.zeros(inputs.graph.n + 1, np.int64), np.empty(0, np.int32))
    return replace(inputs, ax=inputs.x, graph=empty)
