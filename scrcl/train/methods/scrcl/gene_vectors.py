"""Vectors of the genes in the space of the refined embedding Z = E (W U).

The loss compares cells by cosines of Z alone. So it does not change if Z is rotated or changes its sign, and W and U
say nothing about a gene that survives this: E W and Z U^T, read as associations, may have either sign
(``bench.genes.associations`` measures them). What the refinement has learned is Z. The vector of a gene is therefore
the least-squares fit of its log values to Z, and its inner product with a cell's Z is the log value that the
refinement gives the gene there, without its mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.io.arrays import release

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.prep.feature_store import FeatureStore
    from scrcl.typing import FloatArray

__all__ = ["fitted_gene_vectors"]

_RIDGE = 1e-6
"""Added to the squares of Z, as a share of their mean: directions below this are rounding."""


def fitted_gene_vectors(store: FeatureStore, refined: FloatArray) -> NDArray[np.float32]:
    """Return the least-squares fit of each gene to the refined embedding, from one pass over both.

    Parameters
    ----------
    store
        Log values of the selected genes.
    refined
        ndarray or memory map of float32, shape (n_cells, width).

    Returns
    -------
    ndarray of float32, shape (n_genes, width)
    """
    width = refined.shape[1]
    squares, products = np.zeros((width, width)), np.zeros((store.n_vars, width))
    cells, genes = np.zeros(width), np.zeros(store.n_vars)
    for start, values in store:
        z = np.asarray(refined[start : start + values.shape[0]], np.float64)
        squares += z.T @ z
        products += values.T @ z
        cells += z.sum(axis=0)
        genes += np.asarray(values.sum(axis=0, dtype=np.float64)).ravel()
        release(refined)
    squares -= np.outer(cells, cells) / store.n_obs
    products -= np.outer(genes, cells) / store.n_obs
    ridge = max(_RIDGE * float(np.trace(squares)) / width, 1e-30)
    return np.linalg.solve(squares + ridge * np.eye(width), products.T).T.astype(np.float32)
