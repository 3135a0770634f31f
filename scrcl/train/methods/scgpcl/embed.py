"""Embedding of cells outside of training: all of their genes, and the same context cells for every cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scrcl.io.arrays import RowWriter, row_blocks
from scrcl.train.methods.scgpcl.inputs import scaled
from scrcl.train.methods.scgpcl.minibatch import means_of, surroundings
from scrcl.train.methods.scgpcl.model import View
from scrcl.train.sparse import to_device

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.train.methods.scgpcl.inputs import Inputs
    from scrcl.train.methods.scgpcl.learner import ScgpclLearner
    from scrcl.train.setup import Work
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["BLOCK_CELLS", "CellEmbedder", "embed_all", "embed_subset"]

BLOCK_CELLS = 1_024
"""Cells of a subset that are embedded at a time."""


class CellEmbedder:
    """The encoder in evaluation mode, with genes updated once for all cells.

    Parameters
    ----------
    learner
        Moved to ``device`` and put in evaluation mode.
    inputs
        What it was trained on.
    device
        Device for blocks.
    """

    def __init__(self, learner: ScgpclLearner, inputs: Inputs, device: str | torch.device) -> None:
        self._device, self._inputs = torch.device(device), inputs
        self._encoder = learner.to(self._device).eval().encoder
        near = surroundings(inputs, inputs.context, self._device)
        nothing = torch.empty(0, device=self._device)
        with torch.no_grad():
            self._genes_mh = self._encoder.genes([View(nothing, near)])[0]

    @torch.no_grad()
    def embed(self, rows: Csr) -> FloatArray:
        """Return the embedding of cells with these log values, float32 of shape (n_cells, dim)."""
        return self.embed_scaled(scaled(rows, self._inputs), rows)

    @torch.no_grad()
    def embed_scaled(self, x: FloatArray, edges: Csr) -> FloatArray:
        """Return the embedding of cells with these scaled values and edges."""
        every = np.ones(edges.nnz, dtype=bool)
        embedded: FloatArray = (
            self._encoder.embed(
                to_device(x, self._device),
                means_of(edges, every, self._device),
                self._genes_mh,
            )
            .cpu()
            .numpy()
        )
        return embedded


def embed_all(learner: ScgpclLearner, inputs: Inputs, out: Path, work: Work) -> None:
    """Write the embedding of every cell, float32 of shape (n_cells, dim), in the order of the cells."""
    embedder = CellEmbedder(learner, inputs, work.device)
    with RowWriter(out, inputs.n_cells, learner.settings.dim) as writer:
        for start, stop in row_blocks(inputs.n_cells, work.block_rows):
            writer.write(start, embedder.embed(inputs.store.rows(start, stop)))
            if work.on_rows is not None:
                work.on_rows(stop - start)


def embed_subset(learner: ScgpclLearner, inputs: Inputs, cells: IntArray) -> FloatArray:
    """Return the embedding of some cells, ascending, float32; the learner keeps its mode and device."""
    was_training = learner.training
    embedder = CellEmbedder(learner, inputs, learner.device)
    found = np.empty((len(cells), learner.settings.dim), np.float32)
    for start, stop in row_blocks(len(cells), BLOCK_CELLS):
        found[start:stop] = embedder.embed(inputs.store.gather(cells[start:stop]))
    learner.train(was_training)
    return found
