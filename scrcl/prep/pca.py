"""Principal components from the Gram matrix of the genes, and the scores of the cells.

The covariance of the genes follows from two sums over the cells, ``X^T X`` and ``X^T 1``, which the feature
store already holds. So fitting needs no pass over the cells, and projecting them needs one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import atomic_path
from scrcl._compiled import compiled
from scrcl._threads import one_blas_thread
from scrcl.errors import InputError
from scrcl.io.arrays import RowWriter, for_each_block
from scrcl.io.npz import ArrayFile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.prep.feature_store import FeatureStore
    from scrcl.typing import BoolArray, Csr, FloatArray, IntArray, OnRows

__all__ = [
    "Pca",
    "fit_pca",
    "gene_sketch",
    "pca_from_eigenpairs",
    "project_block",
    "project_rows",
    "require_comps",
    "restrict_to_genes",
]

_LEAST_SHARE = 0.1
"""Directions with a smaller share of their squared length in the measured genes are dropped."""


@dataclass(frozen=True, eq=False)
class Pca(ArrayFile):
    """The leading r principal components of M genes."""

    loadings: NDArray[np.float32]
    """shape (M, r), orthonormal columns. The entry of largest absolute value in each is positive."""
    singular_values: NDArray[np.float64]
    """shape (r,), descending: singular values of the centred matrix of cells by genes."""
    mean: NDArray[np.float32]
    """shape (M,): mean of each gene."""
    explained_variance: NDArray[np.float64]
    """shape (r,): ``singular_values ** 2 / (n_obs - 1)``."""
    explained_variance_ratio: NDArray[np.float64]
    """shape (r,): share of the total variance."""


def fit_pca(gram: FloatArray, sums: FloatArray, n_obs: int, *, n_comps: int) -> Pca:
    """Return the exact PCA of the cells, from their sums.

    Parameters
    ----------
    gram
        Gram matrix ``X^T X``, not centred: ndarray of float64, shape (M, M).
    sums
        Column sums of X: ndarray of float64, shape (M,).
    n_obs
        Number of cells (rows of X).
    n_comps
        Number of components, at most ``min(n_obs, M)``.

    Raises
    ------
    InputError
        The shapes disagree, a value is not finite, or ``n_comps`` is out of range.

    Notes
    -----
    Runs on one thread, so the bits do not depend on the number of cores. It takes about a second for 2,000
    genes. Memory: three float64 matrices of M by M.
    """
    from scipy.linalg import eigh

    _check(gram, sums, n_obs, n_comps)
    mean = sums / n_obs
    with one_blas_thread():
        # (X - mean)^T (X - mean) = X^T X - n_obs mean^T mean
        scatter = gram - n_obs * np.outer(mean, mean)
        last = len(sums) - 1
        values, vectors = eigh(
            scatter,
            subset_by_index=[last - n_comps + 1, last],
            overwrite_a=True,
            check_finite=False,
        )
    variance = np.diagonal(gram) - n_obs * mean**2
    return pca_from_eigenpairs(
        values[::-1], vectors[:, ::-1], mean, n_obs, total=float(np.maximum(variance, 0).sum())
    )


def pca_from_eigenpairs(
    values: NDArray[np.float64], vectors: FloatArray, mean: FloatArray, n_obs: int, *, total: float
) -> Pca:
    """Return the PCA for the leading eigenpairs of the centred scatter matrix.

    An eigenvector has no natural sign. Each is flipped so that its largest entry is positive, which makes all
    solvers agree.

    Parameters
    ----------
    values, vectors
        Eigenvalues, descending, shape (r,), and eigenvectors, shape (M, r).
    total
        Sum of all eigenvalues.
    """
    values = np.maximum(values, 0)  # rounding can make a zero eigenvalue negative
    strongest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.where(vectors[strongest, np.arange(len(values))] < 0, -1.0, 1.0)
    return Pca(
        loadings=np.ascontiguousarray(vectors, dtype=np.float32),
        singular_values=np.sqrt(values),
        mean=mean.astype(np.float32),
        explained_variance=values / (n_obs - 1),
        explained_variance_ratio=values / total if total > 0 else np.zeros_like(values),
    )


def _check(gram: FloatArray, sums: FloatArray, n_obs: int, n_comps: int) -> None:
    """Raise InputError if an argument of `fit_pca` is invalid."""
    n_genes = len(sums)
    if gram.shape != (n_genes, n_genes):
        message = (
            f"gram must have one row and column for each of the {n_genes} sums; got {gram.shape}. "
            "Take both from one feature store."
        )
        raise InputError(message)
    require_comps(n_comps, n_obs, n_genes)
    if not (np.isfinite(gram).all() and np.isfinite(sums).all()):
        message = (
            "gram and sums must be finite; got NaN or infinity. Write the feature store again."
        )
        raise InputError(message)


def require_comps(n_comps: int, n_obs: int, n_genes: int) -> None:
    """Raise InputError unless ``n_obs`` cells of ``n_genes`` genes have ``n_comps`` components."""
    if n_obs < 2:
        message = f"n_obs must be at least 2; got {n_obs}. Principal components need more cells."
        raise InputError(message)
    if not 1 <= n_comps <= min(n_obs, n_genes):
        message = (
            f"n_comps must be between 1 and {min(n_obs, n_genes)} "
            f"({n_obs} cells, {n_genes} genes); got {n_comps}. Ask for fewer components."
        )
        raise InputError(message)


def gene_sketch(pca: Pca) -> NDArray[np.float32]:
    """Return a vector for each gene, loadings times singular values: float32, shape (M, r).

    The inner product of two rows approximates that of the two centred columns of X, to rank r.
    """
    return (pca.loadings * pca.singular_values).astype(np.float32)


def project_rows(
    store: FeatureStore,
    pca: Pca,
    out: Path,
    *,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> None:
    """Write the principal component scores ``(X - mean) V`` of the cells. The file is complete or absent.

    Parameters
    ----------
    store
        Normalised values of the genes that ``pca`` was fitted to, in the same order.
    out
        ``.npy`` file of float32, shape (n_obs, r). Each row depends only on its own cell, so neither the parts
        of the store nor the number of workers changes a bit.
    n_workers
        Parts that are projected at a time. Memory holds as many parts and their scores.

    Raises
    ------
    InputError
        The store has another number of genes than the components.
    """
    n_genes, n_comps = pca.loadings.shape
    if store.n_vars != n_genes:
        message = (
            f"store must hold the {n_genes} genes of the components; got {store.n_vars}. "
            "Fit the components on this store."
        )
        raise InputError(message)
    offset = pca.mean.astype(np.float64) @ pca.loadings.astype(np.float64)
    with atomic_path(out) as partial, RowWriter(partial, store.n_obs, n_comps) as writer:

        def project(start: int, stop: int) -> None:
            rows = store.rows(start, stop)
            writer.write(start, project_block(rows, pca.loadings, offset))

        for_each_block(project, store.parts(), n_workers=n_workers, on_rows=on_rows)


def restrict_to_genes(pca: Pca, present: BoolArray) -> Pca:
    """Return components that project cells in which only some of the genes were measured.

    Scores are the least-squares fit to the measured genes. So a missing gene is neither taken for zero nor for
    its mean; the measured genes predict it. A direction with less than a tenth of its squared length in the
    measured genes cannot be fitted, and its score is zero.

    Parameters
    ----------
    present
        Measured genes: ndarray of bool, shape (M,).

    Returns
    -------
    Pca
        Components of the measured genes; ``pca`` itself if all are. The loadings are no longer orthonormal.
    """
    if np.all(present):
        return pca
    measured = pca.loadings[present].astype(np.float64)
    with one_blas_thread():
        # Scores s minimise |V s - x| over the measured genes: s = (V^T V)^+ V^T x.
        directions = measured @ np.linalg.pinv(
            measured.T @ measured, rcond=_LEAST_SHARE, hermitian=True
        )
    return replace(pca, loadings=directions.astype(np.float32), mean=pca.mean[present])


def project_block(
    rows: Csr, directions: NDArray[np.float32], offset: FloatArray
) -> NDArray[np.float32]:
    """Return ``rows @ directions - offset``: float32, shape (n_rows, r).

    Every row is computed by itself, in the order of its values, so the bits do not depend on the block.
    """
    images = np.empty((rows.shape[0], directions.shape[1]), dtype=np.float32)
    compiled(_project, contract=True)(
        rows.indptr, rows.indices, rows.data, directions, offset, images
    )
    return images


def _project(
    indptr: IntArray,
    indices: IntArray,
    data: FloatArray,
    directions: FloatArray,
    offset: FloatArray,
    images: FloatArray,
) -> None:
    """Fill ``images`` with the product of each row and ``directions``, less ``offset``.

    Four stored values at a time: one pass over ``total`` then adds four rows of ``directions``. This is twice
    as fast as the product in scipy.
    """
    width = directions.shape[1]
    total = np.empty(width, np.float32)
    for row in range(len(indptr) - 1):
        at = indptr[row]
        stop = indptr[row + 1]
        for c in range(width):
            total[c] = 0
        while at + 4 <= stop:
            x0, x1, x2, x3 = data[at], data[at + 1], data[at + 2], data[at + 3]
            # Unsigned, so numba adds no branch for negative indices.
            j0, j1 = np.uint32(indices[at]), np.uint32(indices[at + 1])
            j2, j3 = np.uint32(indices[at + 2]), np.uint32(indices[at + 3])
            for c in range(width):
                total[c] += (
                    x0 * directions[j0, c]
                    + x1 * directions[j1, c]
                    + x2 * directions[j2, c]
                    + x3 * directions[j3, c]
                )
            at += 4
        while at < stop:
            x0, j0 = data[at], np.uint32(indices[at])
            for c in range(width):
                total[c] += x0 * directions[j0, c]
            at += 1
        for c in range(width):
            images[row, c] = total[c] - offset[c]
