"""From the memory given to workers, and from the shape of the data to blocks: all arithmetic of bytes.

Blocks enter sums and matrix products, so their sizes depend on the data alone: memory and cores
decide how many are in flight at once, or that the work is refused, and never what comes out.

What a stage holds is a fixed part (libraries), a part that grows with the cells (names, graph, the
memory maps that it touches), and what is in flight: blocks of rows, or a batch and its gradients.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scrcl.errors import BudgetError
from scrcl.graph.rows import KEPT_MAP_BYTES, SMALL_MAP_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Budget", "Need", "Shape", "plan_budget", "stage_needs"]

STREAM_BYTES = 430 * 10**6
"""Resident once anndata, zarr, dask and the compiled loops are loaded; measured."""

LIBRARIES_BYTES = 650 * 10**6
"""Resident after torch, faiss, anndata, scikit-learn and (in the report) UMAP are loaded; measured."""

ANNOTATION_BYTES = 300
"""Names and a few columns of ``obs`` of one cell."""

TOTALS_BYTES = 25
"""Totals of one cell, and its place among the stored values."""

BLOCK_VALUES = 2_000_000
"""Stored values of X in a block."""

MAX_BLOCK_ROWS = 16_384
"""Rows in a block of an atlas whose cells hold few values."""

STATS_BYTES_PER_VALUE = 24
"""A value of X in flight while it is summed: encoded, decoded, and as the compiled loops want it."""

FEATURES_BYTES_PER_VALUE = 28
"""The same while the chosen genes are taken out, normalised and multiplied."""

MOMENT_BYTES = 56
"""Sums of one gene in one batch."""

DENSE_BLOCK_VALUES = 2_000_000
"""Values of an embedding in a block: 8 MB in float32."""

GRADIENT_ROWS = 16
"""Copies of an embedding that a training step holds, gradients among them, of a seed or of an anchor of
the block at work; measured 13 to 16."""

BLOCK_ANCHORS = 8_192
"""Anchors encoded at a time, as `scrcl.train.pairs` cuts them on the CPU."""

PAIR_BYTES = 90
"""Of a pair of a batch: both orders, weights and products."""

READ_BATCHES = 4
"""Batches whose rows are resident: the one at work, the one that is read meanwhile, and what the allocator keeps of
others; measured at a million cells."""

TRAINED_NODE_BYTES = 40
"""Of a cell while training: its row's start, degree and scale, its place in the epoch, and its number."""

MORE_NEIGHBORS = 1.4
"""Neighbours of a cell in the symmetric graph, for each nearest neighbour that was searched."""

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

MIXED_BYTES = 48
"""Of a cell while its cluster is compared with its batch."""

CHOSEN_SHARE = 2.0
"""Stored values of a chosen gene, for each of an average gene."""


