"""For each marker gene, the cluster that comes next: it tells whether the gene marks one cluster alone.

Tests compare a cluster with all other cells together. A gene of a small cluster then has a good score although another
small cluster has it too. Who stains or sorts cells by a gene asks for that other cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.markers.scores import fold_change

if TYPE_CHECKING:
    import pandas as pd

    from scrcl.markers.profiles import Profiles
    from scrcl.typing import IntArray

__all__ = ["NEXT_COLUMNS", "with_next"]

NEXT_COLUMNS = ("next_cluster", "next_fold_change", "share_next")
"""Columns of the table of markers, after ``share_out``: the other cluster with the largest mean, the log2 fold change
over it, and the share of its cells that express the gene."""


def with_next(table: pd.DataFrame, profiles: Profiles, genes: pd.Index) -> pd.DataFrame:
    """Return the table of markers with `NEXT_COLUMNS`, which are of all cells, also where batches are compared.

    Parameters
    ----------
    genes
        Names of the genes of ``profiles``.
    """
    import pandas as pd

    at, own = genes.get_indexer(pd.Index(table["gene"])), table["cluster"].to_numpy(np.int64)
    found = _next_of(profiles, at, own)
    mean = profiles.mean
    columns = (found, fold_change(mean[at, own], mean[at, found]), profiles.share[at, found])
    table = table.copy()
    where = [*table].index("share_out") + 1
    for name, values in reversed([*zip(NEXT_COLUMNS, columns, strict=True)]):
        table.insert(where, name, values)
    return table


def _next_of(profiles: Profiles, genes: IntArray, own: IntArray) -> IntArray:
    """Return for each gene the cluster with the largest mean that is not its own."""
    others = profiles.mean[genes].copy()
    others[np.arange(len(genes)), own] = -np.inf
    others[:, profiles.cells == 0] = -np.inf
    return np.asarray(others.argmax(axis=1)) if others.size else np.zeros(0, np.int64)
