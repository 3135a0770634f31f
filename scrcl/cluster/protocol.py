"""What a way to the final clusters is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scrcl.cluster.agglomerate import MicroClusters
    from scrcl.cluster.settings import ClusterConfig
    from scrcl.typing import FloatArray

__all__ = ["Choice", "Grouping", "Spaces", "Way"]


@dataclass(frozen=True)
class Spaces:
    """What a way may read; no labels, no batches.

    Attributes
    ----------
    points
        ndarray or memory map of float32, shape (n_cells, n_dims): what is clustered, E or Z.
    scores
        Principal components of the same cells, shape (n_cells, n_comps); None where there are none.
    n_neighbors
        Neighbours of a cell in a graph that a way makes for itself.
    """

    points: FloatArray
    scores: FloatArray | None = None
    n_neighbors: int = 15


class Choice(NamedTuple):
    """What a way that has several to choose from took."""

    taken: str
    agreement: float | None
    """The figure that decided, -1 to 1; None where there was nothing to compare"""
    unless: str | None = None
    """What decided instead"""


class Grouping(NamedTuple):
    """Groups of near cells, and the cluster that each group is of.

    The label of a cell is ``owners[groups]``; a new point goes to the cluster of the nearest centre.
    Where groups are finer than clusters, their merge tree can be cut above K too.
    """

    groups: NDArray[np.int32]
    """shape (n_cells,): 0 .. n_groups - 1, none empty"""
    centres: NDArray[np.float32]
    """shape (n_groups, n_dims)"""
    owners: NDArray[np.int32]
    """shape (n_groups,): 0 .. n_found - 1, none without a group"""
    size_power: float
    spreads: bool
    """Both say what a merge costs in the tree of the groups: `scrcl.cluster.agglomerate`"""
    summary: MicroClusters | None = None
    """The groups summed up, where the way has done so"""
    note: str | None = None
    """What the user should know, as a sentence"""
    choice: Choice | None = None


class Way(Protocol):
    """From spaces to K clusters."""

    def __call__(
        self, spaces: Spaces, n_clusters: int, *, config: ClusterConfig, seed: int
    ) -> Grouping:
        """Return ``n_clusters`` clusters, fewer where cells differ too little.

        A way that cannot meet K, from either side, says so in ``note``.
        """
        ...
