"""UMAP of a subset of the cells, for the scatter plot of the report."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import derive_seed, drawn_rows

if TYPE_CHECKING:
    from scrcl.typing import FloatArray, IntArray

__all__ = ["subset_of_cells", "umap_layout"]


def subset_of_cells(n_cells: int, n_subset: int, *, seed: int) -> IntArray:
    """Cells to draw, ascending: all of them, or ``n_subset`` chosen uniformly at random."""
    return drawn_rows(n_cells, n_subset, seed, "report.sample")


def umap_layout(points: FloatArray, *, seed: int) -> FloatArray:
    """UMAP coordinates, ndarray of float32, shape (n_cells, 2); the same for the same seed.

    Parameters
    ----------
    points
        ndarray, shape (n_cells, n_dims), with at least two rows.
    """
    from umap import UMAP

    points = np.ascontiguousarray(points, dtype=np.float32)
    n_neighbors = min(15, len(points))
    model = UMAP(
        n_neighbors=n_neighbors,
        # UMAP's own neighbour search compiles for tens of seconds before it starts.
        precomputed_knn=_neighbours(points, n_neighbors, seed=seed),
        random_state=derive_seed(seed, "report.umap") % 2**32,
        n_jobs=1,  # several threads would make the result depend on their order
        init="spectral" if len(points) > 3 * n_neighbors else "random",
    )
    with warnings.catch_warnings():
        # UMAP warns of a disconnected graph or a failed spectral start. Either only changes where
        # separate groups of cells are put, which has no meaning anyway.
        warnings.simplefilter("ignore")
        layout: FloatArray = model.fit_transform(points)
    return layout


def _neighbours(points: FloatArray, k: int, *, seed: int) -> tuple[IntArray, FloatArray]:
    """Ids and distances of ``k`` neighbours; the first is the point itself, as UMAP expects."""
    from scrcl.graph.knn import knn

    found = knn(points, k - 1, seed=seed)
    own = np.arange(len(points), dtype=np.int32)[:, None]
    zeros = np.zeros((len(points), 1), dtype=np.float32)
    return np.hstack([own, found.ids]), np.hstack([zeros, found.distances])
