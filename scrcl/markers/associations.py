"""Associations of clusters and genes by what a method has learned: vectors of cells and of genes.

The association of a cell and a gene is the inner product of their vectors. So the mean over a cluster minus the mean
over all other cells needs only the mean vectors of the clusters, and no matrix of cells by genes is formed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._group_means import group_sums
from scrcl.io.arrays import release, row_blocks
from scrcl.markers.ranking import with_symbols

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from scrcl.markers.listed import ListedGenes
    from scrcl.typing import FloatArray, IntArray

__all__ = ["ASSOCIATION_COLUMNS", "association_table", "cluster_associations"]

ASSOCIATION_COLUMNS = ("cluster", "rank", "gene", "association", "module", "marker_rank", "kind")
"""Columns of the table of associations."""


def cluster_associations(
    cells: FloatArray, genes: FloatArray, labels: IntArray, *, block_rows: int = 65_536
) -> NDArray[np.float64]:
    """Return the mean association in each cluster minus that of all other cells.

    Parameters
    ----------
    cells
        ndarray or memory map of float32, shape (n_cells, width): vectors of the cells, read in blocks.
    genes
        ndarray of float, shape (n_genes, width): vectors of the genes.
    labels
        ndarray of int, shape (n_cells,): cluster of each cell.

    Returns
    -------
    ndarray of float64, shape (n_clusters, n_genes)
        Zeros where there is one cluster: there are no other cells.
    """
    sizes = np.bincount(labels)
    sums = np.zeros((len(sizes), cells.shape[1]))
    for start, stop in row_blocks(len(cells), block_rows):
        sums += group_sums(cells[start:stop], labels[start:stop], len(sizes))
        release(cells)
    if len(sizes) == 1:
        return np.zeros((1, len(genes)))
    inside = sums / np.maximum(sizes, 1)[:, None]
    outside = (sums.sum(axis=0) - sums) / (sizes.sum() - sizes)[:, None]
    found: NDArray[np.float64] = (inside - outside) @ np.asarray(genes, np.float64).T
    return found


def association_table(
    scores: FloatArray,
    genes: ListedGenes,
    *,
    modules: IntArray,
    markers: pd.DataFrame,
    n_top: int,
) -> pd.DataFrame:
    """Return the genes with the largest associations of each cluster.

    Parameters
    ----------
    scores
        ndarray of float, shape (n_clusters, n_genes), from `cluster_associations`.
    genes, modules
        Names, symbols and kinds of the genes, and the module of each.
    markers
        Table of the markers of the same clusters.

    Returns
    -------
    DataFrame
        ``n_top`` rows for each cluster, or all genes if there are fewer, with `ASSOCIATION_COLUMNS`, and ``symbol``
        after ``gene`` where there are symbols. ``rank`` counts from 0. ``marker_rank`` is the rank among the markers of
        the cluster, -1 for a gene that is not listed there.
        Empty where there is one cluster.
    """
    import pandas as pd

    parts = []
    for cluster, row in enumerate(scores if len(scores) > 1 else ()):
        top = np.argsort(-row, kind="stable")[:n_top]
        own = markers[markers["cluster"] == cluster].set_index("gene")["rank"]
        listed = genes.at(top)
        columns = {
            "cluster": np.full(len(top), cluster),
            "rank": np.arange(len(top)),
            "association": row[top],
            "module": modules[top],
            "marker_rank": own.reindex(listed.names).fillna(-1).to_numpy(np.int64),
            **listed.columns(),
        }
        in_order = with_symbols(ASSOCIATION_COLUMNS, columns)
        parts.append(pd.DataFrame({name: columns[name] for name in in_order}))
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=list(ASSOCIATION_COLUMNS))
    )
