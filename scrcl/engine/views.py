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
from scrcl.io.arrays import RowWriter, release, row_blocks
from scrcl.prep.feature_store import FeatureStore
from scrcl.train.methods.scrcl.minibatch import Inputs, smooth_genes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.engine.stage import Run
    from scrcl.typing import FloatArray

__all__ = ["input_scale", "scaled", "training_inputs", "write_base"]


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
    config, base = run.config.train, folder / "base.npy"
    order = Partition.load(run.stage("graph") / PARTITION).order
    graph = renumbered(run.graph("graph"), order, folder / CSR)
    np.save(folder / "cells.npy", order)
    points = write_base(run, order, base)
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


def write_base(run: Run, order: NDArray[np.int64], out: Path) -> FloatArray:
    """Write the scaled features of all cells, in an order; returns them as a memory map.

    Returns
    -------
    memory map of float32, shape (n_cells, n_features)
    """
    n_cells, n_features, blocks = _features(run)
    scale, as_read = input_scale(run), out.with_suffix(".read.npy")
    with RowWriter(as_read, n_cells, n_features) as writer:
        for start, rows in blocks:
            writer.write(start, scaled(rows, scale))
    rows = np.load(as_read, mmap_mode="r")
    ordered = write_in_order(rows, order, np.zeros(n_features, np.float32), out)
    as_read.unlink()
    return ordered


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


def scaled(rows: FloatArray, scale: float | None) -> FloatArray:
    """Return rows of features as the encoders read them: by one factor, or each to one length."""
    if scale is not None:
        return rows * scale
    lengths = np.linalg.norm(rows, axis=1, keepdims=True) / np.sqrt(rows.shape[1])
    return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)


def input_scale(run: Run) -> float | None:
    """Return the factor of all features, which brings their mean square to 1; None by rows."""
    if run.config.train.row_normalize:
        return None
    n_cells, n_features, blocks = _features(run)
    total = sum(float(np.square(rows, dtype=np.float64).sum()) for _, rows in blocks)
    return float(np.sqrt(n_cells * n_features / max(total, 1e-12)))
