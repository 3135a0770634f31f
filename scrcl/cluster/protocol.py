"""What a clustering algorithm reads, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from scrcl.cluster.agglomerate import MergeCost
    from scrcl.cluster.evidence import Evidence, Uncorrected
    from scrcl.cluster.micro import MicroClusters
    from scrcl.cluster.settings import ClusterSettings
    from scrcl.cluster.tree import Joins
    from scrcl.typing import BoolArray, Csr, FloatArray, IntArray

__all__ = ["Choice", "ClusteringAlgorithm", "Grouping", "Representations", "Spaces"]


class Representations(NamedTuple):
    """Component scores of some cells after several scalings of the counts (`scrcl.prep.scalings`)."""

    scores: Sequence[FloatArray]
    """float32, shape (n_some, n_comps) each; the leading components first"""
    uncorrected: Uncorrected | None = None
    """the same before they were corrected for batches; None if they were not"""

    def of(self, some: BoolArray) -> Representations:
        """Return some of the cells."""
        scores = [each[some] for each in self.scores]
        return Representations(scores, self.uncorrected and self.uncorrected.of(some))


@dataclass(frozen=True)
class Spaces:
    """What an algorithm may read. It sees no labels.

    Attributes
    ----------
    points
        ndarray or memory map of float32, shape (n_cells, n_dims): the embedding that is clustered.
    scores
        Principal component scores of the same cells, shape (n_cells, n_comps); None if the algorithm should not
        use them.
    n_neighbors
        Neighbours of a cell in a graph that the algorithm builds.
    device
        Where k-means runs: ``cpu``, or a GPU as torch names it.
    representations
        A function from cells, in ascending order, to the representations that vote. None: only ``scores``.
    inside
        A function from the cells of one cluster, in ascending order, to representations that are made of them alone;
        None if no cluster should be divided by them.
    nearest
        Nearest cells of each cell by component scores, shape (n_cells, n_neighbors), the nearest first; None if they
        are not known.
    overlap
        Cells that a point is made of: one, but for averages over a tissue.
    around
        The cells around each cell over which averages over a tissue were made, shape (n_cells, k), -1 for none; None if
        the points are no such averages.
    tissue
        A function from cells, in ascending order, to the graph of those that are near each other in the tissue; None
        without coordinates.
    """

    points: FloatArray
    scores: FloatArray | None = None
    n_neighbors: int = 15
    device: str = "cpu"
    representations: Callable[[IntArray], Representations] | None = None
    inside: Callable[[IntArray], Representations] | None = None
    nearest: IntArray | None = None
    overlap: float = 1.0
    around: IntArray | None = None
    tissue: Callable[[IntArray], Csr] | None = None


@dataclass(frozen=True)
class Choice:
    """What an algorithm chose that tries several.

    Attributes
    ----------
    algorithm
        What made the clusters, for example ``linkage``.
    agreement
        Agreement of the clusterings that were compared, -1 to 1; None if nothing was compared.
    reason
        Why the agreement did not decide; None if it did.
    """

    algorithm: str
    agreement: float | None = None
    reason: str | None = None


class Grouping(NamedTuple):
    """Micro-clusters, and the cluster of each.

    The label of a cell is ``cluster_of_micro[micro_labels]``. A new point gets the cluster of the nearest
    micro-cluster mean. If there are more micro-clusters than clusters, their tree can be cut above K too.
    """

    micro_labels: NDArray[np.int32]
    """shape (n_cells,): 0 .. n_micro - 1, none empty"""
    micro_means: NDArray[np.float32]
    """shape (n_micro, n_dims)"""
    cluster_of_micro: NDArray[np.int32]
    """shape (n_micro,): 0 .. n_found - 1, none without a micro-cluster"""
    cost: MergeCost
    """of merges in the tree"""
    summary: MicroClusters | None = None
    """means, sizes and spreads of the micro-clusters in the space that is clustered, if the algorithm has them"""
    note: str | None = None
    """what the user should know, as a sentence"""
    choice: Choice | None = None
    evidence: Evidence | None = None
    """what shows how far clusters are apart, if the algorithm has it"""
    joins: Joins | None = None
    """the order in which clusters are joined, if the algorithm knows more than the costs"""


class ClusteringAlgorithm(Protocol):
    """From spaces to K clusters."""

    def __call__(
        self, spaces: Spaces, n_clusters: int | None, *, settings: ClusterSettings, seed: int
    ) -> Grouping:
        """Return ``n_clusters`` clusters, or fewer if too few cells differ. None: as many as the data supports.

        An algorithm that finds more or fewer for another reason explains it in ``note``.
        """
        ...
