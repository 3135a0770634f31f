"""Log values of every gene by cluster, from one read of the matrix: sums, and a histogram.

Sums are all that Welch's t needs. Ranks need more: the order of all values of a gene. A histogram for each gene and
cluster gives it to the width of a bin, in memory that does not grow with the cells. Zeros, most of the values, are one
block of ties in any case. Each worker sorts its block by gene, so that the sums walk through memory gene by gene: a
table of all genes does not fit into a cache, the bins of one gene do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scrcl._compiled import compiled
from scrcl.io.rows import plain_rows
from scrcl.io.stream import Reading, map_rows
from scrcl.markers.pseudobulk import GroupSums
from scrcl.prep.normalize import size_factors

if TYPE_CHECKING:
    import dask.array as da

    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["Bins", "ClusterValues", "bins_and_parts", "table_bytes", "values_by_cluster"]

_BELOW, _ABOVE = 3.0, 4.0
"""Deviations around the mean of a gene's values above 0 that its bins cover. The end bins hold all beyond them."""

_FEWEST_BINS, _MOST_BINS = 48, 256

_TABLE_BYTES = 256 << 20
"""Largest histogram. With more clusters and genes the matrix is read once for each part of the genes."""

_BINNED_CLUSTERS = 50
"""Clusters that have `_MOST_BINS` bins where genes are few."""


@dataclass(frozen=True)
class ClusterValues:
    """Sums and histograms of log values by gene and cluster, for a range of genes.

    Attributes
    ----------
    cells
        ndarray of int64, shape (n_clusters,): cells of each cluster.
    expressing
        ndarray of int64, shape (n_genes, n_clusters): cells with a value above 0.
    total, squares
        ndarrays of float64, shape (n_genes, n_clusters): sums of the values and of their squares.
    histogram
        ndarray of uint32, shape (n_genes, n_clusters, n_bins): cells by value, without the zeros.
    """

    cells: IntArray
    expressing: IntArray
    total: FloatArray
    squares: FloatArray
    histogram: IntArray

    def of(self, groups: IntArray) -> ClusterValues:
        """Return the values of some groups, each a cluster."""
        return ClusterValues(self.cells[groups], *(each[:, groups] for each in self._by_gene()))

    def pooled(self, cluster_of: IntArray) -> ClusterValues:
        """Return the sums over the groups of each cluster, of which all have one."""
        n_clusters = int(cluster_of.max()) + 1
        cells = np.bincount(cluster_of, self.cells, n_clusters).astype(np.int64)
        pooled = []
        for each in self._by_gene():
            sums = np.zeros((len(each), n_clusters, *each.shape[2:]), each.dtype)
            for group, cluster in enumerate(cluster_of):
                sums[:, cluster] += each[:, group]
            pooled.append(sums)
        return ClusterValues(cells, *pooled)

    def _by_gene(self) -> tuple[Any, ...]:
        return self.expressing, self.total, self.squares, self.histogram


@dataclass(frozen=True)
class Bins:
    """Bins of equal width for the values above 0 of each gene, around their mean.

    Attributes
    ----------
    low
        ndarray of float64, shape (n_genes,): where the bins of a gene begin.
    per_unit
        ndarray of float64, shape (n_genes,): bins in a unit of the values.
    n_bins
        Number of bins. The first and the last also hold what lies below and above.
    """

    low: FloatArray
    per_unit: FloatArray
    n_bins: int

    @classmethod
    def around(
        cls, mean: FloatArray, variance: FloatArray, n_cells: int, expressing: IntArray, n_bins: int
    ) -> Bins:
        """Return bins from the moments of all values of each gene, zeros included.

        Parameters
        ----------
        mean, variance
            Of the log values, over ``n_cells`` cells.
        expressing
            Cells with a value above 0.
        """
        n = np.maximum(expressing, 1)
        centre = mean * n_cells / n
        squares = (variance * (n_cells - 1) / n_cells + mean**2) * n_cells / n
        # A gene with equal values has a deviation of rounding errors: its bins are wide enough not to divide by 0.
        spread = np.sqrt(np.maximum(squares - centre**2, 1e-6))
        low = np.maximum(centre - _BELOW * spread, 0)
        return cls(low, n_bins / (centre + _ABOVE * spread - low), n_bins)

    def of(self, genes: range) -> Bins:
        """Return the bins of some genes."""
        part = slice(genes.start, genes.stop)
        return Bins(self.low[part], self.per_unit[part], self.n_bins)


def table_bytes(n_genes: int) -> int:
    """Return the largest bytes of a histogram of so many genes, whatever the number of clusters."""
    return min(_TABLE_BYTES, 4 * n_genes * _BINNED_CLUSTERS * _MOST_BINS)


