"""Principal components of a feature store, from its Gram matrix or from the rows themselves.

Where many genes are kept their Gram matrix is too large, and the components come from passes over the
rows instead: a block Krylov space of the centred scatter matrix ``C = (X - mean)^T (X - mean)``,
started from random directions (Musco and Musco 2015, algorithm 2), one pass of the store for each block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from scrcl._compiled import compiled
from scrcl._random import stream
from scrcl._threads import one_blas_thread
from scrcl.errors import InputError
from scrcl.io.stream import reduce_rows
from scrcl.prep.pca import as_pca, check_comps, fit_pca, projected

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.prep.feature_store import FeatureStore
    from scrcl.prep.pca import Pca
    from scrcl.typing import Csr, FloatArray, IntArray, OnRows

__all__ = ["Solver", "fit_pca_randomized", "fit_pca_store", "uses_gram"]

Solver: TypeAlias = Literal["auto", "gram", "randomized"]

GRAM_GENES = 4096
"""Genes up to which ``auto`` takes the Gram matrix: 134 MB, and 7 s for its eigenvectors."""

_TOLERANCE = 1e-4
"""Residual of each component, over its eigenvalue, at which passes end."""


def uses_gram(solver: Solver, n_genes: int) -> bool:
    """Return whether the components of ``n_genes`` genes will come from their Gram matrix."""
    return solver == "gram" or (solver == "auto" and n_genes <= GRAM_GENES)


def fit_pca_store(
    store: FeatureStore,
    n_comps: int,
    *,
    solver: Solver = "auto",
    seed: int = 0,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> Pca:
    """Return the principal components of the cells in ``store``.

    Parameters
    ----------
    solver
        ``"gram"``: exact, from the Gram matrix that the store holds, without reading a row.
        ``"randomized"``: from passes over the rows. ``"auto"``: by the number of genes.

    Raises
    ------
    InputError
        ``n_comps`` is out of range, or the store was written without the Gram matrix that it needs.
    """
    if not uses_gram(solver, store.n_vars):
        return fit_pca_randomized(store, n_comps, seed=seed, n_workers=n_workers, on_rows=on_rows)
    if not store.has_gram:
        msg = (
            f"store must hold the Gram matrix for solver {solver!r}; got {store.folder} without. "
            "Write it with_gram, or take solver 'randomized'."
        )
        raise InputError(msg)
    return fit_pca(store.gram(), store.sums(), store.n_obs, n_comps=n_comps)


def fit_pca_randomized(
    store: FeatureStore,
    n_comps: int,
    *,
    seed: int = 0,
    n_oversamples: int = 10,
    max_passes: int = 20,
    tolerance: float = _TOLERANCE,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> Pca:
    """Return the leading components from passes over the rows, never dense.

    The same bits for any number of workers. Holds ``n_workers + 3`` float32 matrices of M by
    ``l = n_comps + n_oversamples`` and the basis, float64, l columns for each pass.

    Parameters
    ----------
    n_oversamples
        Directions beyond the components in each block.
    max_passes
        Passes over the rows at most; seven to fifteen are usual.
    tolerance
        Passes end when no component v of value s leaves ``|C v - s v| > tolerance * s``.
    on_rows
        Told the rows of each block in each pass.

    Raises
    ------
    InputError
        ``n_comps`` is out of range.
    """
    check_comps(n_comps, store.n_obs, store.n_vars)
    mean = store.sums() / store.n_obs
    width = min(n_comps + n_oversamples, store.n_vars)
    start = stream(seed, "graph.randomized").standard_normal((store.n_vars, width))
    x = store.x_parts()
    with one_blas_thread():
        basis: list[NDArray[np.float64]] = []
        inner = np.empty((0, 0))
        block = np.linalg.qr(start)[0]
        while True:
            product = reduce_rows(
                x,
                _Multiply(block.astype(np.float32), mean),
                _add,
                n_workers=n_workers,
                on_rows=on_rows,
            )
            image = product.values.astype(np.float64)
            basis.append(block)
            inner = _bordered(inner, np.vstack([some.T @ image for some in basis]))
            values, weights = np.linalg.eigh(inner)
            values, weights = values[: -n_comps - 1 : -1], weights[:, : -n_comps - 1 : -1]
            following, rest = _orthogonal(image, basis)
            residuals = np.linalg.norm(rest @ weights[-block.shape[1] :], axis=0)
            room = store.n_vars - len(inner)
            converged = len(values) == n_comps and (residuals <= tolerance * values).all()
            if converged or len(basis) == max_passes or not room:
                break
            block = following[:, :room]
        parts = np.split(weights, np.cumsum([some.shape[1] for some in basis])[:-1])
        vectors = sum(some @ part for some, part in zip(basis, parts, strict=True))
    total = max(product.squares - store.n_obs * float(mean @ mean), 0.0)
    return as_pca(values, vectors, mean, store.n_obs, total=total)


def _bordered(inner: FloatArray, column: FloatArray) -> NDArray[np.float64]:
    """Return the symmetric matrix with one more block of columns, and of rows."""
    n_before, width = len(inner), column.shape[1]
    wider = np.zeros((n_before + width, n_before + width))
    wider[:n_before, :n_before] = inner
    wider[:, n_before:] = column
    wider[n_before:, :n_before] = column[:n_before].T
    corner = column[n_before:]
    wider[n_before:, n_before:] = (corner + corner.T) / 2
    return wider


def _orthogonal(
    image: NDArray[np.float64], basis: list[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return orthonormal columns Q orthogonal to ``basis``, and R, with ``image - basis (..) = Q R``.

    Done twice, since after once what is small keeps rounding errors along the basis.
    """
    rest = np.eye(image.shape[1])
    for _ in range(2):
        for some in basis:
            image = image - some @ (some.T @ image)
        image, factor = (part.astype(np.float64, copy=False) for part in np.linalg.qr(image))
        rest = factor @ rest
    return image, rest


@dataclass(frozen=True)
class _Product:
    """Rows' share of ``C Q``, and the sum of their squared values."""

    values: FloatArray
    squares: float


def _add(total: _Product, more: _Product) -> _Product:
    wide = total.values.astype(np.float64, copy=False)  # the first block's is float32
    wide += more.values
    return _Product(wide, total.squares + more.squares)


@dataclass(frozen=True)
class _Multiply:
    """Multiplies the centred scatter matrix of a block of rows with ``directions``, shape (M, l)."""

    directions: NDArray[np.float32]
    mean: FloatArray

    def __call__(self, _start: int, rows: Csr) -> _Product:
        # The images of the centred rows sum to zero, so that rows need no centring the second time.
        offset = self.mean @ self.directions.astype(np.float64)
        images = projected(rows, self.directions, offset)
        values = np.zeros_like(self.directions)
        squares = compiled(_add_outer, contract=True)(
            rows.indptr, rows.indices, rows.data, images, values
        )
        return _Product(values, float(squares))


def _add_outer(
    indptr: IntArray, indices: IntArray, data: FloatArray, images: FloatArray, values: FloatArray
) -> float:
    """Add ``X^T images`` to ``values``; return the sum of the squares of X."""
    squares = 0.0
    for row in range(len(indptr) - 1):
        for place in range(indptr[row], indptr[row + 1]):
            x, column = data[place], np.uint32(indices[place])
            squares += np.float64(x) * x
            for c in range(images.shape[1]):
                values[column, c] += x * images[row, c]
    return squares
