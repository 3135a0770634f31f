"""The stage ``graph`` of a prediction: cells of the atlas near each new cell.

New cells are not joined to each other: what comes out for a cell then depends on the atlas and that cell
alone, however a file of new cells is cut (but for what an approximate search misses).
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.engine.device import resolve_device

if TYPE_CHECKING:
    from scrcl.engine.predict.atlas import Atlas
    from scrcl.engine.stage import Run
    from scrcl.graph.backends import Searcher
    from scrcl.typing import FloatArray, IntArray

__all__ = ["LOOK", "find_neighbours"]

LOOK = 3
"""Near cells looked at for each that a cell names: among them are most that would have named it."""

_BLOCK_ROWS = 16_384


def find_neighbours(atlas: Atlas, run: Run, folder: Path) -> dict[str, Any]:
    """Write ``ids.npy`` and ``squared.npy``: cells of the atlas by squared distance, nearest first."""
    from scrcl.graph.exact import ExactSearcher
    from scrcl.io.arrays import cores, for_each_block, index_dtype, new_map, release, row_blocks

    points, queries = (r.array("reduce", "scores") for r in (atlas.opened(run), run))
    k = run.config.graph.n_neighbors
    n_found = min(LOOK * k, len(points))
    exact, n_workers = ExactSearcher(points), min(cores(), run.budget.n_workers)
    shape = (len(queries), n_found)
    ids: IntArray = new_map(folder / "ids.npy", index_dtype(len(points)), shape)
    squared: FloatArray = new_map(folder / "squared.npy", np.dtype(np.float32), shape)
    with TemporaryDirectory(dir=folder) as scratch:
        searcher = _searcher(atlas, run, points, len(queries), Path(scratch))

        recall = _reach_recall(run, searcher, exact, queries, n_found, n_workers)

        def keep(start: int, stop: int) -> None:
            block = np.array(queries[start:stop])
            found, apart = searcher.search(block, n_found)
            lacking = np.flatnonzero(found[:, k - 1] < 0)
            if len(lacking):
                found[lacking], apart[lacking] = exact.search(block[lacking], n_found)
            ids[start:stop], squared[start:stop] = found, apart
            for array in (points, queries, ids, squared):
                release(array)

        for_each_block(
            keep,
            row_blocks(len(queries), _BLOCK_ROWS),
            n_workers=1 if searcher.has_threads else n_workers,
            on_rows=run.count("graph", len(queries)),
        )
    return {
        "n_cells": len(queries),
        "n_atlas_cells": len(points),
        "backend": searcher.name,
        "recall": recall,
    }


def _reach_recall(
    run: Run, searcher: Searcher, exact: Searcher, queries: FloatArray, n_found: int, n_workers: int
) -> float:
    """Widen ``searcher`` until it reaches the recall of the settings on a sample of the new cells."""
    from scrcl.graph.recall import reach_recall

    def distances_of(by: Searcher, rows: IntArray) -> FloatArray:
        return by.search(np.asarray(queries[rows]), n_found)[1]

    return reach_recall(
        searcher,
        exact,
        distances_of,
        len(queries),
        target=run.config.graph.recall,
        seed=run.config.seed,
        n_workers=n_workers,
    )


def _searcher(atlas: Atlas, run: Run, points: FloatArray, n_queries: int, folder: Path) -> Searcher:
    from scrcl.engine.stage import PARTITION
    from scrcl.graph.backends import Search, SearchTask, choose, make_searcher
    from scrcl.graph.partition import Partition

    config, device = run.config, resolve_device(run.config.device)
    search = Search(config.graph.backend, config.graph.recall, device)
    task = SearchTask(
        k=config.graph.n_neighbors,
        seed=config.seed,
        device=device,
        partition=Partition.load(atlas.folder.stage("graph") / PARTITION),
        folder=folder,
    )
    return make_searcher(choose(search, *points.shape, n_queries=n_queries), points, task)
