"""A feature store read with other values: logarithms at another depth, and genes of unit variance.

The store holds ``log(1 + 10,000 x / total)``. For another depth t the value is ``log(1 + t / 10,000 (e^v - 1))``, a
function of the value v alone, so nothing is stored twice. Zeros stay zero, and a division by the deviation of each gene
keeps them too. Centring is left to the principal components.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scrcl.io.stream import Reading, reduce_rows
from scrcl.prep.gram import column_sums, packed_gram, unpack
from scrcl.prep.normalize import TARGET_SUM, at_depth

if TYPE_CHECKING:
    import dask.array as da
    from numpy.typing import NDArray

    from scrcl.prep.feature_store import FeatureStore
    from scrcl.typing import Csr, FloatArray, OnRows

__all__ = ["RescaledStore", "rescale"]

_LEAST_VARIANCE = 1e-12
"""Variance at or below which a gene is the same in all cells. It is then left as it is."""


@dataclass(frozen=True, eq=False)
class RescaledStore:
    """A `FeatureStore` with other values of the same cells and genes.

    `rescale` makes one with the sums that components are made of. Without them it can be projected.

    Attributes
    ----------
    store
        Where the values are.
    depth
        Sum of each cell before the logarithm; None: as stored.
    factors
        ndarray of float32, shape (n_vars,): what the values of each gene are multiplied by; None: by 1.
    """

    store: FeatureStore
    depth: float | None
    factors: NDArray[np.float32] | None
    _sums: NDArray[np.float64] | None = None
    _gram: NDArray[np.float64] | None = None

    @property
    def folder(self) -> object:
        """The folder of the store, for messages."""
        return self.store.folder

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.store.n_obs

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return self.store.n_vars

    @property
    def has_gram(self) -> bool:
        """Whether the products of the genes were summed."""
        return self._gram is not None

    def gram(self) -> FloatArray:
        """Return ``X^T X`` of the new values: ndarray of float64, shape (n_vars, n_vars)."""
        assert self._gram is not None
        return self._gram

    def sums(self) -> FloatArray:
        """Return the sum of each gene: ndarray of float64, shape (n_vars,)."""
        assert self._sums is not None
        return self._sums

    def parts(self) -> list[tuple[int, int]]:
        """Return the range of rows of each part."""
        return self.store.parts()

    def rows(self, start: int, stop: int) -> Csr:
        """Return rows with the new values."""
        return self._values(self.store.rows(start, stop))

    def x_parts(self) -> da.Array:
        """Return the parts as row blocks of CSR float32."""
        return self.store.x_parts().map_blocks(self._values, dtype=np.float32)

    @cached_property
    def _values(self) -> _Rescale:
        return _Rescale(self.depth, self.factors)


@dataclass(frozen=True)
class _Rescale:
    """Gives a block of rows its new values."""

    depth: float | None
    factors: NDArray[np.float32] | None

    def __call__(self, rows: Csr) -> Csr:
        values = rows.data
        if self.depth is not None:
            values = at_depth(values, self.depth / TARGET_SUM)
        if self.factors is not None:
            values = values * self.factors[rows.indices]
        return sparse.csr_matrix((values, rows.indices, rows.indptr), shape=rows.shape)


def rescale(
    store: FeatureStore,
    *,
    depth: float | None,
    unit_variance: bool,
    with_gram: bool,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
) -> RescaledStore:
    """Return a store with other values. It reads the rows once, for the sums that the components need.

    Parameters
    ----------
    depth
        Sum of each cell before the logarithm, above 0; None: as stored.
    unit_variance
        Divide each gene by its standard deviation (divisor n - 1).
    with_gram
        Sum the products of all pairs of genes.

    Notes
    -----
    Sums are in the order of the rows, so the number of workers changes no bit. Memory is that of `write_features`.
    """
    summed = reduce_rows(
        store.x_parts(),
        _Sum(_Rescale(depth, None), store.n_vars, with_gram=with_gram),
        _add,
        Reading(n_workers, on_rows),
    )
    sums, squares = summed.sums, summed.squares
    gram = None if summed.gram is None else unpack(summed.gram, store.n_vars)
    factors = None
    if unit_variance:
        variance = (squares - sums**2 / store.n_obs) / max(store.n_obs - 1, 1)
        varies = variance > _LEAST_VARIANCE
        exact = np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1)), 1)
        factors = exact.astype(np.float32)
        # What the rows will be multiplied by, so that sums and rows agree.
        used = factors.astype(np.float64)
        sums = sums * used
        gram = None if gram is None else gram * used * used[:, None]
    return RescaledStore(store, depth, factors, sums, gram)


@dataclass(frozen=True)
class _Sums:
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    gram: FloatArray | None


def _add(total: _Sums, more: _Sums) -> _Sums:
    total.sums[:] += more.sums
    total.squares[:] += more.squares
    if total.gram is None or more.gram is None:
        return total
    wide = total.gram.astype(np.float64, copy=False)  # float32 after the first block
    wide += more.gram
    return _Sums(total.sums, total.squares, wide)


@dataclass(frozen=True)
class _Sum:
    """Sums the new values of a block, their squares, and their products."""

    values: _Rescale
    n_vars: int
    with_gram: bool

    def __call__(self, _start: int, rows: Csr) -> _Sums:
        new = self.values(rows)
        return _Sums(
            column_sums(new.indices, new.data, self.n_vars),
            column_sums(new.indices, new.data.astype(np.float64) ** 2, self.n_vars),
            packed_gram(new.indptr, new.indices, new.data, self.n_vars) if self.with_gram else None,
        )
