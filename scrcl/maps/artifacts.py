"""What the stages of maps leave for later stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrcl._contract import Artifact, loaded_by
from scrcl.io.arrays import stored_array

if TYPE_CHECKING:
    from scrcl.maps.paga import Links

__all__ = ["CLUSTER_LINKS", "LAYOUT", "LINKS_FILE"]

LINKS_FILE = "links.npz"

LAYOUT: Artifact[Any] = stored_array("UMAP of the cells", "layout.npy")
"""ndarray of float32, shape (n_cells, 2)."""


CLUSTER_LINKS: Artifact[Links] = Artifact(
    "links of the clusters", loaded_by("scrcl.maps.paga:Links.load", LINKS_FILE)
)
"""PAGA of the clusters."""
