"""The ways to the final clusters by name. A further one is a file beside, its line here, and its name in `names`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.cluster.algorithms.auto import by_auto
from scrcl.cluster.algorithms.kmeans import by_kmeans
from scrcl.cluster.algorithms.leiden import by_leiden
from scrcl.cluster.algorithms.linkage import by_linkage
from scrcl.cluster.algorithms.ward import by_ward

if TYPE_CHECKING:
    from scrcl.cluster.names import Method
    from scrcl.cluster.protocol import Way

__all__ = ["WAYS"]

WAYS: dict[Method, Way] = {
    "auto": by_auto,
    "linkage": by_linkage,
    "ward": by_ward,
    "kmeans": by_kmeans,
    "leiden": by_leiden,
}
