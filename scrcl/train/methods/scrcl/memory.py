"""What scRCL takes: memory, disk and time of its stages, from the sizes of the data and the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl._contract import Estimate
from scrcl.io.arrays import KEPT_MAP_BYTES, SMALL_MAP_BYTES
from scrcl.train.memory import LIBRARIES_BYTES, MORE_NEIGHBORS, dense_block_rows, distinct_cells
from scrcl.train.method import Estimates
from scrcl.train.schedule import schedule_of

if TYPE_CHECKING:
    from scrcl._contract import Shape
    from scrcl.train.methods.scrcl.settings import ScrclSettings
    from scrcl.train.settings import TrainSettings

__all__ = ["estimates", "widest"]

_GRADIENT_ROWS = 16
"""Copies of an embedding that a step holds, gradients included, of a seed or of an anchor of the block in
work; measured 13 to 16."""

BLOCK_ANCHORS = 8_192
"""Anchors encoded at a time, as `scrcl.train.pairs` cuts them on the CPU."""

_PAIR_BYTES = 90
"""For each pair of a mini-batch: both orders, weights and products."""

READ_BATCHES = 4
"""Mini-batches whose rows are resident: the current one, the next one, and what the allocator keeps of earlier
ones; measured at a million cells."""

_TRAINED_NODE_BYTES = 40
"""For each cell in training: its row's start, degree and scale, its position in the epoch, and its number."""

_NEW_LINK_BYTES = 28
"""For each of the run's cells in prediction: row start, degree and its root, and the farthest neighbour."""

_GATHERED_BYTES = 24 * 8_000_000
"""Neighbours' rows of a block of new cells: of each level, of the GCN view and its first layer, as arrays and
tensors."""

_ANCHOR_SECONDS, _PAIR_SECONDS = 3.8e-6, 0.85e-6
"""For each anchor and each pair of a step, on two cores. Fitted to 100 steps: 13, 25 and 45 CPU seconds at 4,000,
16,000 and 64,000 cells, of which seconds are about .6, and 42 seconds at a million (``bench/results/training``)."""

_START_SECONDS = 3
"""Loading torch, and the first step. A first run after an installation also compiles loops."""


def n_features(shape: Shape, settings: ScrclSettings) -> int:
    """Return the number of columns that the encoders read."""
    return shape.n_comps if settings.features == "pca" else shape.n_genes


def widest(shape: Shape, settings: ScrclSettings) -> int:
    """Return the width of the widest rows that are held in blocks of cells."""
    return max(n_features(shape, settings), 2 * settings.dim, shape.n_comps)


def estimates(
    shape: Shape, settings: ScrclSettings, train: TrainSettings, *, space: str
) -> Estimates:
    """Return what the stages of scRCL take."""
    n, width, dim = shape.n_cells, n_features(shape, settings), settings.dim
    edges = MORE_NEIGHBORS * shape.n_neighbors
    rows, half = 4 * n * width, 4 * n * dim
    per_cell = LIBRARIES_BYTES + int(n * _TRAINED_NODE_BYTES)
    # A block of dense rows and its product.
    dense = 8 * dense_block_rows(widest(shape, settings)) * max(width, shape.n_comps)
    inputs = Estimate(
        per_cell + 2 * min(rows, SMALL_MAP_BYTES) + int(min(4 * n * edges, SMALL_MAP_BYTES)),
        dense,
        shared=True,
        # The features in the order of the cells are deleted at the end.
        disk_bytes=int(n * (12 * width + 4 * edges + 16)),
        read_bytes=2 * rows,
        seconds=1 + 1e-5 * n,
    )
    training = Estimate(
        per_cell + 2 * min(rows, KEPT_MAP_BYTES) + int(min(4 * n * edges, KEPT_MAP_BYTES)),
        step_bytes(shape, settings, train),
        read_bytes=2 * rows,
        seconds=_START_SECONDS + _seconds(shape, settings, train),
    )
    embed = Estimate(
        per_cell
        + 2 * min(rows, SMALL_MAP_BYTES)
        + 2 * min(half, SMALL_MAP_BYTES)
        + int(min(4 * n * edges, SMALL_MAP_BYTES)),
        dense,
        disk_bytes=n * (8 * (dim + settings.refined_dim) + 4 * dim * (space == "graph_view")),
        read_bytes=2 * rows,
        seconds=1 + 1e-5 * n,
    )
    new_cells = Estimate(
        LIBRARIES_BYTES + _NEW_LINK_BYTES * n + min(2 * rows, 2 * SMALL_MAP_BYTES),
        _GATHERED_BYTES,
        disk_bytes=n * 8 * (dim + settings.refined_dim),
    )
    return Estimates(inputs, training, embed, new_cells)


def step_bytes(shape: Shape, settings: ScrclSettings, train: TrainSettings) -> int:
    """Return what a step holds: rows of the mini-batch's cells, their halo, and those of the negatives."""
    width = n_features(shape, settings)
    sizes, neighbors = _sizes(settings, train), _drawn_neighbors(shape, train)
    seeds = sum(min(size, shape.n_cells) for size in sizes)
    anchors = sum(distinct_cells(shape.n_cells, size, neighbors) for size in sizes)
    pairs = seeds * neighbors * _PAIR_BYTES
    embedded = seeds + min(BLOCK_ANCHORS, anchors)
    read = READ_BATCHES * (anchors * 8 * width + pairs)
    # The subset of the stability checks stays on the device, with all of its neighbours.
    subset = min(train.stop_cells if train.stop == "auto" else 0, shape.n_cells)
    all_neighbors = MORE_NEIGHBORS * shape.n_neighbors
    sampled = subset + distinct_cells(shape.n_cells, subset, all_neighbors)
    read += sampled * 4 * width
    return int(read + embedded * 4 * _GRADIENT_ROWS * settings.dim)


def _sizes(settings: ScrclSettings, train: TrainSettings) -> tuple[int, int]:
    """Return the number of seed cells and of drawn negatives in a mini-batch."""
    return train.minibatch_cells, settings.n_negatives if settings.negatives == "sampled" else 0


def _drawn_neighbors(shape: Shape, train: TrainSettings) -> float:
    """Return the mean number of neighbours of a seed cell."""
    found = MORE_NEIGHBORS * shape.n_neighbors
    return found if train.fanout is None else min(found, train.fanout)


def _seconds(shape: Shape, settings: ScrclSettings, train: TrainSettings) -> float:
    """Return the time of all steps, if the stability checks end none of them."""
    neighbors, sizes = _drawn_neighbors(shape, train), _sizes(settings, train)
    anchors = sum(distinct_cells(shape.n_cells, size, neighbors) for size in sizes)
    pairs = sum(min(size, shape.n_cells) for size in sizes) * neighbors
    step = _ANCHOR_SECONDS * anchors + _PAIR_SECONDS * pairs
    return schedule_of(train, shape.n_cells).n_steps * step
