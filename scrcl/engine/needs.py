"""What each stage takes of memory and disk, from the shape of the data: all arithmetic of bytes.

What a stage holds is a fixed part (libraries), a part that grows with the cells (names, graph, the
memory maps that it touches), and what is in flight: blocks of rows, or a batch and its gradients.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scrcl.io.arrays import SMALL_MAP_BYTES
from scrcl.train.memory import LIBRARIES_BYTES, MORE_NEIGHBORS

if TYPE_CHECKING:
    from scrcl.engine.shape import Shape

__all__ = ["Need", "stage_needs"]

STREAM_BYTES = 430 * 10**6
"""Resident once anndata, zarr, dask and the compiled loops are loaded; measured."""

ANNOTATION_BYTES = 300
"""Names and a few columns of ``obs`` of one cell."""

TOTALS_BYTES = 25
"""Totals of one cell, and its place among the stored values."""

STATS_BYTES_PER_VALUE = 24
"""A value of X in flight while it is summed: encoded, decoded, and as the compiled loops want it."""

FEATURES_BYTES_PER_VALUE = 28
"""The same while the chosen genes are taken out, normalised and multiplied."""

NODE_BYTES = 28
"""Held of one cell while its graph is joined and described: row starts, degrees, components."""

EDGE_BLOCK_BYTES = 64 * 10**6
"""Edges at work while they are joined; measured."""

PAIR_BLOCK_BYTES = 90 * 10**6
"""Edges and distances at work while they are written into the result; measured."""

PLACE_BYTES = 20
"""Place of a cell in the order of the partition and back, its list, and its length."""

TREE_BYTES = 150
"""Of a spot while its neighbours in the tissue are searched: places, their order, and the tree."""

SPOTS_BYTES = 90 * 10**6
"""Spots at work with those near them, a block of a million pairs; measured."""

SEARCH_BYTES = 200 * 10**6
"""Blocks of queries that are searched at once with the lists they visit, or the sample that centroids are
learned from."""

COMMUNITY_BYTES = 150
"""Of a neighbour of a cell whose communities are found, in two graphs over each other; 50 measured of one."""

CLUSTERED_BYTES = 56
"""Of a cell while it is clustered: its group and distance, from k-means and renamed, its cluster and confidence; as
much again for the clustering beside the first that is looked at."""

MERGE_BYTES = 25
"""Of a pair of groups whose merges are sought; measured."""

MIXED_BYTES = 48
"""Of a cell while its cluster is compared with its batch."""


@dataclass(frozen=True)
class Need:
    """What a stage takes.

    Attributes
    ----------
    fixed_bytes
        Held all along: libraries, and what grows with the cells.
    flight_bytes
        Held for each block in flight; one batch, in training.
    disk_bytes
        Left in the stage's folder.
    shared
        Blocks are shared out to workers, as many as fit.
    """

    fixed_bytes: int
    flight_bytes: int = 0
    disk_bytes: int = 0
    shared: bool = False

    @property
    def least_bytes(self) -> int:
        """The smallest memory that will do."""
        return self.fixed_bytes + self.flight_bytes

    def peak_bytes(self, n_workers: int) -> int:
        """Peak resident memory with so many workers."""
        return self.fixed_bytes + self.flight_bytes * (n_workers if self.shared else 1)


def stage_needs(shape: Shape) -> dict[str, Need]:
    """Return what each stage takes, by name, in order."""
    n, k = shape.n_cells, shape.n_neighbors
    edges = MORE_NEIGHBORS * k
    of_method = shape.estimates
    dense = of_method.embed.block_bytes
    embeddings = of_method.new_cells.disk_bytes // n + 4 * shape.n_comps
    names = ANNOTATION_BYTES * n if shape.n_batches > 1 else 0
    products = Need(
        # The sum and the whole matrix in float64, three finished triangles; then the eigenvectors.
        STREAM_BYTES + TOTALS_BYTES * n + 13 * shape.gram_bytes + 2 * shape.moments_bytes,
        # A triangle at work and one waiting, and rows made dense where they nearly are.
        int(shape.block_values * FEATURES_BYTES_PER_VALUE)
        + 4 * shape.gram_bytes
        + shape.moments_bytes // 3
        + 8_192 * shape.n_genes,
        int(6 * shape.chosen_values) + 8 * n + 4 * shape.gram_bytes,
        shared=True,
    )

    def learning(cell_bytes: float) -> int:
        return LIBRARIES_BYTES + int(n * cell_bytes)

    return {
        "read": Need(
            STREAM_BYTES,
            (64 << 20) if shape.by_genes else 0,
            int(8 * shape.n_values) if shape.by_genes else 0,
        ),
        "stats": Need(
            # Annotations are there for a moment, where they tell the batches.
            STREAM_BYTES + TOTALS_BYTES * n + 4 * shape.moments_bytes + names,
            # Of small whole numbers, moments as counts and as logarithms.
            int(shape.block_values * STATS_BYTES_PER_VALUE) + 2 * shape.moments_bytes,
            17 * n + shape.moments_bytes,
            shared=True,
        ),
        "features": products,
        # The allocator keeps what the products took.
        "reduce": replace(products, disk_bytes=4 * n * shape.n_comps),
        "graph": Need(
            learning(NODE_BYTES + PLACE_BYTES + shape.index_bytes)
            # The points and their copy in order, ids and distances: pages of larger maps are let go.
            + 2 * min(4 * n * shape.n_comps, SMALL_MAP_BYTES)
            + 2 * min(4 * n * k, SMALL_MAP_BYTES),
            max(min(EDGE_BLOCK_BYTES, 60 * n * k), min(SEARCH_BYTES, 300 * n)),
            # The copy in order is gone when edges are written.
            int(n * (8 * k + 16 + max(4 * edges, 4 * shape.n_comps))),
        ),
        # The Gram matrix, and blocks of its rows as distances and their order.
        "genes": Need(
            LIBRARIES_BYTES + 4 * shape.gram_bytes,
            16_384 * shape.n_genes if shape.gram else 0,
            8 * shape.n_genes * shape.n_comps,
        ),
        # The stage also writes the inputs of the method.
        "train": Need(
            of_method.train.fixed_bytes,
            of_method.train.block_bytes,
            of_method.inputs.disk_bytes + of_method.train.disk_bytes,
        ),
        "embed": Need(
            of_method.embed.fixed_bytes, of_method.embed.block_bytes, of_method.embed.disk_bytes
        ),
        "cluster": Need(
            # Annotations are there for a moment, where they tell the slices.
            learning(
                4 * shape.width
                + CLUSTERED_BYTES
                + 8 * shape.n_also
                + (TREE_BYTES + ANNOTATION_BYTES) * shape.refining
            )
            + (names + MIXED_BYTES * n if shape.n_batches > 1 else 0),
            max(
                dense
                + int(min(n, shape.graph_cells) * (COMMUNITY_BYTES * edges + 4 * shape.width)),
                dense + MERGE_BYTES * shape.n_groups**2,
                min(SPOTS_BYTES, 6_000 * n) * shape.refining,
            ),
            (8 + 4 * shape.n_also + 4 * shape.refining) * n,
        ),
        "report": Need(
            learning(ANNOTATION_BYTES + embeddings + NODE_BYTES + 8 + 8 * shape.n_also),
            dense + min(PAIR_BLOCK_BYTES, 40 * n * k),
            int(n * (embeddings + 12 * (k + edges) + 20 + 4 * shape.n_also)),
        ),
    }
