"""What scGPCL trains on: the feature store, whose non-zeros are the edges between cells and genes.

Rows of the store are read as they are needed. One pass over it finds the scale of each gene and, for each
gene, a subset of the cells that have it. Counts are not stored: a log value and the total of its cell give
the count back exactly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scrcl._atomic import write_json
from scrcl._random import derive_seed, drawn_rows, stream
from scrcl.graph.artifacts import PARTITION
from scrcl.graph.communities import large_communities, leiden_of, neighbour_graph
from scrcl.io.arrays import release
from scrcl.prep.artifacts import COMPONENTS, FEATURES, STATS
from scrcl.prep.normalize import at_depth, row_sums, size_factors
from scrcl.train.methods.scgpcl.draws import CellLists

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl._contract import Opener
    from scrcl.prep.feature_store import FeatureStore
    from scrcl.train.methods.scgpcl.settings import ScgpclSettings
    from scrcl.train.setup import Work
    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = [
    "EVALUATION_CELLS",
    "Inputs",
    "drawn_context",
    "open_inputs",
    "scaled",
    "selected_sums",
    "write_inputs",
]

EVALUATION_CELLS = 2_048
"""Cells that genes are updated from outside of training: the same for every cell."""

_COUNTED_CELLS, _COUNTED_NEIGHBORS, _RESOLUTION, _SMALLEST_SHARE = 20_000, 15, 0.5, 0.02
"""How clusters are counted before training: the defaults of the run's own count, of component scores alone."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """The edges between cells and genes, and what is known of each cell and gene.

    Attributes
    ----------
    store
        Log values by cell, in parts on disk.
    cells
        ndarray or memory map of int64, shape (n_cells,): row ``r`` of training is cell ``cells[r]`` of the store.
        Rows are in the order of a partition.
    totals
        ndarray or memory map of float32, shape (n_cells,): divisor of each cell's counts in the store.
    mean, deviation
        ndarrays of float32, shape (n_genes,): of each gene's values as `scaled` reads them, zeros included.
    rates
        ndarray of float32, shape (n_genes,): mean count of a cell of usual depth; zeros for log values.
    lists
        ndarray of int64, shape (n_genes, n_most): cells that have the gene, -1 behind the last.
    context
        ndarray of int64, shape (n_context,): cells that genes are updated from outside of training, ascending.
    usual_depth
        Median over cells of their counts in the selected genes; 0 for log values, which are read as they are.
    n_clusters
        Number of clusters that training aims at.
    """

    store: FeatureStore
    cells: IntArray
    totals: FloatArray
    mean: FloatArray
    deviation: FloatArray
    rates: FloatArray
    lists: IntArray
    context: IntArray
    usual_depth: float
    n_clusters: int

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.store.n_obs

    @property
    def n_genes(self) -> int:
        """Number of selected genes."""
        return self.store.n_vars


def write_inputs(opener: Opener, folder: Path, settings: ScgpclSettings, work: Work) -> None:
    """Write scales, the cells of each gene, totals and the number of clusters.

    The store is read once, and of counts once more before that, for their usual depth.
    """
    store, stats = opener.open(FEATURES), opener.open(STATS)
    totals = size_factors(stats.cell_counts[stats.retained])
    usual_depth = 0.0 if stats.already_log else _usual_depth(store, totals)
    sums = np.zeros((3, store.n_vars))
    lists = CellLists(
        store.n_vars,
        min(settings.cells_per_gene, store.n_obs),
        derive_seed(work.seed, "scgpcl.lists"),
    )
    for start, rows in store:
        values = _at_usual_depth(rows, usual_depth, np.float64)
        usual = np.zeros_like(values) if stats.already_log else np.expm1(values)
        for i, each in enumerate((values, values**2, usual)):
            sums[i] += np.bincount(rows.indices, each, minlength=store.n_vars)
        lists.add(start, rows)
    mean = sums[0] / store.n_obs
    variance = np.maximum(sums[1] / store.n_obs - mean**2, 0)
    # A gene that is constant, or in no cell, carries nothing: its scaled values are 0.
    deviation = np.where(variance > 1e-12, np.sqrt(variance), np.inf)
    found = lists.lists()
    arrays: dict[str, Any] = {
        "totals": totals,
        "mean": mean.astype(np.float32),
        "deviation": deviation.astype(np.float32),
        "rates": (sums[2] / store.n_obs).astype(np.float32),
        "lists": found,
        "context": drawn_context(
            found, EVALUATION_CELLS, stream(work.seed, "scgpcl.context.evaluation")
        ),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    n_clusters = settings.n_clusters
    if n_clusters == "auto":
        n_clusters = _counted(opener.open(COMPONENTS), work.seed)
    facts = {"usual_depth": usual_depth, "n_clusters": n_clusters}
    write_json(folder / "facts.json", facts)


def open_inputs(opener: Opener, folder: Path) -> Inputs:
    """Open what `write_inputs` wrote. Arrays by cell are memory maps."""
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    small = {
        name: np.load(folder / f"{name}.npy")
        for name in ("mean", "deviation", "rates", "lists", "context")
    }
    return Inputs(
        store=opener.open(FEATURES),
        cells=opener.open(PARTITION).order,
        totals=np.load(folder / "totals.npy", mmap_mode="r"),
        **small,
        **facts,
    )


def drawn_context(lists: IntArray, n_cells: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return at most ``n_cells`` distinct cells, ascending: one from the list of each drawn gene.

    So rare genes have cells among them too. A cell with more genes is more likely, as in the sampling of the
    method's authors.
    """
    lengths = (lists >= 0).sum(axis=1)
    genes = rng.choice(np.flatnonzero(lengths), n_cells)
    at = rng.integers(0, lengths[genes])
    return np.unique(lists[genes, at])


