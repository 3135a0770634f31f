"""A mixture of Gaussians that share one covariance: the model that the field uses for spatial domains (mclust's EEE).

Domains differ in their means, and vary within themselves in much the same directions: by depth, or by the types that a
neighbourhood holds. The shared covariance is what k-means lacks, and it is estimated from all cells, so a small domain
costs no accuracy. How much they vary is not the same: white matter varies more than the layers of the cortex. So each
domain multiplies the covariance by a size of its own (mclust's VEE). The size stays near one as long as the domain has
few independent averages. The likelihood has many local maxima. At a low one, two layers are joined and a third one is
cut. So half of the starts are from k-means and half from k-means where all directions vary alike, and the best of them
go on as long as joining two components and halving a third one gains (`scrcl.cluster.algorithms.moves`). Other seeds
then find the same maximum.

Where the cells around each cell are known, the likelihood is climbed once more from there, on averages at two scales
(`scrcl.cluster.algorithms.two_scales`). The maximum is searched on one scale: in twice as many dimensions odd corners
are likelier than domains.

References
----------
Fraley and Raftery: Model-based clustering, discriminant analysis, and density estimation, Journal of the American
Statistical Association 97 (2002), 611-631.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from scrcl._random import derive_seed, drawn_rows
from scrcl._threads import one_blas_thread
from scrcl.cluster.agglomerate import MergeCost
from scrcl.cluster.algorithms.moves import moved_partitions
from scrcl.cluster.algorithms.one_covariance import Climb, Mixture
from scrcl.cluster.algorithms.two_scales import TwoScales
from scrcl.cluster.micro import micro_clusters_inside
from scrcl.cluster.protocol import Grouping
from scrcl.io.arrays import release, row_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from scrcl.cluster.protocol import Spaces
    from scrcl.cluster.settings import ClusterSettings
    from scrcl.typing import FloatArray, IntArray

__all__ = ["FIT_CELLS", "by_mixture", "fit_mixture"]

FIT_CELLS = 100_000
"""Cells that the mixture is fitted on: a random subset if there are more. Every cell gets its most likely component."""

_SEARCH_CELLS = 10_000
"""Cells that the best maximum is searched on."""

_TWO_SCALES_CELLS = 25_000
"""Cells that the mixture is fitted on at two scales. Products of 30 dimensions take four times the memory of 15."""

_SHORT, _LONG = 10, 300
"""Rounds of each start or move, and further rounds of the best few."""

_KEPT, _KEPT_MOVES = 4, 3
"""Best starts, and best moves of a turn, which get the further rounds."""

_MOVED = 3
"""Starts that are moved."""

_MOST_TURNS = 12
_LEAST_STEP = 1e-3
"""Gain of the mean log likelihood of a cell for which another turn of moves follows."""

_HOLDING_AVERAGES = 50
"""Independent averages that hold the size of a domain near one. A point that is no average counts as one."""

_BLOCK_ROWS = 65_536


def by_mixture(
    spaces: Spaces, n_clusters: int, *, settings: ClusterSettings, seed: int
) -> Grouping:
    """Return the most likely component of each cell; the best of ``cluster.starts`` starts and of moves from them.

    Components that no cell is most likely in are left out. Micro-clusters are made inside the components.
    """
    points = spaces.points
    n_held = _HOLDING_AVERAGES * spaces.overlap
    model = fit_mixture(points, n_clusters, n_starts=settings.starts, seed=seed, n_held=n_held)
    labels = _most_likely(model, len(points), partial(_rows_of, points))
    if spaces.around is not None:
        scales = TwoScales(points, spaces.around)
        model = _at_two_scales(scales, labels, n_clusters, seed=seed, n_held=n_held)
        labels = _most_likely(model, len(points), scales.rows)
    labels = np.unique(labels, return_inverse=True)[1].astype(np.int32)
    n_micro = settings.n_micro_clusters(len(points), n_clusters)
    micro = micro_clusters_inside(
        np.asarray(points), labels, n_micro, seed=seed, device=spaces.device
    )
    return Grouping(*micro, MergeCost(settings.size_power))


def fit_mixture(
    points: FloatArray,
    n_components: int,
    *,
    n_starts: int,
    seed: int,
    n_moved: int = _MOVED,
    n_held: float = np.inf,
) -> Mixture:
    """Return the mixture of largest likelihood, fitted on at most 100,000 points.

    Parameters
    ----------
    points
        ndarray or memory map of float32, shape (n_points, n_dims).
    n_components
        At most as many as there are different points; of more, some stay empty.
    n_starts
        Runs of k-means from which the likelihood is climbed.
    n_moved
        Starts that are moved. With three of them other seeds find the same maximum.
    n_held
        Points that hold the size of a component near one. By default all sizes are one.
    """
    rows = drawn_rows(len(points), FIT_CELLS, seed, "cluster.mixture.cells")
    subset = np.asarray(points[rows], np.float64)
    centre = subset.mean(axis=0)
    subset -= centre
    some = subset[drawn_rows(len(subset), _SEARCH_CELLS, seed, "cluster.mixture.search")]
    with one_blas_thread():
        climb = Climb(some, n_held * len(some) / len(points))
        found = _best(climb, _starts(some, n_components, n_starts, seed), n_components, _KEPT)
        best = max(
            (_moved(climb, model, 2 * n_moved) for model in found[:n_moved]),
            key=lambda model: model.log_likelihood,
        )
        if len(some) < len(subset):
            best = Climb(subset, n_held * len(subset) / len(points)).climbed(best, _LONG)
    return best._replace(means=best.means + centre)


def _best(
    climb: Climb, partitions: Iterable[IntArray], n_components: int, n_kept: int
) -> list[Mixture]:
    """Climb from each partition, and return the best few mixtures: each maximum once, the highest first."""
    short = [climb.climbed(climb.begun(labels, n_components), _SHORT) for labels in partitions]
    short.sort(key=_height)
    ended = sorted((climb.climbed(model, _LONG) for model in short[:n_kept]), key=_height)
    return [
        model
        for at, model in enumerate(ended)
        if at == 0 or ended[at - 1].log_likelihood - model.log_likelihood > _LEAST_STEP
    ]


def _height(model: Mixture) -> float:
    return -model.log_likelihood


def _moved(climb: Climb, model: Mixture, n_pairs: int) -> Mixture:
    """Return the mixture after moves, as long as one gains."""
    for _ in range(_MOST_TURNS):
        partitions = moved_partitions(climb.points, model, n_pairs)
        found = _best(climb, partitions, len(model.means), _KEPT_MOVES)
        if not found or found[0].log_likelihood <= model.log_likelihood + _LEAST_STEP:
            break
        model = found[0]
    return model


def _starts(points: FloatArray, n_components: int, n: int, seed: int) -> Iterator[IntArray]:
    """Yield clusters of k-means, in turn of the points and of points that vary alike in all directions."""
    from scrcl.graph.kmeans import kmeans

    variances, axes = np.linalg.eigh(points.T @ points / len(points))
    lengths = np.sqrt(np.maximum(variances, max(1e-6 * variances[-1], 1e-30)))
    spaces = [points.astype(np.float32), (points @ (axes / lengths)).astype(np.float32)]
    for start in range(n):
        own = derive_seed(seed, "cluster.mixture", start)
        yield kmeans(spaces[start % 2], n_components, seed=own, n_init=1, n_iter=10).labels


def _at_two_scales(
    scales: TwoScales, labels: IntArray, n_components: int, *, seed: int, n_held: float
) -> Mixture:
    """Return the mixture at two scales that is reached from a partition."""
    rows = drawn_rows(len(labels), _TWO_SCALES_CELLS, seed, "cluster.mixture.scales")
    some = scales.rows(rows)
    centre = some.mean(axis=0)
    some -= centre
    with one_blas_thread():
        climb = Climb(some, n_held * len(rows) / len(labels))
        model = climb.climbed(climb.begun(labels[rows], n_components), _LONG)
    return model._replace(means=model.means + centre)


def _rows_of(points: FloatArray, cells: IntArray) -> NDArray[np.float64]:
    found = np.asarray(points[cells[0] : cells[-1] + 1], np.float64)
    release(points)
    return found


def _most_likely(
    model: Mixture, n_cells: int, rows_of: Callable[[IntArray], FloatArray]
) -> NDArray[np.int32]:
    """Return the most likely component of each cell; ``rows_of`` gives the points of adjacent cells."""
    labels = np.empty(n_cells, np.int32)
    with one_blas_thread():
        for start, stop in row_blocks(n_cells, _BLOCK_ROWS):
            labels[start:stop] = model.labels(rows_of(np.arange(start, stop)))
    return labels
