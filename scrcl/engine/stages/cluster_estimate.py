"""What the stage ``cluster`` takes: memory, disk and time, from the sizes of the data and the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl._contract import Estimate
from scrcl.engine.learning import embedding_width, estimates_of
from scrcl.engine.memory import ANNOTATION_BYTES, LIBRARIES_BYTES, MORE_NEIGHBORS, TREE_BYTES
from scrcl.engine.stages.batches_apart import correction_method
from scrcl.engine.stages.correct import correction_bytes, fit_bytes
from scrcl.io.arrays import SMALL_MAP_BYTES

if TYPE_CHECKING:
    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig

__all__ = ["cluster_estimate"]

_COMMUNITY_BYTES = 150
"""Bytes for each edge while communities are found, in two graphs at once. 50 were measured for one graph."""

_VOTE_BYTES = 1_050
"""Bytes for each edge of one graph while several vote: six graphs, and the communities of their sum, which has about
three times as many edges. Measured: 1,000 and 650 in two whole runs of 100,000 cells. What earlier stages
freed is not always given back."""

_SECONDS_PER_VOTE = 2e-3
"""Seconds of a cell that votes: 18 partitions, the products of genes, and valleys."""

_SECONDS_PER_DIVIDED = 5e-4
"""Further seconds of such a cell while large clusters are divided; measured with 100,000 cells."""

_SECONDS_PER_FIT = 7e-4
"""Further seconds of such a cell with batches: Harmony for each scaling, and valleys within 60 batches; measured."""

_CLUSTERED_BYTES = 56
"""Bytes for each cell while it is clustered: its micro-cluster and distance, both from k-means and renumbered, its
cluster and its confidence. Twice, for the clustering that it is compared with."""

_COMPARED_BYTES = 8_000
"""A cell that is compared with those that vote: its values in the scalings, and its nearest cells; a guess."""

_REGION_BYTES = 80
"""Bytes for each cell of an atlas while small groups of cells are searched: its nearest cells, and its group."""

_MERGE_BYTES = 25
"""Bytes for each pair of micro-clusters while merges are searched; measured."""

_SMOOTHING_BYTES = 90 * 10**6
"""Bytes of a block of a million pairs of near cells while labels are smoothed; measured."""


def cluster_estimate(shape: Shape, config: RunConfig) -> Estimate:
    """Return the embedding's blocks, communities of subsets, pairs of micro-clusters, and smoothing."""
    from scrcl.cluster.agreement import MOST_COMPS

    n, settings = shape.n_cells, config.cluster
    corrects = shape.n_batches > 1 and correction_method(config) != "none"
    divides = settings.algorithm == "vote" and settings.divide_cells > 0
    # Batches that need no correction are divided, but not fitted, which takes longer.
    divides &= not (corrects or config.spatial)
    edges = MORE_NEIGHBORS * (settings.n_neighbors or shape.n_neighbors)
    width = embedding_width(config)
    smooths = config.smoothing_cells > 0 or (config.spatial and config.n_clusters == "auto")
    n_micro = settings.most_micro_clusters(
        n, 2 if config.n_clusters == "auto" else config.n_clusters
    )
    # A block of dense rows and its product.
    dense = estimates_of(shape, config).embed.block_bytes
    per_cell = _CLUSTERED_BYTES + 8 * len(settings.also)
    per_cell += (TREE_BYTES + ANNOTATION_BYTES) * smooths
    n_counted, n_voting = min(n, settings.auto_cells), min(n, settings.vote_cells)
    # In an atlas, cells of small groups are compared with those that vote.
    looks_around = n > n_voting and settings.rare_cells > 0
    n_compared = n_voting + n_voting // 2 * looks_around
    counting = dense + int(n_counted * (_COMMUNITY_BYTES * edges + 4 * width))
    voting = int(n_voting * (_VOTE_BYTES * edges + 4 * width))
    # Scalings have products of their genes, and are corrected for batches one by one.
    voting += 8 * (3 * shape.n_genes**2 + 3 * 1024 * shape.n_genes)
    voting += correction_bytes(shape.n_batches, MOST_COMPS)
    voting += fit_bytes(n_compared, MOST_COMPS) * corrects
    voting += (n_compared - n_voting) * _COMPARED_BYTES
    grouping = _REGION_BYTES * n * looks_around
    merging = dense + _MERGE_BYTES * n_micro**2
    smoothing = min(_SMOOTHING_BYTES, 6_000 * n) * smooths
    return Estimate(
        # Pages of larger maps are released as they are read: the embedding, components and neighbours.
        LIBRARIES_BYTES
        + n * per_cell
        + sum(min(4 * n * d, SMALL_MAP_BYTES) for d in (width, shape.n_comps, shape.n_neighbors)),
        max(counting, voting, grouping, merging, smoothing),
        disk_bytes=(16 + 4 * len(settings.also) + 4 * smooths) * n,
        read_bytes=8 * n * width,
        seconds=4
        + (_SECONDS_PER_VOTE + _SECONDS_PER_FIT * corrects) * n_compared
        + _SECONDS_PER_DIVIDED * n_voting * divides
        + 1e-6 * n * settings.restarts / 8,
    )
