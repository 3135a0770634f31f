"""Genes that vary from place to place, for the stage ``features``: one more read of X, of some cells or all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.engine.memory import TREE_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl._contract import Shape
    from scrcl.engine.context import Context
    from scrcl.prep.stats import MatrixStats
    from scrcl.typing import BoolArray, Csr, IntArray

__all__ = ["SpatialGenes", "select_spatial", "spatial_bytes"]

_MOST_CELLS = 10_000
"""Cells whose values are held at once to compare them with their neighbours."""

_FEWEST = 100
"""Genes that must vary from place to place. Of fewer, no components are made: the tissue is nearly homogeneous."""

_BYTES_PER_VALUE = 40
"""A value while genes are compared: as read, as logarithm, and by columns."""


class SpatialGenes(NamedTuple):
    """How far genes vary from place to place, and those that are selected by it."""

    morans_i: NDArray[np.float64]
    """shape (n_genes,); NaN for genes in hardly any cell"""
    n_varying: int
    """genes that vary from place to place beyond chance"""
    selected: BoolArray | None
    """shape (n_genes,); None if too few vary"""


def select_spatial(context: Context, stats: MatrixStats, enough: BoolArray) -> SpatialGenes:
    """Return Moran's I of each gene, and the genes that vary most from place to place.

    Parameters
    ----------
    enough
        ndarray of bool, shape (n_genes,): genes that may be selected.
    """
    from scrcl.graph.spatial import spatial_knn
    from scrcl.graph.spatial_genes import compared_cells, morans_i

    covariates = context.covariates.of(stats.retained)
    coordinates, layout = covariates.coordinates, covariates.layout
    assert coordinates is not None, "a run without coordinates selects by other flavors"
    assert layout is not None
    cells = compared_cells(coordinates, covariates.samples, _MOST_CELLS, context.config.seed)
    samples = None if covariates.samples is None else covariates.samples.of(cells)
    k = min(layout.n_neighbors, len(cells) - 1)
    if k < 1:
        return SpatialGenes(np.full(len(enough), np.nan), 0, None)
    groups = samples or (None if covariates.batches is None else covariates.batches.of(cells))
    found = morans_i(
        _values(context, stats, np.flatnonzero(stats.retained)[cells]),
        spatial_knn(coordinates[cells], k, samples=samples).ids,
        None if groups is None else groups.codes,
    )
    moran = np.where(enough, found.values, np.nan)
    order = np.argsort(-np.nan_to_num(moran, nan=-1.0), kind="stable")
    n_varying = int(np.count_nonzero(moran > found.least))
    if n_varying < _FEWEST:
        return SpatialGenes(moran, n_varying, None)
    selected = np.zeros(len(moran), bool)
    selected[order[: min(n_varying, context.config.features.n_selected(len(moran)))]] = True
    return SpatialGenes(moran, n_varying, selected)


def spatial_bytes(shape: Shape) -> int:
    """Return the bytes that `select_spatial` holds."""
    n = min(shape.n_cells, _MOST_CELLS)
    return TREE_BYTES * shape.n_cells + n * (
        int(_BYTES_PER_VALUE * max(shape.values_per_row, 1)) + 4 * 3 * 256
    )


def _values(context: Context, stats: MatrixStats, rows: IntArray) -> Csr:
    """Return log values of some rows of X, ascending, for all genes, at the depth that suits a tissue."""
    from scipy import sparse

    from scrcl.io.stream import Reading, map_rows
    from scrcl.prep.normalize import TARGET_SUM, log_normalize, size_factors

    matrix = context.matrix
    taken = np.zeros(matrix.n_obs, bool)
    taken[rows] = True

    def some_of(start: int, block: Csr) -> Csr:
        return block[np.flatnonzero(taken[start : start + block.shape[0]])]

    blocks = map_rows(
        matrix.x(context.budget.block_rows),
        some_of,
        Reading(context.budget.n_workers, context.count("spatial genes", matrix.n_obs)),
    )
    values = sparse.vstack([block for _, block in blocks], format="csr", dtype=np.float32)
    if stats.already_log:
        return values
    fixed = context.config.reduce.depth == "fixed"
    depth = TARGET_SUM if fixed else float(np.median(stats.cell_counts[stats.retained]))
    factors = size_factors(stats.cell_counts[rows], target_sum=depth)
    return log_normalize(values, factors=factors)
