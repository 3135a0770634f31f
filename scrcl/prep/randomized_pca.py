"""Principal components of a feature store: from its Gram matrix, or from passes over its rows.

With many genes the Gram matrix is too large. Then a block Krylov method finds the leading eigenvectors of the
centred scatter matrix ``C = (X - mean)^T (X - mean)`` without forming it. The method starts from random
directions Q and multiplies by C again and again; each product ``C Q`` is one pass over the rows. The solution
is the best one in the space spanned by all blocks so far (Rayleigh-Ritz).

References
----------
Musco and Musco, NeurIPS 28 (2015), "Randomized block Krylov methods for stronger and faster approximate
singular value decomposition", algorithm 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from scrcl._compiled import compiled
from scrcl._random import stream
from scrcl._threads import one_blas_thread
from scrcl.errors import InputError
from scrcl.io.stream import Reading, reduce_rows
from scrcl.prep.pca import fit_pca, pca_from_eigenpairs, project_block, require_comps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.prep.feature_store import FeatureStore
    from scrcl.prep.pca import Pca
    from scrcl.typing import Csr, FloatArray, IntArray, OnRows

__all__ = ["GRAM_GENES", "fit_pca_store", "uses_gram"]

_Solver: TypeAlias = Literal["auto", "gram", "randomized"]

GRAM_GENES = 4096
"""Most genes for which ``auto`` uses the Gram matrix. It then takes 134 MB, its eigenvectors 7 s."""


def uses_gram(solver: _Solver, n_genes: int) -> bool:
    """Return whether the components of ``n_genes`` genes come from their Gram matrix."""
    return solver == "gram" or (solver == "auto" and n_genes <= GRAM_GENES)


def fit_pca_store(
    store: FeatureStore,
    n_comps: int,
    *,
    solver: _Solver = "auto",
    seed: int = 0,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> Pca:
    """Return the principal components of the cells in ``store``.

    Parameters
    ----------
    solver
        ``"gram"``: exact, from the Gram matrix in the store, without reading a row.
        ``"randomized"``: from passes over the rows. ``"auto"``: depends on the number of genes.

    Raises
    ------
    InputError
        ``n_comps`` is out of range, or the store lacks the Gram matrix that the solver needs.
    """
    if not uses_gram(solver, store.n_vars):
        return fit_pca_randomized(store, n_comps, seed=seed, n_workers=n_workers, on_rows=on_rows)
    if not store.has_gram:
        message = (
            f"store must hold the Gram matrix for solver {solver!r}; got {store.folder} without. "
            "Write it with_gram, or choose solver 'randomized'."
        )
        raise InputError(message)
    return fit_pca(store.gram(), store.sums(), store.n_obs, n_comps=n_comps)


def fit_pca_randomized(
    store: FeatureStore,
    n_comps: int,
    *,
    seed: int = 0,
    n_oversamples: int = 10,
    max_passes: int = 20,
    tolerance: float = 1e-4,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> Pca:
    """Return the leading components from passes over the sparse rows.

    The bits do not depend on the number of workers. With ``l = n_comps + n_oversamples``, memory holds
    ``n_workers + 3`` float32 matrices of M by l, and a float64 basis of M by l for each pass.

    Parameters
    ----------
    n_oversamples
        Directions in each block beyond the components.
    max_passes
        Largest number of passes over the rows. Seven to fifteen are usual.
    tolerance
        Passes end when ``|C v - s v| <= tolerance * s`` for each component v with eigenvalue s.
    on_rows
        Called with the number of rows of each block, in each pass.

    Raises
    ------
    InputError
        ``n_comps`` is out of range.
    """
    require_comps(n_comps, store.n_obs, store.n_vars)
    mean = store.sums() / store.n_obs
    width = min(n_comps + n_oversamples, store.n_vars)
    start = stream(seed, "graph.randomized").standard_normal((store.n_vars, width))
    x = store.x_parts()
    with one_blas_thread():
        # `basis` holds orthonormal blocks Q; `inner` is Q^T C Q, the matrix C in that basis.
        basis: list[NDArray[np.float64]] = []
        inner = np.empty((0, 0))
        block = np.linalg.qr(start)[0]
        while True:
            product = reduce_rows(
                x,
                _Multiply(block.astype(np.float32), mean),
                _add,
                Reading(n_workers, on_rows),
            )
            image = product.values.astype(np.float64)
            basis.append(block)
            inner = _bordered(inner, np.vstack([each.T @ image for each in basis]))
            values, weights = np.linalg.eigh(inner)
            values, weights = values[: -n_comps - 1 : -1], weights[:, : -n_comps - 1 : -1]
            # C maps all earlier blocks into the basis. So C v leaves it only through the newest block, and
            # the part of `image` outside the basis gives the residuals without another pass.
            following, rest = _orthogonal(image, basis)
            residuals = np.linalg.norm(rest @ weights[-block.shape[1] :], axis=0)
            room = store.n_vars - len(inner)
            converged = len(values) == n_comps and (residuals <= tolerance * values).all()
            if converged or len(basis) == max_passes or not room:
                break
            block = following[:, :room]
        parts = np.split(weights, np.cumsum([each.shape[1] for each in basis])[:-1])
        vectors = sum(each @ part for each, part in zip(basis, parts, strict=True))
    # Trace of C: the sum of all eigenvalues.
    total = max(product.squares - store.n_obs * float(mean @ mean), 0.0)
    return pca_from_eigenpairs(values, vectors, mean, store.n_obs, total=total)


def _bordered(inner: FloatArray, column: FloatArray) -> NDArray[np.float64]:
    """Return the symmetric matrix ``inner`` with one more block of columns and rows."""
    n_before, width = len(inner), column.shape[1]
    wider = np.zeros((n_before + width, n_before + width))
    wider[:n_before, :n_before] = inner
    wider[:, n_before:] = column
    wider[n_before:, :n_before] = column[:n_before].T
    corner = column[n_before:]
    wider[n_before:, n_before:] = (corner + corner.T) / 2  # symmetric but for rounding
    return wider


def _orthogonal(
    image: NDArray[np.float64], basis: list[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Q and R of the part of ``image`` orthogonal to ``basis``.

    Gram-Schmidt runs twice. After one run, small columns still have rounding errors along the basis.
    """
    rest = np.eye(image.shape[1])
    for _ in range(2):
        for block in basis:
            image = image - block @ (block.T @ image)
        image, factor = (part.astype(np.float64, copy=False) for part in np.linalg.qr(image))
        rest = factor @ rest
    return image, rest


