"""Assign new cells to the clusters of a run, with two measures of how well they fit.

A new cell gets the cluster of the nearest micro-cluster mean. The two measures are from 0 to 1 and use no labels.

margin
    ``1 - a / b``: ``a`` is the distance to the mean of its cluster, ``b`` to the nearest mean of another cluster
    (`scrcl.cluster.margin`). 0 on the border of two clusters. It finds cells between clusters.
familiarity
    The mean cosine between component scores of the cell and of its nearest cells in the run, as a rank: the
    share of the run's own cells that are at most as similar to their neighbours. Near 0 for cells unlike any in the
    run, one half for the median cell of the run. It finds cells of a new type, which may be well inside one cluster by
    the margin, but far from its cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.cluster.margin import BLOCK_VALUES, margins
from scrcl.io.arrays import release, row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["Assigned", "assign", "assign_blocks", "familiarity", "mean_cosines", "nearness"]


class Assigned(NamedTuple):
    """The cluster of each new cell, and its margin."""

    labels: NDArray[np.int32]
    """shape (n_points,)"""
    margin: NDArray[np.float32]
    """shape (n_points,): 0 to 1"""


def assign_blocks(
    points: FloatArray,
    micro_means: FloatArray,
    cluster_of_micro: IntArray,
    cluster_means: FloatArray,
) -> Assigned:
    """Return what `assign` returns, for points that are a memory map; they are read in blocks."""
    block_rows = max(BLOCK_VALUES // max(len(micro_means), points.shape[1]), 1)
    parts = []
    for start, stop in row_blocks(len(points), block_rows):
        block = np.array(points[start:stop])
        parts.append(assign(block, micro_means, cluster_of_micro, cluster_means))
        release(points)
    labels, margin = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Assigned(labels, margin)


def assign(
    points: FloatArray,
    micro_means: FloatArray,
    cluster_of_micro: IntArray,
    cluster_means: FloatArray,
) -> Assigned:
    """Assign points to the cluster of the nearest micro-cluster mean. If several are equally near, the first counts.

    Parameters
    ----------
    points, micro_means, cluster_means
        ndarrays of float32, shapes (n_points, n_dims), (n_micro, n_dims) and (n_clusters, n_dims).
    cluster_of_micro
        ndarray of int, shape (n_micro,): the cluster of each micro-cluster.

    Returns
    -------
    Assigned
        The margin is between cluster means (`margins`). Between micro-cluster means it would be no measure of
        confidence, but near chance: `bench/results/prediction/2026-11-21-2cpu-confidence.md`.
    """
    from scipy.spatial.distance import cdist

    labels = cluster_of_micro[cdist(points, micro_means).argmin(axis=1)].astype(np.int32)
    return Assigned(labels, margins(points, labels, cluster_means))


def familiarity(
    scores: FloatArray,
    near: IntArray,
    run_scores: FloatArray,
    run_ids: IntArray,
    subset: IntArray,
) -> NDArray[np.float32]:
    """Return how similar new cells are to their neighbours, as a rank among cells of the run.

    Parameters
    ----------
    scores
        ndarray or memory map of float32, shape (n_new, n_comps): component scores of the new cells.
    near
        ndarray or memory map of int, shape (n_new, k): their nearest cells in the run.
    run_scores, run_ids
        Component scores of the run's cells, shape (n_cells, n_comps), and their neighbours, shape (n_cells, k).
    subset
        ndarray of int: cells of the run to compare with. A subset bounds the work.

    Returns
    -------
    ndarray of float32, shape (n_new,)
        Share of the subset with a mean cosine that is at most as large: 0 to 1.
    """
    usual = np.sort(mean_cosines(run_scores[subset], run_scores, run_ids[subset]))
    found = mean_cosines(scores, run_scores, near)
    return (np.searchsorted(usual, found, side="right") / len(usual)).astype(np.float32)


def nearness(
    points: FloatArray,
    labels: IntArray,
    cluster_means: FloatArray,
    run_points: FloatArray,
    run_labels: IntArray,
) -> NDArray[np.float32]:
    """Return how near new cells are to the mean of their domain, as a rank among cells of the run in that domain.

    It is the familiarity in a tissue: averages have no neighbours in the run whose cosine could be taken.

    Parameters
    ----------
    points, labels
        The new cells: ndarray or memory map of float32, shape (n_new, n_dims), and int, shape (n_new,).
    cluster_means
        ndarray of float32, shape (n_clusters, n_dims).
    run_points, run_labels
        The same of some cells of the run.

    Returns
    -------
    ndarray of float32, shape (n_new,)
        Share of the run's cells of the domain that are at least as far from its mean: 0 to 1, and 0 where there are
        none.
    """
    there = _to_mean(run_points, run_labels, cluster_means)
    here = _to_mean(points, labels, cluster_means)
    found = np.zeros(len(here), np.float32)
    for cluster in np.unique(labels):
        own, usual = labels == cluster, np.sort(there[run_labels == cluster])
        if len(usual):
            found[own] = 1 - np.searchsorted(usual, here[own]) / len(usual)
    return found


def _to_mean(points: FloatArray, labels: IntArray, cluster_means: FloatArray) -> FloatArray:
    """Return the distance of each point to the mean of its cluster."""
    found = np.empty(len(points))
    for start, stop in row_blocks(len(points), BLOCK_VALUES // points.shape[1]):
        away = points[start:stop] - cluster_means[labels[start:stop]]
        found[start:stop] = np.linalg.norm(away, axis=1)
        release(points)
    return found


def mean_cosines(scores: FloatArray, run_scores: FloatArray, ids: IntArray) -> NDArray[np.float32]:
    """Return the mean cosine between each row of ``scores`` and its neighbours, rows ``ids`` of ``run_scores``.

    Parameters
    ----------
    scores, run_scores
        ndarrays or memory maps of float32, shapes (n, n_comps) and (n_cells, n_comps).
    ids
        ndarray or memory map of int, shape (n, k).

    Returns
    -------
    ndarray of float32, shape (n,)
        0 for a row of zeros.
    """
    found = np.empty(len(scores), np.float32)
    block_rows = max(BLOCK_VALUES // (ids.shape[1] * scores.shape[1]), 1)
    for start, stop in row_blocks(len(scores), block_rows):
        # The mean of cosines is the product with the mean of the unit vectors.
        near = _unit(np.asarray(run_scores[np.asarray(ids[start:stop])])).mean(axis=1)
        found[start:stop] = np.einsum("ij,ij->i", _unit(np.asarray(scores[start:stop])), near)
        release(run_scores)
        release(scores)
    return found


def _unit(rows: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12))
