"""k-means to micro-clusters, merged to K by Ward's cost: the increase of the sum of squares.

A micro-cluster counts by its number of cells. So from the micro-clusters on, the tree is Ward's tree of the cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.cluster.agglomerate import WARD
from scrcl.cluster.algorithms.linkage import merge_micro_clusters

if TYPE_CHECKING:
    from scrcl.cluster.protocol import Grouping, Spaces
    from scrcl.cluster.settings import ClusterSettings

__all__ = ["by_ward"]


def by_ward(spaces: Spaces, n_clusters: int, *, settings: ClusterSettings, seed: int) -> Grouping:
    """Merge at least ``cluster.n_micro`` micro-clusters by Ward's cost."""
    return merge_micro_clusters(spaces, n_clusters, settings=settings, seed=seed, cost=WARD)
