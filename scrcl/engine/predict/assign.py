"""The stage ``cluster`` of a prediction: which cluster a new cell falls into, and how sure that is.

A cell goes to the cluster of the nearest centre (of the micro-clusters that the run merged, or of its
clusters). Its confidence is the geometric mean of two numbers from 0 to 1; no label enters either:

margin
    ``1 - a / b``, with ``a`` the distance to the mean of its cluster and ``b`` that to the nearest mean of any
    other, in what was clustered (`scrcl.cluster.margin`). 0 on the border of two clusters.
familiarity
    How alike the cell is to its nearest cells of the atlas: the mean cosine of their component scores,
    as the share of the atlas' own cells that are no more alike to theirs. Near 0 for cells of a kind that
    the atlas has not; a half for the median cell of the atlas.

A novel type may lie well inside one cluster, and far from its cells: the second number is there for that, the
first for cells between two clusters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scrcl.cluster.margin import BLOCK_VALUES, margins

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.engine.predict.atlas import Atlas
    from scrcl.engine.stage import Run
    from scrcl.typing import FloatArray, IntArray

__all__ = ["ATLAS_CELLS", "Assigned", "assign", "assign_cells", "likeness"]

ATLAS_CELLS = 20_000
"""Cells of the atlas, drawn uniformly, that familiarity is measured against."""


class Assigned(NamedTuple):
    """The cluster of each cell, and its margin."""

    labels: NDArray[np.int32]
    margin: NDArray[np.float32]


def assign_cells(atlas: Atlas, run: Run, folder: Path) -> dict[str, Any]:
    """Write ``labels.npy``, ``margin.npy``, ``familiarity.npy`` and ``confidence.npy``, one value a cell."""
    from scrcl.io.arrays import release, row_blocks

    there = atlas.opened(run)
    points = run.array("embed", run.config.clustered_on)
    centres, owners, centroids = (
        np.array(there.array("cluster", name)) for name in ("centres", "owners", "centroids")
    )
    block_rows = max(BLOCK_VALUES // max(len(centres), points.shape[1]), 1)
    parts = []
    for start, stop in row_blocks(len(points), block_rows):
        parts.append(assign(np.array(points[start:stop]), centres, owners, centroids))
        release(points)
    labels, margin = (np.concatenate(values) for values in zip(*parts, strict=True))
    familiarity = _familiarity(there, run)
    confidence = np.sqrt(margin * familiarity)
    for name, values in (
        ("labels", labels),
        ("margin", margin),
        ("familiarity", familiarity),
        ("confidence", confidence),
    ):
        np.save(folder / f"{name}.npy", values)
    quantiles = np.quantile(confidence, (0.05, 0.25, 0.5, 0.75, 0.95))
    return {
        "n_cells": len(labels),
        "n_clusters": len(np.unique(labels)),
        "n_clusters_atlas": atlas.n_clusters,
        "confidence": {
            "mean": float(confidence.mean()),
            **{
                f"p{share}": float(value)
                for share, value in zip((5, 25, 50, 75, 95), quantiles, strict=True)
            },
        },
    }


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


def _familiarity(there: Run, run: Run) -> NDArray[np.float32]:
    from scrcl._random import stream

    points, k = there.array("reduce", "scores"), run.config.graph.n_neighbors
    drawn = stream(run.config.seed, "predict.atlas").choice(
        len(points), min(ATLAS_CELLS, len(points)), replace=False, shuffle=False
    )
    drawn.sort()
    usual = np.sort(likeness(points[drawn], points, there.array("graph", "ids")[drawn]))
    alike = likeness(run.array("reduce", "scores"), points, run.array("graph", "ids")[:, :k])
    return (np.searchsorted(usual, alike, side="right") / len(usual)).astype(np.float32)


def _unit(rows: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12))
