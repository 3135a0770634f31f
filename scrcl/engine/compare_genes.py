"""Compare groups of cells over all genes: for the stage ``markers`` and for `scrcl.find_markers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrcl.engine.stages.markers import MarkersSettings
    from scrcl.io.matrix import CellMatrix
    from scrcl.markers.profiles import Profiles
    from scrcl.markers.scores import GeneScores
    from scrcl.prep.stats import MatrixStats
    from scrcl.typing import IntArray, OnRows

__all__ = ["Compared", "compared"]


class Compared(NamedTuple):
    """Scores and profiles of all genes, and how they were found."""

    scores: GeneScores
    profiles: Profiles
    n_bins: int
    n_reads: int


def compared(
    matrix: CellMatrix,
    stats: MatrixStats,
    groups: IntArray,
    settings: MarkersSettings,
    *,
    block_rows: int,
    n_workers: int,
    count: Callable[[], OnRows | None] = lambda: None,
    client: Any = None,
) -> Compared:
    """Compare each group of cells with all others, by a read of X for each part of the genes.

    Parameters
    ----------
    groups
        ndarray of int32, shape (n_obs,): group of each cell of the input, -1 for cells to leave out.
    count
        Called before each read; returns what to call as it advances.
    """
    from scrcl.markers.profiles import joined, profiles_of
    from scrcl.markers.scores import GeneScores, gene_scores
    from scrcl.markers.values import Bins, bins_and_parts, values_by_cluster

    n_groups = int(groups.max()) + 1
    n_bins, n_parts = bins_and_parts(matrix.n_vars, n_groups)
    rows = matrix.rows if stats.is_canonical else matrix.x
    mean, variance = stats.moments("log")
    bins = Bins.around(mean, variance, int(stats.retained.sum()), stats.gene_cells, n_bins)
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
            n_workers=n_workers,
            on_rows=count(),
            client=client,
        )
        scores.append(gene_scores(values, test=settings.test, tie_correct=settings.tie_correct))
        profiles.append(profiles_of(values))
    whole = GeneScores(*(np.concatenate(arrays) for arrays in zip(*scores, strict=True)))
    return Compared(whole, joined(profiles), n_bins, n_parts)
