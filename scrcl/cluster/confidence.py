"""Confidence of the cluster of each cell, from 0 to 1. Reads no labels of the user.

It is the mean of two numbers: the margin between cluster means, in the space that is clustered, and the share of
neighbours in the cell graph that are in the same cluster. The margin is low for cells between two clusters, the
share for cells whose neighbours are in another cluster.

Nine candidates were compared on nine labelled sets, by the area under the curve of correctly labelled cells:
`bench/results/prediction/2026-11-21-2cpu-confidence.md`. Two had a slightly larger area (by 0.01). They need more work,
and their values fall as the number of clusters grows, so that no fixed limit separates low confidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl.cluster.margin import BLOCK_VALUES, margins
from scrcl.io.arrays import release, row_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scrcl.graph.csr import Graph
    from scrcl.typing import FloatArray, IntArray

__all__ = [
    "LOW_CONFIDENCE",
    "LOW_PREDICTION_CONFIDENCE",
    "ConfidenceSummary",
    "Quantiles",
    "confidence",
    "describe_confidence",
    "low_clusters",
    "quantiles_of",
    "shares_alike",
]

# The middle of the scale. On nine labelled sets, 2% to 27% of the cells are below it. Of these, 26% to 50% are in the
# right cluster, against 67% to 98% of all cells; the exceptions are breast and one of two runs of klein, with 76% to
# 79%. Measured in bench/results/prediction/2026-11-21-2cpu-confidence.md.
LOW_CONFIDENCE = 0.5
"""Cells of a run below this confidence are counted as uncertain."""

# Predictions have a lower scale: familiarity is a rank, so it is one half for the median cell. When a type was held
# out from the run, 54% of its cells were below 0.2 and 9% of the other new cells, as means over nine labelled sets.
# Measured in bench/results/prediction/2026-11-21-2cpu.md.
LOW_PREDICTION_CONFIDENCE = 0.2
"""New cells below this confidence are counted as uncertain."""


@dataclass(frozen=True)
class Quantiles:
    """Mean and quantiles of a confidence over cells."""

    mean: float
    p5: float
    p25: float
    p50: float
    p75: float
    p95: float


@dataclass(frozen=True)
class ConfidenceSummary(Quantiles):
    """Confidence of all cells, and by cluster.

    Attributes
    ----------
    n_low
        Cells of a confidence below `LOW_CONFIDENCE`.
    median_by_cluster, low_by_cluster
        Median, and number of cells of low confidence, for each cluster.
    """

    n_low: int
    median_by_cluster: list[float]
    low_by_cluster: list[int]


def confidence(
    points: FloatArray,
    labels: IntArray,
    cluster_means: FloatArray,
    graph: Graph,
    *,
    block_values: int = BLOCK_VALUES,
) -> NDArray[np.float32]:
    """Return the confidence of each cell. Points and edges are read once, in blocks.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_cells, n_dims): the embedding that is clustered.
    labels, cluster_means
        Cluster of each cell, shape (n_cells,), and mean of each cluster, shape (n_clusters, n_dims).
    graph
        The cell graph.
    block_values
        Values in a block; changes no result.

    Returns
    -------
    ndarray of float32, shape (n_cells,)
        The margin alone for cells without neighbours.
    """
    found = np.empty(len(points), np.float32)
    for start, stop in row_blocks(len(points), max(block_values // max(cluster_means.shape), 1)):
        margin = margins(np.asarray(points[start:stop]), labels[start:stop], cluster_means)
        shares = shares_alike(graph, labels, start, stop)
        found[start:stop] = (margin + np.where(np.isnan(shares), margin, shares)) / 2
        # Pages of memory maps count as memory of the process until they are released.
        release(points)
        release(graph.indices)
    return found


def shares_alike(graph: Graph, labels: IntArray, start: int, stop: int) -> NDArray[np.float64]:
    """Return the share of neighbours with the same label, for nodes ``start`` to ``stop``; NaN if there are none."""
    bounds = graph.indptr[start : stop + 1]
    degrees = np.diff(bounds)
    rows = np.repeat(np.arange(stop - start), degrees)
    near = labels[np.asarray(graph.indices[bounds[0] : bounds[-1]])]
    same = np.bincount(rows, near == labels[start:stop][rows], minlength=stop - start)
    shares = np.full(stop - start, np.nan)
    np.divide(same, degrees, out=shares, where=degrees > 0)
    return shares


def low_clusters(medians: Sequence[float]) -> list[int]:
    """Return the clusters of low confidence, by the median of each."""
    return [cluster for cluster, median in enumerate(medians) if median < LOW_CONFIDENCE]


def quantiles_of(values: FloatArray) -> Quantiles:
    """Return mean and quantiles of the confidence of cells, shape (n_cells,)."""
    return Quantiles(
        float(values.mean()), *map(float, np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95)))
    )


def describe_confidence(values: FloatArray, labels: IntArray) -> ConfidenceSummary:
    """Return quantiles over all cells, and the median and number of low values of each cluster."""
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels))
    by_cluster = np.split(values[order], ends[:-1])
    return ConfidenceSummary(
        **vars(quantiles_of(values)),
        n_low=int(np.count_nonzero(values < LOW_CONFIDENCE)),
        median_by_cluster=[float(np.median(each)) for each in by_cluster],
        low_by_cluster=[int(np.count_nonzero(each < LOW_CONFIDENCE)) for each in by_cluster],
    )
