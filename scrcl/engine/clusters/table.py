"""The ways to the final clusters by name. A further one is a file beside, its line here, and its name in `names`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.engine.clusters.auto import by_auto
from scrcl.engine.clusters.kmeans import by_kmeans
from scrcl.engine.clusters.leiden import by_leiden
from scrcl.engine.clusters.linkage import by_linkage
from scrcl.engine.clusters.ward import by_ward

if TYPE_CHECKING:
    from scrcl.engine.clusters.names import Method
    from scrcl.engine.clusters.protocol import Way

__all__ = ["WAYS"]

WAYS: dict[Method, Way] = {
    "auto": by_auto,
    "linkage": by_linkage,
    "ward": by_ward,
    "kmeans": by_kmeans,
    "leiden": by_leiden,
}
