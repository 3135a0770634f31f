"""The clustering algorithms by name.

A new algorithm is a file in `scrcl.cluster.algorithms`, a line here, and its name in `scrcl.cluster.names`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.cluster.algorithms.auto import by_auto
from scrcl.cluster.algorithms.kmeans import by_kmeans
from scrcl.cluster.algorithms.leiden import by_leiden
from scrcl.cluster.algorithms.linkage import by_linkage
from scrcl.cluster.algorithms.mixture import by_mixture
from scrcl.cluster.algorithms.ward import by_ward

if TYPE_CHECKING:
    from scrcl.cluster.names import Algorithm
    from scrcl.cluster.protocol import ClusteringAlgorithm

__all__ = ["ALGORITHMS"]

ALGORITHMS: dict[Algorithm, ClusteringAlgorithm] = {
    "auto": by_auto,
    "linkage": by_linkage,
    "ward": by_ward,
    "kmeans": by_kmeans,
    "leiden": by_leiden,
    "mixture": by_mixture,
}
