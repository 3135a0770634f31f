"""A feature store read with other values: logarithms at another depth, and genes of unit variance.

The store holds ``log(1 + 10,000 x / total)``. For another depth t the value is ``log(1 + t / 10,000 (e^v - 1))``, a
function of the value v alone, so nothing is stored twice. Zeros stay zero, and a division by the deviation of each gene
keeps them too. Centring is left to the principal components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scrcl.io.stream import Reading, reduce_rows
from scrcl.prep.feature_store import FeatureStore
from scrcl.prep.gram import GramSums, added, column_sums, packed_gram, unpack
from scrcl.prep.normalize import TARGET_SUM, at_depth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import Csr, FloatArray, IntArray, OnRows

__all__ = ["RescaledStore", "rescale"]

_LEAST_VARIANCE = 1e-12
"""Variance at or below which a gene is the same in all cells. It is then left as it is."""


class RescaledStore(FeatureStore):
    """A `FeatureStore` with other values of the same cells and genes.

    `rescale` makes one with the sums that components are made of. Without them it can be projected.

    Parameters
    ----------
    store
        Where the values are.
    depth
        Sum of each cell before the logarithm; None: as stored.
    factors
        ndarray of float32, shape (n_vars,): what the values of each gene are multiplied by; None: by 1.
    sums, gram
        Of the new values.
    """

    def __init__(
        self,
        store: FeatureStore,
        depth: float | None,
        factors: NDArray[np.float32] | None,
        sums: NDArray[np.float64] | None = None,
        gram: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__(store.folder)
        self.depth, self.factors = depth, factors
        self._values, self._sums, self._gram = _Rescale(depth, factors), sums, gram

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

    def _csr(self, data: FloatArray, indices: IntArray, indptr: IntArray) -> Csr:
        return self._values(super()._csr(data, indices, indptr))


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
        added,
        Reading(n_workers, on_rows),
    )
    sums, squares = summed.sums
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
class _Sum:
    """Sums the new values of a block, their squares, and their products."""

    values: _Rescale
    n_vars: int
    with_gram: bool

    def __call__(self, _start: int, rows: Csr) -> GramSums:
        new = self.values(rows)
        sums = [
            column_sums(new.indices, values, self.n_vars)
            for values in (new.data, new.data.astype(np.float64) ** 2)
        ]
        gram = None
        if self.with_gram:
            gram = packed_gram(new.indptr, new.indices, new.data, self.n_vars)
        return GramSums(np.stack(sums), gram)
