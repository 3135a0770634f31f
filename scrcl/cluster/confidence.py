"""How sure the cluster of a cell is, from 0 to 1, without labels.

The mean of two numbers: its margin between the centroids, in what was clustered, and the share of its neighbours
in the cell graph that are in its cluster. One sees cells between two clusters, the other cells whose
neighbourhood is elsewhere. Of nine ways on nine labelled sets two told wrong cells a little better, at more work or
on a scale that shrinks as clusters grow in number: `bench/results/prediction/2026-11-21-2cpu-confidence.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.cluster.margin import BLOCK_VALUES, margins
from scrcl.io.arrays import release, row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.graph.csr import Graph
    from scrcl.typing import FloatArray, IntArray

__all__ = ["UNSURE", "confidence", "describe_confidence", "shares_alike"]

UNSURE = 0.5
"""Cells of less confidence are counted apart."""


def confidence(
    points: FloatArray,
    labels: IntArray,
    centroids: FloatArray,
    graph: Graph,
    *,
    block_values: int = BLOCK_VALUES,
) -> NDArray[np.float32]:
    """Return the confidence of each cell; points and edges are read once, in blocks.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_cells, n_dims): what was clustered.
    labels, centroids
        The cluster of each cell, shape (n_cells,), and the mean of each cluster, shape (n_clusters, n_dims).
    graph
        The cell graph; a cell without neighbours has its margin alone.
    block_values
        Values at a time; changes no result.

    Returns
    -------
    ndarray of float32, shape (n_cells,)
    """
    found = np.empty(len(points), np.float32)
    for start, stop in row_blocks(len(points), max(block_values // max(centroids.shape), 1)):
        margin = margins(np.asarray(points[start:stop]), labels[start:stop], centroids)
        alike = shares_alike(graph, labels, start, stop)
        found[start:stop] = (margin + np.where(np.isnan(alike), margin, alike)) / 2
        release(points)
        release(graph.indices)
    return found


def shares_alike(graph: Graph, labels: IntArray, start: int, stop: int) -> NDArray[np.float64]:
    """Return the share of neighbours with the same label, of the nodes from ``start`` to ``stop``; NaN without any."""
    bounds = graph.indptr[start : stop + 1]
    degrees = np.diff(bounds)
    rows = np.repeat(np.arange(stop - start), degrees)
    near = labels[np.asarray(graph.indices[bounds[0] : bounds[-1]])]
    same = np.bincount(rows, near == labels[start:stop][rows], minlength=stop - start)
    alike = np.full(stop - start, np.nan)
    np.divide(same, degrees, out=alike, where=degrees > 0)
    return alike


def describe_confidence(sure: FloatArray, labels: IntArray) -> dict[str, Any]:
    """Return quantiles over all cells, and the median and the number of unsure cells of each cluster."""
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels))
    by_cluster = np.split(sure[order], ends[:-1])
    quantiles = np.quantile(sure, (0.05, 0.25, 0.5, 0.75, 0.95))
    return {
        "mean": float(sure.mean()),
        **{f"p{share}": float(v) for share, v in zip((5, 25, 50, 75, 95), quantiles, strict=True)},
        "n_unsure": int(np.count_nonzero(sure < UNSURE)),
        "median_by_cluster": [float(np.median(values)) for values in by_cluster],
        "unsure_by_cluster": [int(np.count_nonzero(values < UNSURE)) for values in by_cluster],
    }
