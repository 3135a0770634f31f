"""Moments of the genes in each batch, from which variable genes are selected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["BatchMoments", "pooled_moments"]


@dataclass(frozen=True)
class BatchMoments:
    """Moments of each gene over the cells of one batch, or over all cells.

    Parameters
    ----------
    n_cells
        Number of cells.
    gene_cells
        Number of cells in which each gene is detected, integers, shape (n_genes,). A gene with 0 in all
        batches is never selected, so set it to 0 to exclude a gene.
    mean, var
        Mean and variance (divisor n - 1), float64, shape (n_genes,). They are those of the normalised values
        for ``seurat``, of their logarithms for ``cell_ranger``, and of the counts for other flavors.
    name
        Name of the batch, for error messages.
    """

    n_cells: int
    gene_cells: IntArray
    mean: FloatArray
    var: FloatArray
    name: str = "all cells"

    def of(self, genes: BoolArray) -> BatchMoments:
        """Return the moments of the given genes."""
        return BatchMoments(
            self.n_cells, self.gene_cells[genes], self.mean[genes], self.var[genes], self.name
        )


def pooled_moments(batches: Sequence[BatchMoments]) -> tuple[FloatArray, FloatArray]:
    """Return mean and variance over the cells of all batches, from those of each batch."""
    if len(batches) == 1:
        return batches[0].mean, batches[0].var
    n_cells = sum(batch.n_cells for batch in batches)
    mean = np.zeros_like(batches[0].mean)
    squares = np.zeros_like(mean)
    for batch in batches:
        mean += batch.n_cells / n_cells * batch.mean
    for batch in batches:
        squares += (batch.n_cells - 1) * batch.var + batch.n_cells * (batch.mean - mean) ** 2
    return mean, squares / (n_cells - 1)
