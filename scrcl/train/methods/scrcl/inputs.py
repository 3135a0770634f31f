"""What scRCL trains on: rows of cells for its two views, the cell graph, and the genes.

Rows are in the order of the partition, and so are the nodes of the graph. A cell's neighbours are then
close to it in the files, and pieces of similar cells are consecutive rows. ``cells.npy`` names the cell of
each row.

The graph encoder's first propagation has no weights, so it is done once, here. Training then needs only
the direct neighbours of a mini-batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scrcl.errors import InputError, StoreError
from scrcl.graph.artifacts import CELL_GRAPH, GENE_GRAPH, GENE_SKETCH, PARTITION
from scrcl.graph.csr import Graph, normalized_adjacency
from scrcl.graph.partition import write_in_order
from scrcl.graph.propagate import adjacency_weights, propagate
from scrcl.graph.renumber import renumbered
from scrcl.io.arrays import RowWriter, release, row_blocks
from scrcl.prep.artifacts import COMPONENTS, FEATURES, STATS
from scrcl.prep.normalize import counts_of, size_factors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl._contract import Opener
    from scrcl.train.methods.scrcl.settings import ScrclSettings
    from scrcl.train.setup import Work
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = [
    "Inputs",
    "cell_totals",
    "gene_values",
    "input_scale",
    "open_inputs",
    "scaled",
    "smooth_genes",
    "write_base",
    "write_inputs",
]

_CSR = "csr"


@dataclass(frozen=True, eq=False)
class Inputs:
    """Rows of cells and of genes, and the cell graph.

    Attributes
    ----------
    x
        ndarray or memory map of float, shape (n_cells, n_features): the MLP view's input.
    ax
        ndarray or memory map of float, shape (n_cells, n_features): the GCN view's input,
        propagated once over the graph.
    genes
        ndarray of float, shape (n_genes, n_gene_features), from `smooth_genes`.
    graph
        Cell graph; its nodes are the rows of ``x``.
    cells
        ndarray or memory map of int, shape (n_cells,): row ``r`` is cell ``cells[r]``. Rows are in the order of a
        partition, so that similar cells are close; None: row ``r`` is cell ``r``.

    Raises
    ------
    InputError
        The shapes do not fit each other.
    """

    x: FloatArray
    ax: FloatArray
    genes: FloatArray
    graph: Graph
    cells: IntArray | None = None

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.x.shape != self.ax.shape or len(self.x) != self.graph.n:
            message = (
                f"x and ax must have one row for each of the graph's {self.graph.n} cells, and the "
                f"same width; got {self.x.shape} and {self.ax.shape}. Write both for the same cells."
            )
            raise InputError(message)
        if self.graph.n < 2:
            message = f"cells must be at least 2; got {self.graph.n}. Keep more cells."
            raise InputError(message)
        if self.cells is not None and self.cells.shape != (self.graph.n,):
            message = (
                f"cells must name the graph's {self.graph.n} rows; got shape {self.cells.shape}. "
                "Write them together with the rows."
            )
            raise InputError(message)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.graph.n


def smooth_genes(sketch: FloatArray, graph: Graph) -> FloatArray:
    """Return the gene encoder's input: the sketch propagated once over the gene graph, float32."""
    smoothed: FloatArray = normalized_adjacency(graph) @ np.asarray(sketch, np.float32)
    return smoothed


def write_inputs(opener: Opener, folder: Path, settings: ScrclSettings, work: Work) -> None:
    """Write ``x.npy``, ``ax.npy``, ``cells.npy`` and the graph ``csr`` in the order of the partition."""
    base = folder / "base.npy"
    order = opener.open(PARTITION).order
    graph = renumbered(opener.open(CELL_GRAPH), order, folder / _CSR)
    np.save(folder / "cells.npy", order)
    points = write_base(opener, order, base, settings, block_rows=work.block_rows)
    weights = adjacency_weights(graph)
    for name, times in (("x", settings.smoothing_mlp), ("ax", settings.smoothing_gcn + 1)):
        propagate(
            points,
            weights,
            folder / f"{name}.npy",
            n_times=times,
            block_rows=work.block_rows,
            n_workers=work.n_workers,
        )
    base.unlink()