@dataclass(frozen=True)
class _Product:
    """Contribution of some rows to ``C Q``, and the sum of their squared values."""

    values: FloatArray
    squares: float


def _add(total: _Product, more: _Product) -> _Product:
    wide = total.values.astype(np.float64, copy=False)  # float32 after the first block
    wide += more.values
    return _Product(wide, total.squares + more.squares)


@dataclass(frozen=True)
class _Multiply:
    """Multiplies the centred scatter matrix of a block of rows by ``directions``, shape (M, l)."""

    directions: NDArray[np.float32]
    mean: FloatArray

    def __call__(self, _start: int, rows: Csr) -> _Product:
        # Images of centred rows sum to zero over all rows, so X^T images equals (X - mean)^T images.
        offset = self.mean @ self.directions.astype(np.float64)
        images = project_block(rows, self.directions, offset)
        values = np.zeros_like(self.directions)
        squares = compiled(_add_outer, contract=True)(
            rows.indptr, rows.indices, rows.data, images, values
        )
        return _Product(values, float(squares))


def _add_outer(
    indptr: IntArray, indices: IntArray, data: FloatArray, images: FloatArray, values: FloatArray
) -> float:
    """Add ``X^T images`` to ``values``, and return the sum of the squares of X.

    Parameters
    ----------
    indptr, indices, data
        Rows X as CSR float32.
    images
        float32, shape (n_rows, l).
    values
        float32, shape (M, l). Sums cover one block, so float32 is accurate enough.
    """
    squares = 0.0
    for row in range(len(indptr) - 1):
        for at in range(indptr[row], indptr[row + 1]):
            # Unsigned, so numba adds no branch for negative indices.
            x, column = data[at], np.uint32(indices[at])
            squares += np.float64(x) * x
            for c in range(images.shape[1]):
                values[column, c] += x * images[row, c]
    return squares
