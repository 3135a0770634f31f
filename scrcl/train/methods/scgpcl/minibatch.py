"""The mini-batches of scGPCL: two views of the seed cells, each with its own draw of genes, cells and columns.

What a view draws depends on the seed, the step and the view, never on the rank. So ranks together take the
step of one process.
"""

# Shapes: B = seed cells of this rank, C = context cells, M = genes, D = gene_dim.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from scrcl._random import derive_seed, stream
from scrcl.prep.normalize import counts_of
from scrcl.train.methods.scgpcl.draws import drawn_edges
from scrcl.train.methods.scgpcl.inputs import Inputs, drawn_context, scaled, selected_sums
from scrcl.train.methods.scgpcl.model import Surroundings, View
from scrcl.train.methods.scgpcl.zinb import Counts
from scrcl.train.minibatches import MinibatchSource
from scrcl.train.sparse import to_device

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from scrcl.train.methods.scgpcl.settings import ScgpclSettings
    from scrcl.typing import BoolArray, Csr, IntArray

__all__ = ["N_VIEWS", "Minibatch", "ScgpclMinibatches", "means_of", "surroundings"]

N_VIEWS = 2


@dataclass(frozen=True, eq=False)
class Minibatch:
    """The tensors of one step, on one rank.

    Attributes
    ----------
    x_bm
        Tensor of shape (B, M): scaled values.
    views
        Two; a single one without draws in the subset of the stability checks.
    genes_g
        Tensor of int64, shape (G,): genes that the decoder is scored by, ascending.
    counts
        Their counts above zero; None where none are needed.
    n_seeds
        Seed cells of all ranks.
    first
        Position of this rank's first seed cell among all.
    """

    x_bm: Tensor
    views: tuple[View, ...]
    genes_g: Tensor
    counts: Counts | None
    n_seeds: int
    first: int = 0


class ScgpclMinibatches(MinibatchSource[Inputs, Minibatch]):
    """All mini-batches of a run; the rows of their cells are read from the store.

    Parameters
    ----------
    inputs
        The edges and what is known of cells and genes.
    setup
        ``minibatch_cells``, ``minibatches``, ``piece_cells`` and ``fanout`` (genes drawn for a cell) are read,
        and of the method's settings ``context_cells``, ``mask``, ``gene_dim`` and ``reconstruction``.
    """

    def batch(self, step: int) -> Minibatch:
        """Return this rank's part of the mini-batch of one step."""
        settings: ScgpclSettings = self.setup.settings
        # Ranks share the cells in the order in which the store has them: reads are then in order.
        cells = np.sort(self.inputs.cells[self.seeds(step)])
        first, last = self.ranks.cut(len(cells))
        own = cells[first:last]
        rows = self.inputs.store.gather(own)
        rng = stream(self.setup.seed, "scgpcl.genes", step)
        n_genes = min(settings.reconstructed_genes, self.inputs.n_genes)
        genes = np.sort(rng.choice(self.inputs.n_genes, n_genes, replace=False))
        return Minibatch(
            to_device(scaled(rows, self.inputs), self.device),
            tuple(self._view(rows, own, step, view) for view in range(N_VIEWS)),
            to_device(genes, self.device),
            self._counts(rows, own, genes) if settings.reconstruction == "zinb" else None,
            len(cells),
            first,
        )

    def whole(self) -> Minibatch:
        """Return the mini-batch of one step with all genes of its cells, as cells are embedded at the end."""
        own = np.sort(self.inputs.cells[self.seeds(0)])
        rows = self.inputs.store.gather(own)
        near = surroundings(self.inputs, self.inputs.context, self.device)
        view = View(means_of(rows, np.ones(rows.nnz, dtype=bool), self.device), near)
        return Minibatch(
            to_device(scaled(rows, self.inputs), self.device),
            (view,),
            torch.empty(0, dtype=torch.int64, device=self.device),
            None,
            len(own),
        )

    def _view(self, rows: Csr, cells: IntArray, step: int, number: int) -> View:
        """Draw genes for each cell, cells for the genes, and columns."""
        setup, inputs = self.setup, self.inputs
        settings: ScgpclSettings = setup.settings
        edges = derive_seed(setup.seed, "scgpcl.edges", step, number)
        drawn = drawn_edges(rows, cells, setup.train.fanout, edges)
        rng = stream(setup.seed, "scgpcl.view", step, number)
        context = drawn_context(inputs.lists, settings.context_cells, rng)
        kept_m, kept_d = (
            self._columns(rng.random(width) >= settings.mask)
            for width in (inputs.n_genes, settings.gene_dim)
        )
        near = surroundings(inputs, context, self.device)
        return View(means_of(rows, drawn, self.device), near, kept_m, kept_d)

    def _columns(self, kept: BoolArray) -> Tensor:
        return to_device(kept.astype(np.float32), self.device)

    def _counts(self, rows: Csr, cells: IntArray, genes: IntArray) -> Counts:
        some = rows[:, genes]
        totals = np.asarray(self.inputs.totals[cells])
        row_of = np.repeat(np.arange(len(cells)), np.diff(some.indptr))
        # A cell without counts in the selected genes has a factor of 1.
        depths = selected_sums(rows) * totals / self.inputs.usual_depth
        logs = np.log(np.where(depths > 0, depths, 1))
        return Counts(
            to_device(row_of * len(genes) + some.indices, self.device),
            to_device(counts_of(some, totals).astype(np.float32), self.device),
            to_device(logs.astype(np.float32), self.device),
        )


def surroundings(inputs: Inputs, context: IntArray, device: torch.device) -> Surroundings:
    """Return the context cells, read from the store, with all edges to the genes."""
    rows = inputs.store.gather(context)
    has = _ones(rows, np.ones(rows.nnz, dtype=bool))
    shares = (has / np.maximum(has.sum(axis=0), 1)).astype(np.float32, copy=False)
    return Surroundings(
        to_device(scaled(rows, inputs), device),
        # Transposed as a view: products read it in either order.
        to_device(shares, device).T,
    )


def means_of(rows: Csr, kept: BoolArray, device: torch.device) -> Tensor:
    """Return weights whose product is the mean over the kept genes of each cell, shape (B, M)."""
    has = _ones(rows, kept)
    return to_device(has / np.maximum(has.sum(axis=1, keepdims=True), 1), device)


def _ones(rows: Csr, kept: BoolArray) -> NDArray[np.float32]:
    """Return a dense matrix with ones where an edge is kept."""
    dense = np.zeros(rows.shape, np.float32)
    row_of = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    dense[row_of[kept], rows.indices[kept]] = 1
    return dense