def open_inputs(opener: Opener, folder: Path) -> Inputs:
    """Open what `write_inputs` wrote, and the genes.

    Raises
    ------
    StoreError
        A file is missing or damaged.
    """
    sketch = opener.open(GENE_SKETCH)
    return Inputs(
        x=_opened(folder, "x"),
        ax=_opened(folder, "ax"),
        genes=smooth_genes(sketch / max(float(sketch.std()), 1e-12), opener.open(GENE_GRAPH)),
        graph=Graph.load(folder / _CSR),
        cells=_opened(folder, "cells"),
    )


def _opened(folder: Path, name: str) -> Any:
    try:
        return np.load(folder / f"{name}.npy", mmap_mode="r")
    except Exception as error:
        message = (
            f"{folder} must hold an undamaged {name}.npy; got {type(error).__name__}: {error}. "
            "Delete that folder and repeat the same command."
        )
        raise StoreError(message) from error


def write_base(
    opener: Opener, order: NDArray[np.int64], out: Path, settings: ScrclSettings, *, block_rows: int
) -> FloatArray:
    """Write the scaled features of all cells, in an order; return them as a memory map.

    Returns
    -------
    memory map of float32, shape (n_cells, n_features)
    """
    n_cells, n_features, blocks = _features(opener, settings, block_rows)
    scale = input_scale(opener, settings, block_rows=block_rows)
    as_read = out.with_suffix(".read.npy")
    with RowWriter(as_read, n_cells, n_features) as writer:
        for start, rows in blocks:
            writer.write(start, scaled(rows, scale))
    rows = np.load(as_read, mmap_mode="r")
    ordered = write_in_order(rows, order, np.zeros(n_features, np.float32), out)
    as_read.unlink()
    return ordered


def _features(
    opener: Opener, settings: ScrclSettings, block_rows: int
) -> tuple[int, int, Iterator[tuple[int, FloatArray]]]:
    """Return the number of rows, of columns, and an iterator over (first row, block)."""
    if settings.features != "pca":
        store = opener.open(FEATURES)
        totals = cell_totals(opener, settings)
        return (
            store.n_obs,
            store.n_vars,
            (
                (start, gene_values(rows, _part(totals, start, start + rows.shape[0])))
                for start, rows in store
            ),
        )
    scores = opener.open(COMPONENTS)
    blocks = row_blocks(len(scores), block_rows)
    return *scores.shape, (_block(scores, start, stop) for start, stop in blocks)


def cell_totals(opener: Opener, settings: ScrclSettings) -> FloatArray | None:
    """Return what turns log values of each cell into counts; None if log values are read."""
    if settings.features == "hvg":
        return None
    stats = opener.open(STATS)
    return size_factors(stats.cell_counts[stats.retained])


def gene_values(rows: Csr, totals: FloatArray | None) -> FloatArray:
    """Return log values of cells, or their counts with the totals of these cells: float32, (n_cells, n_genes)."""
    if totals is not None:
        counts = counts_of(rows, totals).astype(np.float32)
        rows = sparse.csr_matrix((counts, rows.indices, rows.indptr), shape=rows.shape)
    dense: FloatArray = rows.toarray()
    return dense


def _part(totals: FloatArray | None, start: int, stop: int) -> FloatArray | None:
    return None if totals is None else totals[start:stop]


def _block(scores: FloatArray, start: int, stop: int) -> tuple[int, FloatArray]:
    rows = np.array(scores[start:stop])
    release(scores)
    return start, rows


def scaled(rows: FloatArray, scale: float | None) -> FloatArray:
    """Return rows of features as the encoders read them: times one factor, or each of one length."""
    if scale is not None:
        return rows * scale
    lengths = np.linalg.norm(rows, axis=1, keepdims=True) / np.sqrt(rows.shape[1])
    return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)


def input_scale(opener: Opener, settings: ScrclSettings, *, block_rows: int) -> float | None:
    """Return the factor that brings the mean square of all features to 1; None if rows are scaled."""
    if settings.row_normalize:
        return None
    n_cells, n_features, blocks = _features(opener, settings, block_rows)
    total = sum(float(np.square(rows, dtype=np.float64).sum()) for _, rows in blocks)
    return float(np.sqrt(n_cells * n_features / max(total, 1e-12)))