def bins_and_parts(n_genes: int, n_clusters: int) -> tuple[int, int]:
    """Return the number of bins, and the number of parts in which genes are counted.

    Both depend on the sizes of the data alone.
    """
    room, per_bin = table_bytes(n_genes), 4 * n_genes * n_clusters
    bins = min(max(room // per_bin, _FEWEST_BINS), _MOST_BINS)
    return bins, -(-per_bin * bins // room)


def values_by_cluster(
    x: da.Array,
    genes: range,
    *,
    labels: IntArray,
    n_clusters: int,
    bins: Bins,
    cell_sums: FloatArray | None,
    reading: Reading = Reading(),
    sums: FloatArray | None = None,
) -> ClusterValues:
    """Return the values of some genes by cluster, from one read of ``x``.

    Parameters
    ----------
    x
        Row blocks of a `CellMatrix`, shape (n_obs, n_vars), in canonical order.
    genes
        Positions of the genes, without gaps.
    labels
        ndarray of int32, shape (n_obs,): 0 .. n_clusters - 1, and -1 for cells to leave out.
    bins
        Bins of these genes.
    cell_sums
        Total of each cell, shape (n_obs,), by which counts are normalised; None: the values are logarithms.
    sums
        ndarray of float64, shape (n_clusters, n_vars), to which the rows of each cluster are added as they are.
    """
    shape = (len(genes), n_clusters)
    found = ClusterValues(
        cells=np.bincount(labels[labels >= 0], minlength=n_clusters),
        expressing=np.zeros(shape, np.int64),
        total=np.zeros(shape),
        squares=np.zeros(shape),
        histogram=np.zeros((*shape, bins.n_bins), np.uint32),
    )
    by_gene = _ByGene(genes.start, genes.stop, labels.astype(np.int32), cell_sums)
    both = _Both(by_gene, None if sums is None else GroupSums(labels))
    add = compiled(_add)
    for _, (block, of_groups) in map_rows(x, both, reading):
        if sums is not None and of_groups is not None:
            there, added = of_groups
            sums[there] += added.toarray()
        add(
            *block,
            found.expressing,
            found.total,
            found.squares,
            found.histogram,
            bins.low,
            bins.per_unit,
        )
    return found


class _Sorted(NamedTuple):
    """Values of a block in the order of the genes; those of gene g lie at ``starts[g]`` to ``starts[g + 1]``."""

    starts: IntArray
    clusters: IntArray
    values: FloatArray


@dataclass(frozen=True)
class _ByGene:
    """Normalises a block of rows and sorts its values by gene."""

    first: int
    stop: int
    labels: IntArray
    cell_sums: FloatArray | None

    def of_rows(self, start: int, stop: int) -> _ByGene:
        """Return the same for these rows, with only their share of the arrays."""
        sums = None if self.cell_sums is None else self.cell_sums[start:stop]
        return replace(self, labels=self.labels[start:stop], cell_sums=sums)

    def __call__(self, start: int, block: Any) -> _Sorted:  # noqa: ARG002
        rows, sums = plain_rows(block), self.cell_sums
        factors = np.ones(len(self.labels), np.float32) if sums is None else size_factors(sums)
        starts = np.zeros(self.stop - self.first + 1, np.int64)
        clusters, values = np.empty(len(rows.data), np.int32), np.empty(len(rows.data), np.float32)
        compiled(_sort_by_gene)(
            rows.indptr, rows.indices, rows.data, self.labels, factors, self.first, self.stop,
            starts, clusters, values,
        )  # fmt: skip
        clusters, values = clusters[: starts[-1]], values[: starts[-1]]
        if self.cell_sums is not None:
            np.log1p(values, out=values)
        return _Sorted(starts, clusters, values)


@dataclass(frozen=True)
class _Both:
    """What one read of a block gives."""

    by_gene: _ByGene
    sums: GroupSums | None

    def of_rows(self, start: int, stop: int) -> _Both:
        """Return the same for these rows, with only their share of the arrays."""
        sums = None if self.sums is None else self.sums.of_rows(start, stop)
        return _Both(self.by_gene.of_rows(start, stop), sums)

    def __call__(self, start: int, block: Any) -> tuple[_Sorted, tuple[IntArray, Csr] | None]:
        return self.by_gene(start, block), None if self.sums is None else self.sums(start, block)


def _sort_by_gene(
    indptr: IntArray,
    indices: IntArray,
    data: FloatArray,
    labels: IntArray,
    factors: FloatArray,
    first: int,
    stop: int,
    starts: IntArray,
    clusters: IntArray,
    values: FloatArray,
) -> None:
    """Sort the values above 0 of the genes ``first`` to ``stop`` by gene, each divided by its row's factor.

    A counting sort, which keeps rows in order within a gene: sums have the same bits however blocks are shared out.
    """
    for row in range(len(labels)):
        if labels[row] < 0:
            continue
        for at in range(indptr[row], indptr[row + 1]):
            if first <= indices[at] < stop and data[at] > 0:
                starts[indices[at] - first + 1] += 1
    for gene in range(1, len(starts)):
        starts[gene] += starts[gene - 1]
    ends = starts.copy()
    for row in range(len(labels)):
        if labels[row] < 0:
            continue
        for at in range(indptr[row], indptr[row + 1]):
            if first <= indices[at] < stop and data[at] > 0:
                gene = indices[at] - first
                clusters[ends[gene]] = labels[row]
                values[ends[gene]] = data[at] / factors[row]
                ends[gene] += 1


def _add(
    starts: IntArray,
    clusters: IntArray,
    values: FloatArray,
    expressing: IntArray,
    total: FloatArray,
    squares: FloatArray,
    histogram: IntArray,
    low: FloatArray,
    per_unit: FloatArray,
) -> None:
    """Add a block to the sums and histograms."""
    last = histogram.shape[2] - 1
    for gene in range(len(starts) - 1):
        for at in range(starts[gene], starts[gene + 1]):
            cluster, value = clusters[at], np.float64(values[at])
            expressing[gene, cluster] += 1
            total[gene, cluster] += value
            squares[gene, cluster] += value * value
            place = int(max((value - low[gene]) * per_unit[gene], 0.0))
            histogram[gene, cluster, min(place, last)] += 1
