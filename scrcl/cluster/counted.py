"""Count clusters for algorithms that must be given their number, and merge those without a valley between them."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING

import numpy as np

from scrcl.cluster.algorithms.linkage import view_cells
from scrcl.cluster.count import count_clusters
from scrcl.cluster.evidence import VALLEY_COMPS, Evidence
from scrcl.cluster.merging import merge_unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrcl.cluster.protocol import ClusteringAlgorithm, Grouping, Spaces
    from scrcl.cluster.settings import ClusterSettings

__all__ = ["counted"]


def counted(algorithm: Callable[..., Grouping]) -> ClusteringAlgorithm:
    """Return the algorithm with a number of clusters that it finds, if none is given.

    Communities are counted (`scrcl.cluster.count`). Their number is at least two, and a large type or a tail may count
    as several. So clusters without a valley between them are merged after clustering. Domains of a tissue are not:
    whether valleys separate domains was not measured.
    """

    @wraps(algorithm)
    def with_count(
        spaces: Spaces, n_clusters: int | None, *, settings: ClusterSettings, seed: int
    ) -> Grouping:
        if n_clusters is not None:
            return algorithm(spaces, n_clusters, settings=settings, seed=seed)
        count = count_clusters(
            [spaces.points] if spaces.scores is None else [spaces.scores, spaces.points],
            n_neighbors=spaces.n_neighbors,
            settings=settings,
            seed=seed,
            tissue=spaces.tissue,
        )
        found = algorithm(spaces, count.n_clusters, settings=settings, seed=seed)
        if spaces.tissue is None:
            found = _merged(found, spaces, settings, seed)
        notes = [note for note in (count.note, found.note) if note is not None]
        return found._replace(note=" ".join(notes) or None)

    return with_count


def _merged(found: Grouping, spaces: Spaces, settings: ClusterSettings, seed: int) -> Grouping:
    """Merge clusters that have no valley between them."""
    cells = view_cells(found.micro_labels, settings.auto_cells, seed, "cluster.merging.cells")
    rows = spaces.points if spaces.scores is None else spaces.scores[:, :VALLEY_COMPS]
    evidence = Evidence(cells, [np.asarray(rows[cells])], seed=seed)
    labels = found.cluster_of_micro[found.micro_labels[cells]]
    part = merge_unsupported(evidence, labels, settings.least_support)
    return found._replace(
        cluster_of_micro=part[found.cluster_of_micro].astype(np.int32), evidence=evidence
    )
