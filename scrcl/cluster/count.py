"""The number of clusters, counted from the cells.

It is the number of communities (Leiden, modularity) of two neighbour graphs added together: the graph of the embedding,
and one that training has not changed, of the component scores or, for spatial domains, of the coordinates. Small
communities may be noise, and are not counted: those below a share of the cells, or, if there are many communities,
below a share of their mean size. Graphs are built on a subset of the cells, which bounds the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scrcl._random import drawn_rows
from scrcl.graph.communities import large_communities, leiden_of, neighbour_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrcl.cluster.settings import ClusterSettings
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["Counted", "count_clusters"]

_MIN_COUNTED_SHARE = 0.5
"""If counted communities hold fewer cells than this share, the count is doubtful, and a note reports it."""


class Counted(NamedTuple):
    """A number of clusters, and what the user should know about it."""

    n_clusters: int
    """at least 2"""
    note: str | None


def count_clusters(
    spaces: Sequence[FloatArray],
    *,
    n_neighbors: int,
    settings: ClusterSettings,
    seed: int,
    tissue: Callable[[IntArray], Csr] | None = None,
) -> Counted:
    """Return the number of communities that are large enough.

    Parameters
    ----------
    spaces
        Arrays or memory maps of float32, shape (n_cells, n_dims), with one row for each cell.
    n_neighbors
        Neighbours of a cell in each graph.
    settings
        ``resolution``, ``smallest_share`` and ``auto_cells`` are read.
    tissue
        A function from cells, in ascending order, to the graph of those that are near each other in the tissue.
    """
    cells = drawn_rows(len(spaces[0]), settings.auto_cells, seed, "count.sample")
    # An edge that is in several graphs counts as often, so what all graphs agree on weighs most.
    graph = sum(neighbour_graph(space[cells], n_neighbors, seed) for space in spaces)
    if tissue is not None:
        graph = graph + tissue(cells)
    communities = leiden_of(graph, seed=seed, name="count.leiden")
    sizes = np.bincount(communities(settings.resolution))
    counted = large_communities(sizes, settings.smallest_share)
    return Counted(max(len(counted), 2), _note(counted, sizes, settings))


def _note(counted: IntArray, sizes: IntArray, settings: ClusterSettings) -> str | None:
    """Return a note if counted communities hold few of the cells, as at a resolution that is too high."""
    share = counted.sum() / sizes.sum()
    if share >= _MIN_COUNTED_SHARE:
        return None
    return (
        f"The number of clusters was counted from {share:.0%} of the cells: {len(sizes) - len(counted)} of "
        f"{len(sizes)} communities at cluster.resolution {settings.resolution:g} are too small. Lower it, or give "
        "`n_clusters`."
    )