def scaled(rows: Csr, inputs: Inputs, *, share: float = 1.0) -> NDArray[np.float32]:
    """Return log values as the encoder reads them: float32, shape (n_rows, n_genes), mean 0 and deviation 1.

    The counts of each cell in the selected genes are scaled to their median over cells, as in the code of the
    method's authors. Sums of 10,000, as the store has them, are far above the counts of most cells, and leave the
    log values of 1 and 2 counts nearly equal.

    Parameters
    ----------
    share
        Share of these counts that the genes of the rows have in an average cell; below 1 where genes are missing.
    """
    dense: NDArray[np.float32] = sparse.csr_matrix(
        (_at_usual_depth(rows, inputs.usual_depth * share, np.float32), rows.indices, rows.indptr),
        shape=rows.shape,
    ).toarray()
    dense -= inputs.mean
    dense /= inputs.deviation
    return dense


def selected_sums(rows: Csr) -> FloatArray:
    """Return the sum of each cell over the selected genes, as a share of its divisor: float64, shape (n_rows,)."""
    linear = np.expm1(rows.data.astype(np.float64))
    return row_sums(sparse.csr_matrix((linear, rows.indices, rows.indptr), shape=rows.shape))


def _usual_depth(store: FeatureStore, totals: FloatArray) -> float:
    """Return the median over cells of their counts in the selected genes; cells without any are left out."""
    sums = np.concatenate([selected_sums(rows) for _, rows in store]) * totals
    return float(np.median(sums[sums > 0]))


def _at_usual_depth(rows: Csr, depth: float, dtype: type[np.floating[Any]]) -> FloatArray:
    """Return the log values of cells whose counts in the selected genes add up to ``depth``; 0: as they are."""
    logs: FloatArray = rows.data.astype(dtype)
    if not depth:
        return logs
    # A cell without such counts has no value to scale.
    sums = np.repeat(selected_sums(rows), np.diff(rows.indptr))
    return at_depth(logs, depth / sums)


def _counted(scores: FloatArray, seed: int) -> int:
    """Return the number of large communities among component scores, at least 2."""
    cells = drawn_rows(len(scores), _COUNTED_CELLS, seed, "scgpcl.count")
    graph = neighbour_graph(np.asarray(scores[cells]), _COUNTED_NEIGHBORS, seed)
    release(scores)
    communities = leiden_of(graph, seed=seed, name="scgpcl.count.leiden")
    sizes = np.bincount(communities(_RESOLUTION))
    return max(len(large_communities(sizes, _SMALLEST_SHARE)), 2)
