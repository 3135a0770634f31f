"""The clustering algorithms by name.

A new algorithm is a file in `scrcl.cluster.algorithms`, a line here, and its name and words in `scrcl.cluster.names`.
`counted` adds the number of clusters to one that must be given it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.cluster.algorithms.auto import by_auto
from scrcl.cluster.algorithms.kmeans import by_kmeans
from scrcl.cluster.algorithms.leiden import by_leiden
from scrcl.cluster.algorithms.linkage import by_linkage
from scrcl.cluster.algorithms.mixture import by_mixture
from scrcl.cluster.algorithms.vote import by_vote
from scrcl.cluster.algorithms.ward import by_ward
from scrcl.cluster.counted import counted

if TYPE_CHECKING:
    from scrcl.cluster.names import Algorithm
    from scrcl.cluster.protocol import ClusteringAlgorithm

__all__ = ["ALGORITHMS"]

ALGORITHMS: dict[Algorithm, ClusteringAlgorithm] = {
    "vote": by_vote,
    "auto": counted(by_auto),
    "linkage": counted(by_linkage),
    "ward": counted(by_ward),
    "kmeans": counted(by_kmeans),
    "leiden": counted(by_leiden),
    "mixture": counted(by_mixture),
}
