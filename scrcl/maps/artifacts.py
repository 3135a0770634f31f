"""What the stages of maps leave for later stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrcl._contract import Artifact
from scrcl.io.arrays import stored_array

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.maps.paga import Links

__all__ = ["CLUSTER_LINKS", "LAYOUT", "LINKS_FILE"]

LINKS_FILE = "links.npz"

LAYOUT: Artifact[Any] = stored_array("UMAP of the cells", "layout.npy")
"""ndarray of float32, shape (n_cells, 2)."""


def _load_links(folder: Path) -> Links:
    from scrcl.maps.paga import Links

    return Links.load(folder / LINKS_FILE)


CLUSTER_LINKS: Artifact[Links] = Artifact("links of the clusters", _load_links)
"""PAGA of the clusters."""
