"""Search the neighbours of the cells: in the tissue, or by component scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.engine.device import resolve_device
from scrcl.engine.memory import TREE_BYTES
from scrcl.graph.names import BACKENDS
from scrcl.prep.artifacts import COMPONENTS

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.covariates import Covariates
    from scrcl.graph.backends import Search
    from scrcl.graph.knn import KnnResult
    from scrcl.graph.partition import Partition
    from scrcl.graph.settings import GraphSettings
    from scrcl.io.labels import CellLabels
    from scrcl.typing import FloatArray

__all__ = ["find_neighbours", "index_bytes", "partition_of", "search_of"]


def index_bytes(config: RunConfig, n_comps: int, n_neighbors: int) -> int:
    """Return what a search that keeps points or neighbours in memory holds for each cell."""
    if config.spatial:
        return 8 * n_neighbors + TREE_BYTES
    entry = BACKENDS.get(config.graph.backend)
    return 0 if entry is None else entry.bytes_per_point(n_comps)


def search_of(config: RunConfig) -> Search:
    """Return how the settings ask to search."""
    from scrcl.graph.backends import Search

    graph = config.graph
    return Search(
        graph.backend,
        graph.least_recall,
        resolve_device(config.device),
        bounded=graph.recall == "auto",
    )


def partition_of(context: Context, covariates: Covariates) -> Partition:
    """Cut the cells into lists, in the space in which their neighbours are searched."""
    from scrcl.graph.divide import partition

    points: FloatArray
    if covariates.coordinates is not None:
        points = _apart(covariates.coordinates, covariates.samples)
    else:
        points = context.open(COMPONENTS)
    return partition(points, seed=context.config.seed, n_workers=context.budget.n_threads)


def _apart(coordinates: FloatArray, samples: CellLabels | None) -> FloatArray:
    """Shift samples so that they lie further apart than they are wide."""
    points: FloatArray = coordinates - coordinates.min(axis=0)
    points = points / max(float(points.max()), 1e-30)
    return points if samples is None else np.column_stack([points, 2.0 * samples.codes])


def find_neighbours(
    context: Context, covariates: Covariates, lists: Partition, folder: Path
) -> KnnResult:
    """Search, and leave ``ids.npy`` and ``distances.npy`` in the folder."""
    from scrcl.graph.spatial import spatial_knn

    config = context.config.graph
    if covariates.coordinates is None:
        return _by_expression(context, folder, lists)
    found = spatial_knn(
        covariates.coordinates,
        _spatial_neighbors(config, covariates),
        samples=covariates.samples,
        radius=config.radius,
    )
    np.save(folder / "ids.npy", found.ids)
    np.save(folder / "distances.npy", found.distances)
    return found


def _spatial_neighbors(config: GraphSettings, covariates: Covariates) -> int:
    """Return the neighbours of a cell in the tissue; if not given, by the kind of the coordinates."""
    assert covariates.coordinates is not None
    assert covariates.layout is not None
    if config.spatial_neighbors != "auto":
        return config.spatial_neighbors
    return min(covariates.layout.n_neighbors, len(covariates.coordinates) - 1)


def _by_expression(context: Context, folder: Path, lists: Partition) -> KnnResult:
    """Search by component scores. Ids and distances are files of the folder."""
    from scrcl.graph.knn import knn

    scores, config = context.open(COMPONENTS), context.config
    return knn(
        scores,
        config.graph.n_neighbors,
        seed=config.seed,
        search=search_of(config),
        partition=lists,
        folder=folder,
        n_workers=context.budget.n_threads,
        on_rows=context.count("graph", len(scores)),
    )
