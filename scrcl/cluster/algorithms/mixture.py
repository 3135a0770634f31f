"""A mixture of Gaussians that share one covariance: the model that the field uses for spatial domains (mclust's EEE).

Domains differ in their means, and vary within themselves in much the same directions: by depth, or by the types that a
neighbourhood holds. The shared covariance is what k-means lacks, and it is estimated from all cells, so a small domain
costs no accuracy. Likelihood has many local maxima: 20 short runs from k-means are compared, and the best few are run
to the end. So other seeds find the same maximum.

References
----------
Fraley and Raftery: Model-based clustering, discriminant analysis, and density estimation, Journal of the American
Statistical Association 97 (2002), 611-631.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import derive_seed, drawn_rows
from scrcl._threads import one_blas_thread
from scrcl.cluster.agglomerate import MergeCost
from scrcl.cluster.micro import micro_clusters_inside
from scrcl.cluster.protocol import Grouping
from scrcl.io.arrays import release, row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.mixture import GaussianMixture

    from scrcl.cluster.protocol import Spaces
    from scrcl.cluster.settings import ClusterSettings
    from scrcl.typing import FloatArray

__all__ = ["FIT_CELLS", "by_mixture", "fit_mixture"]

FIT_CELLS = 100_000
"""Cells that the mixture is fitted on. More cells are drawn from, and all of them get their most likely component."""

_KMEANS_CELLS = 20_000
"""Cells that a start is made from."""

_SHORT, _LONG = 10, 300
"""Rounds of a start, and of the few that are run to the end."""

_KEPT = 4
_SMALL_TISSUE = 6_000
"""Cells below which there are more starts."""

_MOST_STARTS = 3
"""Times that a tissue of few cells has more starts."""

_LEAST_GAIN = 1e-5
"""Rounds end when the mean log likelihood of a cell gains less."""

_LEAST_VARIANCE = 1e-6
"""Added to the variance of each dimension, as a share of the mean variance of the points."""

_BLOCK_ROWS = 65_536


def by_mixture(
    spaces: Spaces, n_clusters: int, *, settings: ClusterSettings, seed: int
) -> Grouping:
    """Return the most likely component of each cell; the best of ``cluster.starts`` starts or more.

    Components that no cell is most likely in are left out. Micro-clusters are made inside the components.
    """
    points = spaces.points
    n_starts = _n_starts(len(points), settings.starts)
    model = fit_mixture(points, n_clusters, n_starts=n_starts, seed=seed)
    labels = _most_likely(model, points)
    labels = np.unique(labels, return_inverse=True)[1].astype(np.int32)
    n_micro = settings.n_micro_clusters(len(points), n_clusters)
    micro = micro_clusters_inside(
        np.asarray(points), labels, n_micro, seed=seed, device=spaces.device
    )
    return Grouping(*micro, MergeCost(settings.size_power))


def _n_starts(n_cells: int, least: int) -> int:
    """Return how many starts a tissue gets. With 20, seeds disagreed on a tissue of 1,207 cells; with 60 not."""
    return min(max(least, least * _SMALL_TISSUE // n_cells), _MOST_STARTS * least)


def fit_mixture(
    points: FloatArray, n_components: int, *, n_starts: int, seed: int
) -> GaussianMixture:
    """Return the mixture of largest likelihood, fitted on at most 100,000 points.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims).
    n_components
        At most as many as there are different points; of more, some stay empty.
    n_starts
        Runs of k-means from which the likelihood is climbed.
    """
    rows = drawn_rows(len(points), FIT_CELLS, seed, "cluster.mixture.cells")
    subset = np.asarray(points[rows], np.float64)
    # One length for all sets of points, so that the least variance means the same for each.
    floor = _LEAST_VARIANCE * max(float(subset.var(axis=0).mean()), 1e-30)
    with one_blas_thread(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn.mixture")  # a short run has not converged
        short = []
        for start in range(n_starts):
            model = _start(subset, n_components, floor, derive_seed(seed, "cluster.mixture", start))
            short.append(model.fit(subset))
        short.sort(key=lambda model: -model.lower_bound_)
        return max(
            (model.set_params(max_iter=_LONG).fit(subset) for model in short[:_KEPT]),
            key=lambda model: model.lower_bound_,
        )


def _start(subset: FloatArray, n_components: int, floor: float, seed: int) -> GaussianMixture:
    """Return a mixture that begins with the clusters of a run of k-means."""
    from sklearn.mixture import GaussianMixture

    from scrcl.graph.kmeans import assign, kmeans

    rows = drawn_rows(len(subset), _KMEANS_CELLS, seed, "cluster.mixture.start")
    narrow = subset.astype(np.float32)
    found = kmeans(narrow[rows], n_components, seed=seed, n_init=1, n_iter=10)
    labels = found.labels if len(rows) == len(subset) else assign(narrow, found.centroids)
    means = found.centroids.astype(np.float64)
    within = subset - means[labels]
    covariance = within.T @ within / len(subset) + floor * np.eye(subset.shape[1])
    shares = np.bincount(labels, minlength=n_components) + 1.0
    return GaussianMixture(
        n_components,
        covariance_type="tied",
        tol=_LEAST_GAIN,
        reg_covar=floor,
        max_iter=_SHORT,
        warm_start=True,
        means_init=means,
        weights_init=shares / shares.sum(),
        precisions_init=np.linalg.inv(covariance),
    )


def _most_likely(model: GaussianMixture, points: FloatArray) -> NDArray[np.int32]:
    labels = np.empty(len(points), np.int32)
    with one_blas_thread():
        for start, stop in row_blocks(len(points), _BLOCK_ROWS):
            labels[start:stop] = model.predict(np.asarray(points[start:stop], np.float64))
            release(points)
    return labels
