"""Stage ``inputs``: what the method reads in training, written once in the order that training reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._atomic import remove
from scrcl._contract import Artifact, Estimate
from scrcl.engine.memory import LIBRARIES_BYTES
from scrcl.engine.stage import Record, Stage
from scrcl.graph.artifacts import CELL_GRAPH, CSR, GENE_GRAPH, GENE_SKETCH, PARTITION
from scrcl.io.arrays import RowWriter, release, row_blocks
from scrcl.prep.artifacts import COMPONENTS, FEATURES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl._contract import Opener, Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.train.methods.scrcl.minibatch import Inputs
    from scrcl.typing import FloatArray

__all__ = [
    "INPUTS",
    "InputsRecord",
    "InputsStage",
    "input_scale",
    "open_inputs",
    "scaled",
    "write_base",
]


def _folder(folder: Path) -> Path:
    return folder


INPUTS: Artifact[Path] = Artifact("inputs of training", _folder)
"""The folder that the method wrote its inputs into."""


class InputsRecord(Record):
    """Cells whose inputs were written."""


class InputsStage(Stage[InputsRecord]):
    """Lets the method write what its training reads."""

    name = "inputs"
    record = InputsRecord
    takes = (COMPONENTS, FEATURES, CELL_GRAPH, PARTITION, GENE_GRAPH, GENE_SKETCH)
    gives = (INPUTS,)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        return Estimate(LIBRARIES_BYTES)

    def run(self, context: Context, folder: Path) -> InputsRecord:
        # Checkpoints of other inputs are of another training.
        remove(context.folder.checkpoints)
        n = _write_views(context, context.config, context.budget, folder)
        return InputsRecord(n_cells=n)


def open_inputs(opener: Opener) -> Inputs:
    from scrcl.graph.csr import Graph
    from scrcl.train.methods.scrcl.minibatch import Inputs, smooth_genes

    folder = opener.open(INPUTS)
    sketch = opener.open(GENE_SKETCH)

    def array(name: str) -> Any:
        return np.load(folder / f"{name}.npy", mmap_mode="r")

    return Inputs(
        x=array("x"),
        ax=array("ax"),
        genes=smooth_genes(sketch / max(float(sketch.std()), 1e-12), opener.open(GENE_GRAPH)),
        graph=Graph.load(folder / CSR),
        cells=array("cells"),
    )


def _write_views(opener: Opener, run_config: RunConfig, budget: Any, folder: Path) -> int:
    from scrcl.graph.propagate import propagate
    from scrcl.graph.renumber import renumbered

    config, base = run_config.train, folder / "base.npy"
    order = opener.open(PARTITION).order
    graph = renumbered(opener.open(CELL_GRAPH), order, folder / CSR)
    np.save(folder / "cells.npy", order)
    points = write_base(opener, run_config, budget, order, base)
    for name, times in (("x", config.smoothing_mlp), ("ax", config.smoothing_gcn + 1)):
        propagate(
            points,
            graph,
            folder / f"{name}.npy",
            n_times=times,
            block_rows=budget.dense_block_rows,
            n_workers=budget.n_workers,
        )
    base.unlink()
    return graph.n


def write_base(
    opener: Opener, run_config: RunConfig, budget: Any, order: NDArray[np.int64], out: Path
) -> FloatArray:
    from scrcl.graph.partition import write_in_order

    n_cells, n_features, blocks = _features(opener, run_config, budget)
    scale, as_read = input_scale(opener, run_config, budget), out.with_suffix(".read.npy")
    with RowWriter(as_read, n_cells, n_features) as writer:
        for start, rows in blocks:
            writer.write(start, scaled(rows, scale))
    rows = np.load(as_read, mmap_mode="r")
    ordered = write_in_order(rows, order, np.zeros(n_features, np.float32), out)
    as_read.unlink()
    return ordered


def _features(
    opener: Opener, run_config: RunConfig, budget: Any
) -> tuple[int, int, Iterator[tuple[int, FloatArray]]]:
    if run_config.train.features == "hvg":
        store = opener.open(FEATURES)
        return (
            store.n_obs,
            store.n_vars,
            ((start, block.toarray()) for start, block in store),
        )
    scores = opener.open(COMPONENTS)
    blocks = row_blocks(len(scores), budget.dense_block_rows)
    return *scores.shape, (_block(scores, start, stop) for start, stop in blocks)


def _block(scores: FloatArray, start: int, stop: int) -> tuple[int, FloatArray]:
    rows = np.array(scores[start:stop])
    release(scores)
    return start, rows


def scaled(rows: FloatArray, scale: float | None) -> FloatArray:
    if scale is not None:
        return rows * scale
    lengths = np.linalg.norm(rows, axis=1, keepdims=True) / np.sqrt(rows.shape[1])
    return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)


def input_scale(opener: Opener, run_config: RunConfig, budget: Any) -> float | None:
    if run_config.train.row_normalize:
        return None
    n_cells, n_features, blocks = _features(opener, run_config, budget)
    total = sum(float(np.square(rows, dtype=np.float64).sum()) for _, rows in blocks)
    return float(np.sqrt(n_cells * n_features / max(total, 1e-12)))
