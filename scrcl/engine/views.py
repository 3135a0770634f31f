"""The two encoders' inputs, on disk: rows of cells, scaled, and smoothed over the cell graph.

Rows are in the order of the partition, and so is the graph beside them: a cell's neighbours are then
near it in the files, and pieces of near cells are runs of rows. `cells.npy` says which cell a row is.

The graph encoder's first propagation touches no weight, so it is made here, once: training then
needs the neighbours of a batch and nobody further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import atomic_folder
from scrcl.engine.stage import CSR, PARTITION
from scrcl.graph.partition import Partition, write_in_order
from scrcl.graph.propagate import propagate
from scrcl.graph.renumber import renumbered
from scrcl.graph.rows import RowWriter, release, row_blocks
from scrcl.io.features import FeatureStore
from scrcl.train.batch import Inputs, smooth_genes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scrcl.engine.stage import Run
    from scrcl.typing import FloatArray

__all__ = ["training_inputs"]


def training_inputs(run: Run) -> Inputs:
    """Open what training and inference read (memory maps); made on the first call of a run."""
    folder = run.stage("views")
    if not folder.is_dir():
        with atomic_folder(folder) as partial:
            _write_views(run, partial)
    sketch = run.array("genes", "sketch")
    return Inputs(
        x=run.array("views", "x"),
        ax=run.array("views", "ax"),
        genes=smooth_genes(sketch / max(float(sketch.std()), 1e-12), run.graph("genes")),
        graph=run.graph("views"),
        cells=run.array("views", "cells"),
    )


def _write_views(run: Run, folder: Path) -> None:
    config, read, base = run.config.train, folder / "read.npy", folder / "base.npy"
    order = Partition.load(run.stage("graph") / PARTITION).order
    graph = renumbered(run.graph("graph"), order, folder / CSR)
    np.save(folder / "cells.npy", order)
    _write_features(run, read)
    as_read = np.load(read, mmap_mode="r")
    points = write_in_order(as_read, order, np.zeros(as_read.shape[1], np.float32), base)
    read.unlink()
    rows, n_workers = run.budget.dense_block_rows, run.budget.n_workers
    for name, times in (("x", config.smoothing_mlp), ("ax", config.smoothing_gcn + 1)):
        propagate(
            points,
            graph,
            folder / f"{name}.npy",
            n_times=times,
            block_rows=rows,
            n_workers=n_workers,
        )
    base.unlink()


def _write_features(run: Run, out: Path) -> None:
    """Write the features of all cells, as they were read: float32, shape (n_cells, n_features)."""
    config = run.config.train
    n_cells, n_features, blocks = _features(run)
    scale = 1.0 if config.row_normalize else _global_scale(run)
    with RowWriter(out, n_cells, n_features) as writer:
        for start, rows in blocks:
            if config.row_normalize:
                lengths = np.linalg.norm(rows, axis=1, keepdims=True) / np.sqrt(n_features)
                writer.write(start, rows / np.maximum(lengths, 1e-12))
            else:
                writer.write(start, rows * scale)


def _features(run: Run) -> tuple[int, int, Iterator[tuple[int, FloatArray]]]:
    """Return rows, columns and an iterator over (first row, block)."""
    if run.config.train.features == "hvg":
        store = FeatureStore.open(run.stage("features"))
        return (
            store.n_obs,
            store.n_vars,
            ((start, block.toarray()) for start, block in store),
        )
    scores = run.array("reduce", "scores")
    blocks = row_blocks(len(scores), run.budget.dense_block_rows)
    return *scores.shape, (_block(scores, start, stop) for start, stop in blocks)


def _block(scores: FloatArray, start: int, stop: int) -> tuple[int, FloatArray]:
    rows = np.array(scores[start:stop])
    release(scores)
    return start, rows


def _global_scale(run: Run) -> float:
    """One factor for all values, which brings their mean square to 1."""
    n_cells, n_features, blocks = _features(run)
    total = sum(float(np.square(rows, dtype=np.float64).sum()) for _, rows in blocks)
    return float(np.sqrt(n_cells * n_features / max(total, 1e-12)))
