"""What the stage that clusters leaves for later stages and for new cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrcl.io.arrays import stored_array

if TYPE_CHECKING:
    from scrcl._contract import Artifact

__all__ = ["CLUSTER_TREE", "CONFIDENCE", "LABELS"]

LABELS: Artifact[Any] = stored_array("cluster labels", "labels.npy")
"""ndarray of int32, shape (n_cells,): 0 .. n_clusters - 1, largest cluster first."""

CONFIDENCE: Artifact[Any] = stored_array("confidence", "confidence.npy")
"""ndarray of float32, shape (n_cells,): 0 to 1."""

CLUSTER_TREE: Artifact[Any] = stored_array("tree of the clusters", "tree.npy")
"""ndarray of float64, shape (n_clusters - 1, 4), as scipy writes linkage."""
