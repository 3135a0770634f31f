"""Training whose graph view sees each cell alone: a GCN on a graph without edges is an MLP.

The losses keep their graph, so what is taken away is the encoder's alone.
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

__all__ = ["EachAlone", "without_edges"]


class EachAlone(BatchSource):
    """The batches of a `BatchSource`, whose graph encoder mixes no cell with another."""

    def batch(self, step: int) -> Batch:
        """Build the batch of one step."""
        batch = super().batch(step)
        drawn = None if batch.negatives is None else _alone(batch.negatives)
        return replace(batch, cells=_alone(batch.cells), negatives=drawn)

    def with_batches_of(self, batch_cells: int) -> EachAlone:
        """Return the same source with batches of another size."""
        config = self._config.model_copy(update={"batch_cells": batch_cells})
        return EachAlone(self._inputs, config, seed=self._seed, device=self._device)


def _alone(cells: Cells) -> Cells:
    adjacency = cells.adjacency
    nothing = cells.x.new_zeros(len(adjacency.pattern.columns_p))
    own = torch.ones_like(adjacency.diagonal_r)
    adjacency = SparseMatrix.on(adjacency.pattern, nothing, own)
    return replace(cells, ax=cells.x, adjacency=adjacency)


def without_edges(inputs: Inputs) -> Inputs:
    """Return inputs whose graph view is the cells themselves, to embed and to look by."""
    nobody = Graph(np.zeros(inputs.graph.n + 1, np.int64), np.empty(0, np.int32))
    return replace(inputs, ax=inputs.x, graph=nobody)
