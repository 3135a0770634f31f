"""Embedding of cells that scGPCL was not trained on: from their own genes, and the genes of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scrcl.prep.artifacts import FEATURES, PRESENT_GENES
from scrcl.train.methods.scgpcl.embed import CellEmbedder
from scrcl.train.methods.scgpcl.inputs import scaled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrcl.graph.links import Links
    from scrcl.train.method import NewCells
    from scrcl.train.methods.scgpcl.inputs import Inputs
    from scrcl.train.methods.scgpcl.learner import ScgpclLearner
    from scrcl.train.setup import Work
    from scrcl.typing import FloatArray

__all__ = ["ScgpclNewCells"]


class ScgpclNewCells:
    """A `scrcl.train.method.NewCellEncoder`. It reads no neighbours in the run: cells are joined by genes.

    A selected gene that the new cells lack counts as average, and has no edge.

    Parameters
    ----------
    learner
        Trained; moved to the device of ``work`` and put in evaluation mode.
    inputs
        What it was trained on.
    new
        Artifacts of the new cells.
    work
        Its device is used.
    """

    def __init__(self, learner: ScgpclLearner, inputs: Inputs, new: NewCells, work: Work) -> None:
        self._embedder, self._inputs = CellEmbedder(learner, inputs, work.device), inputs
        self._store, self._present = new.own.open(FEATURES), new.own.open(PRESENT_GENES)
        # The genes that both have are a part of a cell's counts, not all of them.
        total = float(inputs.rates.sum())
        self._share = float(inputs.rates[np.asarray(self._present)].sum()) / total if total else 1.0
        self.widths: Mapping[str, int] = {new.space: learner.settings.dim}
        self.values_per_neighbor = max(inputs.n_genes // 8, 1)

    def embed(self, start: int, stop: int, links: Links) -> Mapping[str, FloatArray]:
        """Return the embedding of new cells ``start`` to ``stop``."""
        del links
        rows, present = self._store.rows(start, stop), np.asarray(self._present)
        columns = np.flatnonzero(present)[rows.indices]
        shape = (stop - start, self._inputs.n_genes)
        edges = sparse.csr_matrix((rows.data, columns, rows.indptr), shape=shape)
        x = scaled(edges, self._inputs, share=self._share)
        x[:, ~present] = 0
        (name,) = self.widths
        return {name: self._embedder.embed_scaled(x, edges)}
