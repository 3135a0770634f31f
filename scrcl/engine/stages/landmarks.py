"""Maps of some cells, with all others put among them: what the stages ``umap`` and ``pseudotime`` share."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from scrcl.engine.stages.embed import EMBEDDING
from scrcl.graph.artifacts import NEIGHBOR_DISTANCES, NEIGHBOR_IDS
from scrcl.io.arrays import (
    SMALL_MAP_BYTES,
    for_each_block,
    gathered,
    release,
    row_blocks,
)
from scrcl.prep.artifacts import COMPONENTS

if TYPE_CHECKING:
    from scrcl.engine.context import Context
    from scrcl.typing import FloatArray, IntArray

__all__ = ["NEAR", "neighbours_for_map", "space_of_maps", "with_others"]

NEAR = 5
"""Landmarks among which another cell is put."""

_BLOCK_ROWS = 16_384


def space_of_maps(context: Context) -> FloatArray:
    """Return the points whose neighbours maps show: those of the run, but in a tissue those in the embedding.

    With coordinates, the run's neighbours are those in the tissue, and a map would only repeat the tissue.
    """
    points: FloatArray = context.open(EMBEDDING if context.config.spatial else COMPONENTS)
    return points


def neighbours_for_map(
    context: Context, points: FloatArray, cells: IntArray
) -> tuple[IntArray, FloatArray]:
    """Return the nearest neighbours of some cells among themselves, and distances: those of the run if it has them."""
    from scrcl.engine.stages.graph_search import search_of
    from scrcl.graph.knn import knn

    config = context.config
    if len(cells) == len(points) and not config.spatial:
        ids, distances = context.open(NEIGHBOR_IDS), context.open(NEIGHBOR_DISTANCES)
        return np.array(ids), np.array(distances)
    k = min(config.graph.n_neighbors, len(cells) - 1)
    found = knn(
        gathered(points, cells, above=SMALL_MAP_BYTES),
        k,
        seed=config.seed,
        search=search_of(config),
    )
    return found.ids, found.distances


def with_others(
    context: Context, points: FloatArray, cells: IntArray, values: FloatArray, name: str
) -> FloatArray:
    """Return values of all cells: each cell without gets a mean of those of the nearest cells that have them.

    Parameters
    ----------
    cells
        ndarray of int, shape (n_some,): cells that have values, ascending.
    values
        ndarray of float32, shape (n_some, n_columns).
    name
        Name of the work, for its progress.
    """
    from scrcl.engine.stages.graph_search import search_of
    from scrcl.graph.backends import choose, make_searcher
    from scrcl.graph.searcher import SearchTask
    from scrcl.maps.place import placed

    config, search = context.config, search_of(context.config)
    others = np.delete(np.arange(len(points)), cells)
    whole = np.empty((len(points), values.shape[1]), np.float32)
    whole[cells] = values
    near = gathered(points, cells, above=SMALL_MAP_BYTES)
    k = min(NEAR, len(cells))
    with TemporaryDirectory() as scratch:
        task = SearchTask(k=k, seed=config.seed, device=search.device, folder=Path(scratch))
        searcher = make_searcher(choose(search, *near.shape, n_queries=len(others)), near, task)

        def put(start: int, stop: int) -> None:
            rows = others[start:stop]
            whole[rows] = placed(*searcher.search(np.asarray(points[rows]), k), values)
            release(points)

        for_each_block(
            put,
            row_blocks(len(others), _BLOCK_ROWS),
            n_workers=1 if searcher.has_threads else context.budget.n_threads,
            on_rows=context.count(name, len(others)),
        )
    return whole
