"""Sums of counts over groups of cells, from a read of the matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from scrcl.io.rows import as_csr
from scrcl.io.stream import Reading, map_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array as da
    import pandas as pd
    from anndata import AnnData

    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = [
    "GroupSums",
    "Pairs",
    "columns_of_donors",
    "pairs_of",
    "sums_of_groups",
    "table_of_sums",
]


class Pairs(NamedTuple):
    """Pairs of a donor and a cluster that have cells, ascending by donor."""

    codes: IntArray
    """shape (n_cells,): the pair of each cell, int32; -1 for cells to leave out"""
    donors: IntArray
    """shape (n_pairs,)"""
    clusters: IntArray
    """shape (n_pairs,)"""


def pairs_of(donors: IntArray, clusters: IntArray) -> Pairs:
    """Return the pairs of the donor and the cluster of each cell; -1 in either leaves a cell out."""
    kept = (donors >= 0) & (clusters >= 0)
    n_clusters = int(clusters.max(initial=0)) + 1
    there, pair_of = np.unique(
        donors[kept].astype(np.int64) * n_clusters + clusters[kept], return_inverse=True
    )
    codes = np.full(len(kept), -1, np.int32)
    codes[kept] = pair_of
    return Pairs(codes, there // n_clusters, there % n_clusters)


def sums_of_groups(
    x: da.Array,
    groups: IntArray,
    n_groups: int,
    reading: Reading = Reading(),
) -> FloatArray:
    """Return the sum of the values of each gene in each group: float64, shape (n_groups, n_vars).

    Parameters
    ----------
    x
        Row blocks of a `CellMatrix`, shape (n_obs, n_vars).
    groups
        ndarray of int, shape (n_obs,): 0 .. n_groups - 1, and -1 for cells to leave out.
    """
    total = np.zeros((n_groups, x.shape[1]))
    add = GroupSums(groups)
    for _, (there, sums) in map_rows(x, add, reading):
        # Few groups have cells in one block.
        total[there] += sums.toarray()
    return total


def columns_of_donors(obs: pd.DataFrame, donors: IntArray) -> pd.DataFrame:
    """Return the columns of obs that have one value in each donor, such as its condition.

    A row for each donor that has cells, with its number as index.

    Columns of the result of a run are left out, and those that are the same for all cells.

    Parameters
    ----------
    donors
        ndarray of int, shape (n_cells,): the donor of each cell of obs; -1 for none.
    """
    import pandas as pd

    known = np.flatnonzero(donors >= 0)
    there, first = np.unique(donors[known], return_index=True)
    found: dict[str, pd.Series] = {}
    for name in map(str, obs.columns):
        column = obs[name]
        if name.startswith("scrcl") or column.dtype.kind not in "OSUbiufT":
            continue
        codes, values = pd.factorize(column.iloc[known], use_na_sentinel=False)
        of_each = codes[first]
        if len(values) > 1 and np.array_equal(
            of_each[np.searchsorted(there, donors[known])], codes
        ):
            is_text = column.dtype.kind in "OSUT"
            rows = column.iloc[known[first]].set_axis(there)
            found[name] = rows.astype(object).map(str, "ignore") if is_text else rows
    return pd.DataFrame(found, index=there)


def table_of_sums(
    sums: FloatArray,
    pairs: Pairs,
    names: tuple[Sequence[str], Sequence[str]],
    columns: tuple[str, str],
    genes: pd.Index,
    of_donors: pd.DataFrame | None = None,
) -> AnnData:
    """Return sums as pydeseq2 and decoupler read them.

    Parameters
    ----------
    sums
        Shape (n_pairs, n_genes).
    names
        Those of all donors, and of all clusters.
    columns
        What donors and clusters are called in obs. It also has the number of cells of each pair: ``n_cells``, or
        ``n_cells_in_sum`` if one of the columns has that name.
    of_donors
        More columns (`columns_of_donors`), with the numbers of the donors as index.
    """
    import anndata
    import pandas as pd

    donors = [names[0][donor] for donor in pairs.donors]
    clusters = [names[1][cluster] for cluster in pairs.clusters]
    counts = "n_cells" if "n_cells" not in columns else "n_cells_in_sum"
    obs = pd.DataFrame(
        {
            columns[0]: pd.Categorical(donors),
            columns[1]: pd.Categorical(clusters),
            counts: np.bincount(pairs.codes[pairs.codes >= 0], minlength=len(sums)),
        },
        index=[f"{donor}_{cluster}" for donor, cluster in zip(donors, clusters, strict=True)],
    )
    if of_donors is not None:
        for name in of_donors.columns.difference(obs.columns, sort=False):
            values = of_donors[name].loc[pairs.donors.tolist()].to_numpy()
            obs[name] = pd.Categorical(values) if values.dtype == object else values
    return anndata.AnnData(sums, obs=obs, var=pd.DataFrame(index=genes))


@dataclass(frozen=True)
class GroupSums:
    """Adds up the rows of each group in a block: the groups that are there, and their sums."""

    groups: IntArray
    """shape (n_obs,): -1 for cells to leave out"""

    def of_rows(self, start: int, stop: int) -> GroupSums:
        """Return the same for these rows, with only their share of the array."""
        return replace(self, groups=self.groups[start:stop])

    def __call__(self, start: int, block: Any) -> tuple[IntArray, Csr]:  # noqa: ARG002
        """Return the groups with rows in a block, ascending, and the sums of these, one row for each."""
        rows = np.flatnonzero(self.groups >= 0)
        there, row_of = np.unique(self.groups[rows], return_inverse=True)
        member = sparse.csr_matrix(
            (np.ones(len(rows)), (row_of, rows)), shape=(len(there), len(self.groups))
        )
        return there, member @ as_csr(block).astype(np.float64)
