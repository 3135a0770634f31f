"""Genes that a batch has never measured: of another annotation, or another panel, and filled with zeros when joined.

Such genes say which batch a cell is of, and nothing else. A gene that happens to be in no cell of a batch is no reason:
what counts is that many genes are, which its cells should have many times by what the other batches have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import BoolArray, IntArray

__all__ = ["unmeasured_genes"]

_EXPECTED_CELLS = 20.0
"""Cells of a batch that should have a gene, if it has it as often as the other batches."""

_LEAST_SHARE = 0.05
"""Share of these genes that the batch must lack. It was at most .014 in 36 cases of donors, also of those who lack
types, and .13 or more where 15 % of the genes were taken from a batch (``bench.batches.donors``)."""


def unmeasured_genes(gene_cells: IntArray, n_cells: IntArray) -> NDArray[np.bool_]:
    """Return which genes each batch has never measured: bool, shape (n_batches, n_genes).

    Parameters
    ----------
    gene_cells
        Cells of each batch that have each gene: shape (n_batches, n_genes).
    n_cells
        Cells of each batch: shape (n_batches,).
    """
    found: NDArray[np.bool_] = np.zeros(gene_cells.shape, bool)
    of_all, n_all = gene_cells.sum(axis=0), int(n_cells.sum())
    for batch, own in enumerate(gene_cells):
        n_others = n_all - int(n_cells[batch])
        share = (of_all - own) / max(n_others, 1)
        expected: BoolArray = share * n_cells[batch] >= _EXPECTED_CELLS
        lacking = expected & (own == 0)
        if lacking.sum() > _LEAST_SHARE * expected.sum():
            found[batch] = lacking
    return found
