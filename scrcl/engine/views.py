"""The two encoders' inputs, on disk: rows of cells, scaled, and smoothed over the cell graph.

The graph encoder's first propagation touches no weight, so it is made here, once: training then
needs the neighbours of a batch and nobody further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import atomic_folder
from scrcl.engine.stage import PARTITION
from scrcl.graph.partition import Partition
from scrcl.graph.propagate import propagate
from scrcl.graph.rows import RowWriter, row_blocks
from scrcl.io.features import FeatureStore
from scrcl.train.batch import Inputs, smooth_genes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
    order = None
    if run.config.train.batches == "partitions":
        order = Partition.load(run.stage("graph") / PARTITION).order
    return Inputs(
        x=run.array("views", "x"),
        ax=run.array("views", "ax"),
        genes=smooth_genes(sketch / max(float(sketch.std()), 1e-12), run.graph("genes")),
        graph=run.graph("graph"),
        order=order,
    )


def _write_views(run: Run, folder: Path) -> None:
    config, graph = run.config.train, run.graph("graph")
    base = folder / "base.npy"
    write_base(run, base)
    points = np.load(base, mmap_mode="r")
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


def write_base(run: Run, out: Path) -> None:
    """Write the features of all cells: float32, shape (n_cells, n_features)."""
    n_cells, n_features, blocks = _features(run)
    scale = input_scale(run)
    with RowWriter(out, n_cells, n_features) as writer:
        for start, rows in blocks:
            writer.write(start, scaled(rows, scale))


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
    return *scores.shape, ((start, np.array(scores[start:stop])) for start, stop in blocks)


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
