"""What the stage ``cluster`` leaves for later stages and for new cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrcl.io.arrays import stored_array

if TYPE_CHECKING:
    from scrcl._contract import Artifact

__all__ = [
    "CLUSTER_MEANS",
    "CLUSTER_OF_MICRO",
    "CLUSTER_TREE",
    "CONFIDENCE",
    "LABELS",
    "MICRO_MEANS",
]

LABELS: Artifact[Any] = stored_array("cluster labels", "labels.npy")
"""ndarray of int32, shape (n_cells,): 0 .. n_clusters - 1, largest cluster first."""

CONFIDENCE: Artifact[Any] = stored_array("confidence", "confidence.npy")
"""ndarray of float32, shape (n_cells,): 0 to 1."""

CLUSTER_TREE: Artifact[Any] = stored_array("tree of the clusters", "cluster_tree.npy")
"""ndarray of float64, shape (n_clusters - 1, 4), in the form of scipy's ``linkage``."""

MICRO_MEANS: Artifact[Any] = stored_array("means of the micro-clusters", "micro_means.npy")
"""ndarray of float32, shape (n_micro, n_dims), in the space that is clustered."""

CLUSTER_OF_MICRO: Artifact[Any] = stored_array(
    "clusters of the micro-clusters", "cluster_of_micro.npy"
)
"""ndarray of int32, shape (n_micro,): the cluster of each micro-cluster."""

CLUSTER_MEANS: Artifact[Any] = stored_array("means of the clusters", "cluster_means.npy")
"""ndarray of float32, shape (n_clusters, n_dims), in the space that is clustered."""
