"""Component scores of the same cells and genes after other scalings of the counts.

Log values of counts per 10,000 are nearly binary where cells have far fewer counts than that. Two other scalings err
differently: log values of counts scaled to the median total, and Pearson residuals. Structure that all of them show
does not come from the scaling.

Both follow from the stored log values and the totals of the cells. So they need no further read of the input. If the
input has log values of counts, these hold the totals too: the smallest value of a cell is nearly always that of one
count.

References
----------
Lause, Berens and Kobak: Analytic Pearson residuals for normalization of single-cell RNA-seq UMI data, Genome Biology 22
(2021), 258.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._threads import one_blas_thread
from scrcl.prep.normalize import TARGET_SUM, at_depth, size_factors
from scrcl.prep.pca import fit_pca

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from scrcl.typing import Csr, FloatArray

    _Blocks = Callable[[], Iterator[FloatArray]]
    """Yields dense rows of one scaling, a block at a time, as often as it is called."""

__all__ = ["median_depth_scores", "residual_scores", "scores_inside", "totals_behind"]

_BLOCK_ROWS = 1024
"""Rows that are made dense at a time."""

_MOST_DENSE = 4096
"""Cells that are made dense at once. Of more, the products of genes are added up by blocks."""

_FEWEST_WITH_GENE = 3
"""Cells of a cluster that must have a gene for its own components."""

_THETA = 100.0
"""Residuals: the variance of a count is mean + mean^2 / theta, as in scanpy."""

_WHOLE = 0.01
"""How far from a whole number a count may be. Float32 log values of counts are off by less up to 10,000 counts."""

_LEAST_WHOLE = 0.95
"""Share of the counts above one that must be whole. Of values that are no counts, one in fifty is whole by chance; in a
cell whose smallest count is two, half of them are."""

_FEWEST_COUNTS = 50
"""Counts above one that it takes to say whether values are counts."""


def totals_behind(logs: Csr) -> NDArray[np.float64] | None:
    """Return the totals of cells, up to one factor for all, from log values of their scaled counts.

    Parameters
    ----------
    logs
        CSR of float32, shape (n_cells, n_genes): natural logarithms of 1 + count * scale, with any scale for each cell.

    Returns
    -------
    ndarray of float64, shape (n_cells,)
        In proportion to the inverse of the scales; None if these are no log values of counts.
    """
    values, per_cell = np.expm1(logs.data.astype(np.float64)), np.diff(logs.indptr)
    filled = per_cell > 0
    if not filled.any() or values.min() <= 0:
        return None
    units = np.minimum.reduceat(values, logs.indptr[:-1][filled])
    counts = values / np.repeat(units, per_cell[filled])
    several = counts[counts > 1 + _WHOLE]
    is_whole = np.abs(several - np.rint(several)) < _WHOLE
    if len(several) < _FEWEST_COUNTS or is_whole.mean() < _LEAST_WHOLE:
        return None
    scales = np.full(len(per_cell), np.median(units))
    scales[filled] = units
    totals: NDArray[np.float64] = TARGET_SUM / scales
    return totals


def median_depth_scores(logs: Csr, totals: FloatArray, n_comps: int) -> NDArray[np.float32]:
    """Return scores of ``log(1 + count * median / total)``, with the median of the totals.

    Parameters
    ----------
    logs
        CSR of float32, shape (n_cells, n_genes): log values of counts per 10,000.
    totals
        Shape (n_cells,), above 0: total of each cell over all genes. A factor of all totals changes nothing if log
        values have the same factor, as those of `totals_behind` do.
    n_comps
        Number of components; fewer if the data has fewer.

    Returns
    -------
    ndarray of float32, shape (n_cells, n_found)
        Memory: three float64 matrices of genes by genes, and a block of dense rows.
    """
    return _scores(_median_depth(logs, totals), logs.shape[1], n_comps)


def residual_scores(logs: Csr, totals: FloatArray, n_comps: int) -> NDArray[np.float32]:
    """Return scores of Pearson residuals, clipped at the root of the number of cells.

    A residual is the count less the one expected from the totals of cell and gene, in standard deviations. Parameters
    and result are those of `median_depth_scores`.
    """
    return _scores(_residuals(logs, totals), logs.shape[1], n_comps)


def scores_inside(logs: Csr, totals: FloatArray | None, n_comps: int) -> list[NDArray[np.float32]]:
    """Return scores of the log values and of both scalings, in components of these cells alone.

    Genes that hardly any of these cells have are left out, if others are left: their residuals would be the leading
    components.

    Parameters
    ----------
    logs, n_comps
        As for `median_depth_scores`.
    totals
        As for `median_depth_scores`; None if there are no counts behind the log values, and so no other scalings.

    Returns
    -------
    list of ndarray of float32, shape (n_cells, n_found) each
        Memory is that of `median_depth_scores`; up to 4,096 cells, that of two dense float32 matrices of cells by
        genes.
    """
    is_common = logs.getnnz(axis=0) >= _FEWEST_WITH_GENE
    if is_common.any():  # cells may have none of the selected genes
        logs = logs[:, is_common]
    kinds: list[_Blocks] = [lambda: (rows for _, rows in _dense(logs))]
    if totals is not None:
        kinds += [_median_depth(logs, totals), _residuals(logs, totals)]
    scores_of = _scores if logs.shape[0] > _MOST_DENSE else _scores_of_few
    return [scores_of(blocks, logs.shape[1], n_comps) for blocks in kinds]


def _median_depth(logs: Csr, totals: FloatArray) -> _Blocks:
    # A log value is log(1 + count / factor), and factors are proportional to totals.
    scale = float(size_factors(np.array([np.median(totals)]))[0])
    return lambda: (at_depth(rows, scale) for _, rows in _dense(logs))


def _residuals(logs: Csr, totals: FloatArray) -> _Blocks:
    factors, limit = size_factors(totals).astype(np.float64), np.sqrt(len(totals))
    share = np.zeros(logs.shape[1])
    with one_blas_thread():
        for at, rows in _dense(logs):
            share += factors[at] @ np.expm1(rows) / totals.sum()

    def blocks() -> Iterator[FloatArray]:
        for at, rows in _dense(logs):
            expected = totals[at, None] * share
            away = np.expm1(rows) * factors[at, None] - expected
            # Genes that these cells lack have no residuals.
            deviation = np.sqrt(expected + expected**2 / _THETA)
            np.divide(away, deviation, out=away, where=deviation > 0)
            yield np.clip(away, -limit, limit)

    return blocks


def _dense(logs: Csr) -> Iterator[tuple[slice, FloatArray]]:
    """Yield slices of rows, and these as dense float64."""
    for start in range(0, logs.shape[0], _BLOCK_ROWS):
        rows = logs[start : start + _BLOCK_ROWS].toarray().astype(np.float64)
        yield slice(start, start + len(rows)), rows


def _scores(blocks: _Blocks, n_genes: int, n_comps: int) -> NDArray[np.float32]:
    """Return the leading component scores of dense blocks of rows, which are made twice."""
    gram, sums, n_cells = np.zeros((n_genes, n_genes)), np.zeros(n_genes), 0
    with one_blas_thread():
        for rows in blocks():
            # Products of blocks in float32, which is twice as fast, and their sum in float64.
            narrow = rows.astype(np.float32)
            gram += narrow.T @ narrow
            sums += narrow.sum(axis=0, dtype=np.float64)
            n_cells += len(rows)
        pca = fit_pca(gram, sums, n_cells, n_comps=min(n_comps, n_cells - 1, n_genes))
        mean, loadings = sums / n_cells, pca.loadings.astype(np.float64)
        return np.concatenate([((rows - mean) @ loadings).astype(np.float32) for rows in blocks()])


def _scores_of_few(blocks: _Blocks, n_genes: int, n_comps: int) -> NDArray[np.float32]:
    """Return the same of few cells, within the noise of the last components, in a tenth of the time."""
    from sklearn.utils.extmath import randomized_svd

    rows = np.concatenate([block.astype(np.float32) for block in blocks()])
    rows -= rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    with one_blas_thread():
        left, values, _ = randomized_svd(rows, min(n_comps, len(rows) - 1, n_genes), random_state=0)
    scores: NDArray[np.float32] = (left * values).astype(np.float32)
    return scores
