"""Compare groups of cells over all genes: for the stage ``markers`` and for `scrcl.find_markers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scrcl.io.stream import Reading
from scrcl.markers.profiles import joined, profiles_of
from scrcl.markers.scores import GeneScores, gene_scores, gene_scores_within

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrcl.engine.stages.markers import MarkersSettings
    from scrcl.io.matrix import CellMatrix
    from scrcl.markers.profiles import Profiles
    from scrcl.markers.pseudobulk import Pairs
    from scrcl.prep.stats import MatrixStats
    from scrcl.typing import FloatArray, IntArray

__all__ = ["MOST_READS", "Compared", "compared"]


class Compared(NamedTuple):
    """Scores and profiles of all genes, and how they were found."""

    scores: GeneScores
    profiles: Profiles
    n_bins: int
    n_reads: int
    pairs: Pairs | None
    """of batches and clusters, if clusters were compared with cells of their own batches"""
    sums: FloatArray | None
    """shape (n_pairs, n_vars): sums of the counts of each pair; None without pairs, and for log values"""


MOST_READS = 5
"""Batches are compared one by one if histograms of all of them need no more reads of X."""


def compared(
    matrix: CellMatrix,
    stats: MatrixStats,
    groups: IntArray,
    settings: MarkersSettings,
    *,
    batches: IntArray | None = None,
    block_rows: int,
    reading: Callable[[], Reading] = Reading,
) -> Compared:
    """Compare each group of cells with all others, by a read of X for each part of the genes.

    Parameters
    ----------
    groups
        ndarray of int32, shape (n_obs,): group of each cell of the input, -1 for cells to leave out.
    batches
        ndarray of int32, shape (n_obs,): batch of each cell, within which groups are compared; None: over all cells.
    reading
        Called before each read; returns how to read.
    """
    from scrcl.markers.values import Bins, bins_and_parts, values_by_cluster

    pairs = None if batches is None else _pairs(groups, batches, matrix.n_vars)
    if pairs is not None:
        groups = pairs.codes
    n_groups = int(groups.max()) + 1
    n_bins, n_parts = bins_and_parts(matrix.n_vars, n_groups)
    rows = matrix.rows if stats.is_canonical else matrix.x
    mean, variance = stats.moments("log")
    bins = Bins.around(mean, variance, int(stats.retained.sum()), stats.gene_cells, n_bins)
    how: Any = {"test": settings.test, "tie_correct": settings.tie_correct}
    sums = None
    if pairs is not None and not stats.already_log:
        sums = np.zeros((n_groups, matrix.n_vars))
    scores, profiles = [], []
    for part in np.array_split(np.arange(matrix.n_vars), n_parts):
        genes = range(int(part[0]), int(part[-1]) + 1)
        values = values_by_cluster(
            rows(block_rows),
            genes,
            labels=groups,
            n_clusters=n_groups,
            bins=bins.of(genes),
            cell_sums=None if stats.already_log else stats.cell_counts,
            reading=reading(),
            # Each part of the genes is a read of all rows, so the first is enough.
            sums=None if genes.start else sums,
        )
        if pairs is None:
            scores.append(gene_scores(values, **how))
        else:
            scores.append(gene_scores_within(values, pairs.clusters, pairs.donors, **how))
            values = values.pooled(pairs.clusters)
        profiles.append(profiles_of(values))
    whole = GeneScores(*(np.concatenate(arrays) for arrays in zip(*scores, strict=True)))
    return Compared(whole, joined(profiles), n_bins, n_parts, pairs, sums)


def _pairs(clusters: IntArray, batches: IntArray, n_vars: int) -> Pairs | None:
    """Return the pairs; None for one batch, and where all pairs need more reads than are worth it."""
    from scrcl.markers.pseudobulk import pairs_of
    from scrcl.markers.values import bins_and_parts

    pairs = pairs_of(batches, clusters)
    n_pairs = len(pairs.donors)
    if len(np.unique(pairs.donors)) < 2 or bins_and_parts(n_vars, n_pairs)[1] > MOST_READS:
        return None
    return pairs