@dataclass(frozen=True)
class Shape:
    """The sizes that memory depends on.

    Attributes
    ----------
    n_cells, n_vars, values_per_row
        Cells and genes of the input, and stored values of X in one cell.
    n_batches
        Batches whose genes are chosen apart.
    n_genes, n_comps, n_features
        Selected genes, principal components, and columns that the encoders read.
    n_neighbors, fanout, dim, refined_dim
        Neighbours searched of a cell, and the most that training draws (all where None); widths as in
        the settings.
    index_bytes
        What the search of neighbours holds of a cell, beyond what "partitioned" does.
    n_near
        Of the neighbours, those in the tissue, where others by expression are beside them.
    refining
        Clusters are refined by the spots around.
    graph_view
        E^g is written by itself, to be clustered.
    batch_cells, n_drawn, stop_cells
        Seed cells of a batch, cells drawn beside them as negatives, and the sample that tells when to stop.
    by_genes
        The input lies by genes, and is copied by cells first.
    gram
        The genes' Gram matrix is made.
    n_also, graph_cells
        Clusterings beside the one asked for, and the most cells whose communities are found.
    """

    n_cells: int
    values_per_row: float
    n_genes: int
    n_comps: int
    n_features: int
    n_neighbors: int
    dim: int
    refined_dim: int
    batch_cells: int
    n_drawn: int
    stop_cells: int = 0
    n_vars: int = 20_000
    n_batches: int = 1
    fanout: int | None = None
    index_bytes: int = 0
    n_near: int = 0
    refining: bool = False
    graph_view: bool = False
    by_genes: bool = False
    gram: bool = True
    n_also: int = 0
    graph_cells: int = 20_000

    @property
    def n_values(self) -> float:
        """Stored values of X."""
        return self.n_cells * self.values_per_row

    @property
    def chosen_values(self) -> float:
        """Stored values of the selected genes, roughly."""
        share = min(CHOSEN_SHARE * self.n_genes / max(self.n_vars, 1), 1.0)
        return self.n_values * share

    @property
    def step_bytes(self) -> int:
        """What a training step holds: rows of the batch's cells, their halo, and those of the negatives."""
        sizes = (self.batch_cells, self.n_drawn)
        seeds = sum(min(size, self.n_cells) for size in sizes)
        anchors = sum(self._anchors(size, self._drawn_neighbors) for size in sizes)
        pairs = seeds * self._drawn_neighbors * PAIR_BYTES
        embedded = seeds + min(BLOCK_ANCHORS, anchors)
        read = READ_BATCHES * (anchors * 8 * self.n_features + pairs)
        sample = min(self.stop_cells, self.n_cells)
        sampled = sample + self._anchors(sample, MORE_NEIGHBORS * self.n_neighbors)
        read += sampled * 4 * self.n_features
        return int(read + embedded * 4 * GRADIENT_ROWS * self.dim)

    @property
    def block_rows(self) -> int:
        """Rows of X in a block."""
        rows = int(BLOCK_VALUES / max(self.values_per_row, 1.0))
        return min(max(rows, 64), MAX_BLOCK_ROWS, max(self.n_cells, 1))

    @property
    def block_values(self) -> float:
        """Stored values of X in a block."""
        return self.block_rows * max(self.values_per_row, 1.0)

    @property
    def dense_block_rows(self) -> int:
        """Rows of an embedding in a block."""
        widest = max(self.n_features, 2 * self.dim, self.n_comps, 1)
        return min(max(DENSE_BLOCK_VALUES // widest, 256), 65_536)

    @property
    def moments_bytes(self) -> int:
        """Sums over the values of all genes in all batches."""
        return MOMENT_BYTES * self.n_vars * self.n_batches

    @property
    def gram_bytes(self) -> int:
        """One triangle of products of the selected genes, in float32."""
        return 2 * self.n_genes**2 if self.gram else 0

    @property
    def _drawn_neighbors(self) -> float:
        """Neighbours of a seed, in the mean."""
        found = MORE_NEIGHBORS * self.n_neighbors
        return found if self.fanout is None else min(found, self.fanout)

    def _anchors(self, n_seeds: int, n_neighbors: float) -> float:
        """Seeds and their neighbours; a cell that several seeds have as neighbour is held once."""
        drawn = min(n_seeds, self.n_cells) * (1 + n_neighbors)
        return self.n_cells * -math.expm1(-drawn / self.n_cells)


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
    dense = 8 * shape.dense_block_rows * max(shape.n_features, shape.n_comps)
    embeddings = 8 * (shape.dim + shape.refined_dim) + 4 * shape.n_comps
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
            # The copy in order is gone when edges are written; neighbours of both kinds are joined in one file.
            int(n * (8 * k + 16 + max(4 * edges, 4 * shape.n_comps) + 4 * shape.n_near)),
        ),
        # The Gram matrix, and blocks of its rows as distances and their order.
        "genes": Need(
            LIBRARIES_BYTES + 4 * shape.gram_bytes,
            16_384 * shape.n_genes if shape.gram else 0,
            8 * shape.n_genes * shape.n_comps,
        ),
        "train": Need(
            learning(TRAINED_NODE_BYTES)
            + 2 * min(4 * n * shape.n_features, KEPT_MAP_BYTES)
            + int(min(4 * n * edges, KEPT_MAP_BYTES)),
            shape.step_bytes,
            # The features as they were read are gone when the views are written.
            int(n * (12 * shape.n_features + 4 * edges + 16)),
        ),
        "embed": Need(
            learning(TRAINED_NODE_BYTES)
            + 2 * min(4 * n * shape.n_features, SMALL_MAP_BYTES)
            + 2 * min(4 * n * shape.dim, SMALL_MAP_BYTES)
            + int(min(4 * n * edges, SMALL_MAP_BYTES)),
            dense,
            n * (8 * (shape.dim + shape.refined_dim) + 4 * shape.dim * shape.graph_view),
        ),
        "cluster": Need(
            # Annotations are there for a moment, where they tell the slices.
            learning(
                8 * shape.dim
                + CLUSTERED_BYTES
                + 8 * shape.n_also
                + (TREE_BYTES + ANNOTATION_BYTES) * shape.refining
            )
            + (names + MIXED_BYTES * n if shape.n_batches > 1 else 0),
            max(
                dense + int(min(n, shape.graph_cells) * (COMMUNITY_BYTES * edges + 8 * shape.dim)),
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


@dataclass(frozen=True)
class Budget:
    """How the work is cut.

    Attributes
    ----------
    total_bytes
        What the user gave.
    block_rows, dense_block_rows
        Rows of a block of X, and of an embedding.
    n_workers
        Blocks in flight at once.
    """

    total_bytes: int
    block_rows: int
    dense_block_rows: int
    n_workers: int


def plan_budget(
    total_bytes: int,
    shape: Shape,
    *,
    stages: Iterable[str] | None = None,
    n_workers: int | None = None,
) -> Budget:
    """Fit ``stages`` (all) into ``total_bytes``, with at most ``n_workers``.

    By default that is one more than there are cores, and at most 8: while one block is read, others are
    worked on.

    Raises
    ------
    BudgetError
        A stage does not fit; the message says which, and what would do for all.
    """
    needs = stage_needs(shape)
    asked = {name: needs[name] for name in (needs if stages is None else stages) if name in needs}
    largest = max(asked, key=lambda name: asked[name].least_bytes)
    if total_bytes < asked[largest].least_bytes:
        raise BudgetError(_refusal(total_bytes, shape, largest, asked))
    fitting = [
        (total_bytes - need.fixed_bytes) // max(need.flight_bytes, 1)
        for need in asked.values()
        if need.shared
    ]
    return Budget(
        total_bytes=total_bytes,
        block_rows=shape.block_rows,
        dense_block_rows=shape.dense_block_rows,
        n_workers=min([n_workers or min((os.cpu_count() or 1) + 1, 8), *fitting]),
    )


def _refusal(total_bytes: int, shape: Shape, largest: str, asked: dict[str, Need]) -> str:
    needed = asked[largest].least_bytes
    way_out = "Give --memory more"
    if largest == "train" and shape.step_bytes > shape.block_values * FEATURES_BYTES_PER_VALUE:
        way_out += ", or lower train.batch_cells, train.fanout or train.n_negatives"
    if "features" in asked and largest not in ("read", "stats", "features"):
        way_out += ", or end before by --until"
    return (
        f"memory must be at least {_megabytes(needed)} MB for {shape.n_cells:,} cells in the stage "
        f"{largest}; got {total_bytes // 10**6} MB. {way_out}."
    )


def _megabytes(n_bytes: float) -> int:
    """Round up to tens of megabytes."""
    return math.ceil(n_bytes / 10**7) * 10
