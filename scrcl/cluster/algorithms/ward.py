"""k-means to micro-clusters, merged to K by Ward's cost: the squares that a merge adds.

A micro-cluster weighs as many points as it has cells, so from there upwards the tree is Ward's of the cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.cluster.algorithms.linkage import merged

if TYPE_CHECKING:
    from scrcl.cluster.protocol import Grouping, Spaces
    from scrcl.cluster.settings import ClusterConfig

__all__ = ["by_ward"]


def by_ward(spaces: Spaces, n_clusters: int, *, config: ClusterConfig, seed: int) -> Grouping:
    """Merge at least ``cluster.n_micro`` micro-clusters by Ward's cost."""
    return merged(spaces, n_clusters, config=config, seed=seed, size_power=1.0, spreads=False)
