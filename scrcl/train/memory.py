"""Figures that the memory estimates of all methods share."""

from __future__ import annotations

import math

__all__ = ["LIBRARIES_BYTES", "MORE_NEIGHBORS", "dense_block_rows", "distinct_cells"]

LIBRARIES_BYTES = 650 * 10**6
"""Resident after torch, faiss, anndata, scikit-learn and (in the report) UMAP are loaded; measured."""

MORE_NEIGHBORS = 1.4
"""Neighbours of a cell in the symmetric graph, for each nearest neighbour that was searched."""


_DENSE_BLOCK_VALUES = 2_000_000
"""Values of an embedding in a block: 8 MB in float32."""


def distinct_cells(n_cells: int, n_seeds: int, n_neighbors: float) -> float:
    """Return the expected number of cells among ``n_seeds`` seed cells and their neighbours.

    A cell that several seeds have as a neighbour counts once.
    """
    drawn = min(n_seeds, n_cells) * (1 + n_neighbors)
    return n_cells * -math.expm1(-drawn / n_cells)


def dense_block_rows(widest: int) -> int:
    """Return the number of cells in a block, if the widest rows have ``widest`` columns."""
    return min(max(_DENSE_BLOCK_VALUES // max(widest, 1), 256), 65_536)
