"""Assign new cells to the clusters of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl.cluster.margin import BLOCK_VALUES, margins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["LOW_CONFIDENCE", "Assigned", "assign", "assign_blocks", "familiarity", "likeness"]

LOW_CONFIDENCE = 0.2


class Assigned(NamedTuple):
    """The cluster of each cell, and its margin."""

    labels: NDArray[np.int32]
    margin: NDArray[np.float32]


def assign_blocks(
    points: FloatArray, centres: FloatArray, owners: IntArray, centroids: FloatArray
) -> Assigned:
    from scrcl.io.arrays import release, row_blocks

    block_rows = max(BLOCK_VALUES // max(len(centres), points.shape[1]), 1)
    parts = []
    for start, stop in row_blocks(len(points), block_rows):
        parts.append(assign(np.array(points[start:stop]), centres, owners, centroids))
        release(points)
    labels, margin = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Assigned(labels, margin)


def familiarity(
    scores: FloatArray, near: IntArray, points: FloatArray, ids: IntArray, drawn: IntArray
) -> NDArray[np.float32]:
    usual = np.sort(likeness(points[drawn], points, ids[drawn]))
    alike = likeness(scores, points, near)
    return (np.searchsorted(usual, alike, side="right") / len(usual)).astype(np.float32)


def assign(
    points: FloatArray, centres: FloatArray, owners: IntArray, centroids: FloatArray
) -> Assigned:
    """Assign points to the cluster of the nearest centre; of equally near ones the first.

    Parameters
    ----------
    points, centres, centroids
        ndarrays of float32, shapes (n_points, n_dims), (n_centres, n_dims) and (n_clusters, n_dims).
    owners
        ndarray of int, shape (n_centres,): the cluster of each centre.

    Returns
    -------
    Assigned
        The margin is that between the centroids of the clusters: `margins`.
    """
    from scipy.spatial.distance import cdist

    labels = owners[cdist(points, centres).argmin(axis=1)].astype(np.int32)
    return Assigned(labels, margins(points, labels, centroids))


def likeness(scores: FloatArray, points: FloatArray, ids: IntArray) -> NDArray[np.float32]:
    """Return the mean cosine of each row of ``scores`` and its neighbours, rows ``ids`` of ``points``.

    Parameters
    ----------
    scores, points
        ndarrays or memory maps of float32, shapes (n, n_dims) and (n_points, n_dims).
    ids
        ndarray or memory map of int, shape (n, k).
    """
    from scrcl.io.arrays import release, row_blocks

    alike = np.empty(len(scores), np.float32)
    for start, stop in row_blocks(
        len(scores), max(BLOCK_VALUES // (ids.shape[1] * scores.shape[1]), 1)
    ):
        near = _unit(np.asarray(points[np.asarray(ids[start:stop])])).mean(axis=1)
        alike[start:stop] = np.einsum("ij,ij->i", _unit(np.asarray(scores[start:stop])), near)
        release(points)
        release(scores)
    return alike


def _unit(rows: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12))
