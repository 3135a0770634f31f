"""What the stage ``cluster`` gives to the algorithms: spaces, the tissue, and the number of clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.cluster.protocol import Spaces
from scrcl.engine.device import resolve_device
from scrcl.engine.stages.cluster_representations import (
    representations_inside,
    representations_of,
)
from scrcl.engine.stages.tissue import TissueStage
from scrcl.graph.artifacts import NEIGHBOR_IDS
from scrcl.prep.artifacts import COMPONENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.covariates import Covariates
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["n_clusters_of", "n_neighbors_of", "spaces_of"]


def spaces_of(context: Context, points: FloatArray, covariates: Covariates) -> Spaces:
    """Return the spaces in which cells are compared.

    Parameters
    ----------
    points
        What is clustered, shape (n_cells, n_dims).
    covariates
        Those of the retained cells.
    """
    config = context.config
    return Spaces(
        points,
        # Component scores describe cell types. Spatial domains join types, so scores do not help there.
        scores=None if config.spatial else context.open(COMPONENTS),
        n_neighbors=n_neighbors_of(config),
        device=resolve_device(config.device, context.ranks.local),
        representations=None if config.spatial else representations_of(context),
        inside=None if config.spatial else representations_inside(context),
        # Neighbours in the tissue are not the nearest by component scores.
        nearest=None if config.spatial else context.open(NEIGHBOR_IDS),
        overlap=context.record(TissueStage).overlap if config.on_tissue else 1.0,
        around=context.open(NEIGHBOR_IDS) if config.on_tissue else None,
        tissue=_graph_in_tissue(config, covariates) if config.spatial else None,
    )


def n_neighbors_of(config: RunConfig) -> int:
    """Return the neighbours of a cell in the graphs that clusters are found and compared in."""
    return config.cluster.n_neighbors or config.graph.n_neighbors


def n_clusters_of(
    context: Context, points: FloatArray, covariates: Covariates
) -> tuple[int | None, tuple[tuple[int, ...], ...]]:
    """Return the number of clusters, and the estimates of it.

    The number is as given, or that of the domains of a tissue; None if clustering finds it. Domains that were counted
    have three estimates for each slice.
    """
    config = context.config
    if config.n_clusters != "auto":
        return config.n_clusters, ()
    if not config.on_tissue:
        return None, ()
    record = context.record(TissueStage)
    if record.is_uniform:
        return 1, ()
    from scrcl.cluster.count_domains import count_domains

    found = count_domains(
        points, samples=covariates.samples, overlap=record.overlap, seed=config.seed
    )
    return found.n_clusters, found.estimates


def _graph_in_tissue(config: RunConfig, covariates: Covariates) -> Callable[[IntArray], Csr]:
    """Return a function from cells to their graph: each is joined to the nearest of them in its sample."""
    from scrcl.graph.csr import connectivities, symmetric_graph
    from scrcl.graph.spatial import spatial_knn

    coordinates, samples = covariates.coordinates, covariates.samples
    assert coordinates is not None, "a spatial run without coordinates is refused"

    def graph_of(cells: IntArray) -> Csr:
        k = min(n_neighbors_of(config), len(cells) - 1)
        samples_of_cells = None if samples is None else samples.of(cells)
        found = spatial_knn(coordinates[cells], k, samples=samples_of_cells)
        return connectivities(symmetric_graph(found.ids))

    return graph_of
