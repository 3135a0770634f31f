"""Genes that vary from place to place: Moran's I of each gene.

A tissue has layers where genes follow its places. Genes that merely vary between cells, the most variable ones among
them, hide layers: they bring the variance of single cells into the components. Moran's I of a gene is the correlation
of its value in a cell with its mean over the cells around, as `scrcl.graph.autocorrelation` has it for components.

References
----------
Moran: Notes on continuous stochastic phenomena, Biometrika 37 (1950), 17-23. Cliff and Ord: Spatial Processes (1981),
chapter 2: the variance under randomness, from the sum of squares of the symmetric weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from scrcl._random import stream
from scrcl.graph.autocorrelation import moran
from scrcl.graph.propagate import averages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.io.labels import CellLabels
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["GenesInSpace", "compared_cells", "morans_i"]

_TILE_CELLS = 500
"""Cells of a tile. Most cells have all of their neighbours in it."""

_GENES_AT_ONCE = 256
_DEVIATIONS = 5.0
_LEAST_SHARE, _LEAST_CELLS = 0.005, 5
"""Share and number of the cells that a gene must be in: a few cells in one place are no layer."""


class GenesInSpace(NamedTuple):
    """Moran's I of each gene, and what it must exceed to be more than chance."""

    values: NDArray[np.float64]
    """shape (n_genes,); NaN for genes that are in hardly any cell, or the same in all"""
    least: float


def compared_cells(
    coordinates: FloatArray, samples: CellLabels | None, n_most: int, seed: int
) -> IntArray:
    """Return the cells that genes are compared in, ascending: all, or of more than ``n_most`` some tiles of near cells.

    Parameters
    ----------
    coordinates
        ndarray of float, shape (n_cells, 2) or (n_cells, 3).
    samples
        The sample of each cell; a tile is of one sample.
    """
    from scipy.spatial import cKDTree

    n_cells = len(coordinates)
    if n_cells <= n_most:
        return np.arange(n_cells)
    n_tiles = max(n_most // _TILE_CELLS, 1)
    centres = stream(seed, "genes.tiles").choice(n_cells, n_tiles, replace=False)
    codes = np.zeros(n_cells, np.int32) if samples is None else samples.codes
    taken = np.zeros(n_cells, bool)
    for code in np.unique(codes[centres]):
        rows = np.flatnonzero(codes == code)
        k = min(_TILE_CELLS, len(rows))
        own = centres[codes[centres] == code]
        near = cKDTree(coordinates[rows]).query(coordinates[own], k=k)[1]
        taken[rows[near.ravel()]] = True
    return np.flatnonzero(taken)


def morans_i(values: Csr, ids: IntArray, groups: IntArray | None = None) -> GenesInSpace:
    """Return how far neighbours are alike in each gene.

    Parameters
    ----------
    values
        Log values of some cells, CSR of float32, shape (n_cells, n_genes).
    ids
        ndarray of int, shape (n_cells, k): neighbours among the same cells, -1 for none.
    groups
        ndarray of int, shape (n_cells,): the slice of each cell. Differences between slices do not count.

    Notes
    -----
    Memory is a copy of the values by columns, and three dense blocks of 256 genes.
    """
    n_cells, n_genes = values.shape
    weights = averages(ids, len(ids))
    _, codes = np.unique(np.zeros(n_cells) if groups is None else groups, return_inverse=True)
    sizes = np.bincount(codes)
    within = sparse.csr_matrix(
        ((1 / sizes)[codes].astype(np.float32), (codes, np.arange(n_cells))),
        shape=(len(sizes), n_cells),
    )
    by_gene = values.tocsc()
    enough = np.diff(by_gene.indptr) >= max(_LEAST_CELLS, _LEAST_SHARE * n_cells)
    genes, found = np.flatnonzero(enough), np.full(n_genes, np.nan)
    for start in range(0, len(genes), _GENES_AT_ONCE):
        some = genes[start : start + _GENES_AT_ONCE]
        block = by_gene[:, some].toarray()
        block -= (within @ block)[codes]
        found[some] = moran(block, weights @ block)
    both = weights + weights.T
    error = np.sqrt(0.5 * float(both.multiply(both).sum())) / max(float(weights.sum()), 1.0)
    return GenesInSpace(found, _DEVIATIONS * error if weights.nnz else 1.0)
