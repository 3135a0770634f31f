"""A picture's coordinates: UMAP of a sample of cells."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import derive_seed, drawn_rows

if TYPE_CHECKING:
    from scrcl.typing import FloatArray, IntArray

__all__ = ["sample_cells", "umap_layout"]


def sample_cells(n_cells: int, n_sample: int, *, seed: int) -> IntArray:
    """Cells of the picture, ascending: all of them, or ``n_sample`` drawn uniformly."""
    return drawn_rows(n_cells, n_sample, seed, "report.sample")


def umap_layout(points: FloatArray, *, seed: int) -> FloatArray:
    """Two coordinates a point, shape (n, 2); the same on every run with the same seed."""
    from umap import UMAP

    points = np.ascontiguousarray(points, dtype=np.float32)
    n_neighbors = min(15, len(points))
    model = UMAP(
        n_neighbors=n_neighbors,
        # Neighbours of our own: UMAP's search compiles for tens of seconds before it begins.
        precomputed_knn=_neighbours(points, n_neighbors, seed=seed),
        random_state=derive_seed(seed, "report.umap") % 2**32,
        n_jobs=1,
        init="spectral" if len(points) > 3 * n_neighbors else "random",
    )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # disconnected graphs and spectral fallbacks only move islands
        layout: FloatArray = model.fit_transform(points)
    return layout


def _neighbours(points: FloatArray, k: int, *, seed: int) -> tuple[IntArray, FloatArray]:
    """Ids and distances of ``k`` neighbours, each point its own first, as UMAP counts them."""
    from scrcl.graph.knn import knn

    found = knn(points, k - 1, seed=seed)
    own = np.arange(len(points), dtype=np.int32)[:, None]
    nowhere = np.zeros((len(points), 1), dtype=np.float32)
    return np.hstack([own, found.ids]), np.hstack([nowhere, found.distances])
