"""Stage ``links``: how the clusters are joined in the cell graph (PAGA), and their order in a dendrogram."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._contract import Estimate
from scrcl.cluster.artifacts import CLUSTER_MEANS, CLUSTER_TREE, LABELS
from scrcl.engine.memory import LIBRARIES_BYTES, kept_bytes
from scrcl.engine.stage import AnnDataKeys, Record, Stage
from scrcl.graph.artifacts import NEIGHBOR_IDS
from scrcl.maps.artifacts import CLUSTER_LINKS, LAYOUT, LINKS_FILE
from scrcl.prep.artifacts import COMPONENTS

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun

__all__ = ["LinksStage"]

_BLOCK_BYTES = 150 * 10**6
"""A block of neighbours, and the pairs of clusters that they join."""


class LinksRecord(Record):
    """How many clusters are linked."""

    n_clusters: int
    n_links: int


class LinksStage(Stage[LinksRecord]):
    """Counts the neighbours between clusters."""

    name = "links"
    record = LinksRecord
    gives = (CLUSTER_LINKS,)
    is_cheap = True

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return labels, positions and a block of neighbours."""
        n = shape.n_cells
        return Estimate(
            LIBRARIES_BYTES + kept_bytes(shape) + 24 * n,
            min(_BLOCK_BYTES, 40 * n * shape.n_neighbors),
            read_bytes=4 * n * shape.n_neighbors,
            seconds=0.2 + 2e-8 * n * shape.n_neighbors,
        )

    def run(self, context: Context, folder: Path) -> LinksRecord:
        """Write ``links.npz``."""
        from scrcl.maps.paga import paga_links, positions

        labels = np.asarray(context.open(LABELS))
        # Without a UMAP, clusters are drawn where their first two components are.
        where = (
            context.open(LAYOUT)
            if context.has(LAYOUT)
            else np.asarray(context.open(COMPONENTS)[:, :2])
        )
        links = paga_links(context.open(NEIGHBOR_IDS), labels, positions(where, labels))
        links.save(folder / LINKS_FILE)
        return LinksRecord(
            n_cells=len(labels),
            n_clusters=len(links.sizes),
            n_links=int(np.count_nonzero(np.triu(links.connectivities))),
        )

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return PAGA and the dendrogram under scanpy's keys; nothing where there is one cluster."""
        from scrcl.maps.dendrogram import scanpy_dendrogram
        from scrcl.maps.paga import scanpy_paga

        links = run.open(CLUSTER_LINKS)
        n_clusters = len(links.sizes)
        if n_clusters < 2:
            return AnnDataKeys()
        dendrogram = scanpy_dendrogram(
            run.open(CLUSTER_TREE), run.open(CLUSTER_MEANS), n_clusters, groupby="scrcl"
        )
        return AnnDataKeys(
            uns_other={
                "paga": scanpy_paga(links, groups="scrcl"),
                "scrcl_sizes": links.sizes,
                "dendrogram_scrcl": dendrogram,
            }
        )
