"""Marker genes: the genes of each cluster in order, as a table and under scanpy's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    import pandas as pd

    from scrcl.markers.listed import ListedGenes
    from scrcl.markers.scores import GeneScores, Test
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = [
    "COLUMNS",
    "OrderRule",
    "adjusted",
    "for_spreadsheets",
    "marker_table",
    "n_held_back",
    "scanpy_entry",
    "with_names",
    "with_symbols",
]

COLUMNS = (
    "cluster",
    "rank",
    "gene",
    "score",
    "log_fold_change",
    "p_value",
    "p_adjusted",
    "auc",
    "share_in",
    "share_out",
    "kind",
)
"""Columns of the table of markers. After ``gene`` stands ``symbol`` where var has a column of symbols."""


class OrderRule(NamedTuple):
    """Which genes mark a cluster, and so are listed first.

    A gene that nearly all cells express can have a large score and still mark nothing: ribosomal genes, and RNA from
    the fluid around the cells, differ a little and in every cell. It marks a cluster only where it is far stronger
    there, as insulin is in beta cells, though all cells of the pancreas have some. Of two clusters no gene is a common
    one: what the other cluster has too may still part them.
    """

    min_fold_change: float
    """log2 fold change of a gene that marks a cluster"""
    max_share_out: float
    """share of the other cells beyond which a gene is a common one"""
    common_fold_change: float
    """log2 fold change of a common gene that marks a cluster"""

    def marks(self, scores: GeneScores) -> BoolArray:
        """Return which genes mark which cluster, shape (n_genes, n_clusters)."""
        marks: BoolArray = self._is_strong(scores) & ~self.holds_back(scores)
        return marks

    def holds_back(self, scores: GeneScores) -> BoolArray:
        """Return which genes would mark a cluster if they were no common ones, shape (n_genes, n_clusters)."""
        is_common = (scores.share_out > self.max_share_out) & (scores.score.shape[1] > 2)
        is_weak = scores.log_fold_change < self.common_fold_change
        held: BoolArray = self._is_strong(scores) & is_common & is_weak
        return held

    def _is_strong(self, scores: GeneScores) -> BoolArray:
        return np.asarray(scores.log_fold_change >= self.min_fold_change)


def marker_table(
    scores: GeneScores, genes: ListedGenes, *, n_top: int, rule: OrderRule
) -> pd.DataFrame:
    """Return the first genes of each cluster: those that mark it by the rule, and then the others, each by score.

    Parameters
    ----------
    genes
        Names, symbols and kinds of all genes: they are listed, and change no order.

    Returns
    -------
    DataFrame
        ``n_top`` rows for each cluster, or all genes if there are fewer, with `COLUMNS`. ``rank`` counts from 0.
        p values are adjusted over all genes of a cluster (Benjamini and Hochberg).
    """
    import pandas as pd

    marks = rule.marks(scores)
    n_clusters = scores.score.shape[1]
    parts = [
        _of_cluster(
            scores,
            genes,
            cluster,
            _order(scores.score[:, cluster], marks[:, cluster])[:n_top],
        )
        for cluster in range(n_clusters)
        if n_clusters > 1  # a cluster of all cells has nothing to be compared with
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def n_held_back(scores: GeneScores, *, n_top: int, rule: OrderRule) -> int:
    """Return the number of genes that would be among the first ``n_top`` of a cluster if they were no common ones."""
    marks, held = rule.marks(scores), rule.holds_back(scores)
    n_genes, n_clusters = scores.score.shape
    there = np.zeros(n_genes, bool)
    for cluster in range(n_clusters):
        first = _order(scores.score[:, cluster], (marks | held)[:, cluster])[:n_top]
        there[first] |= held[first, cluster]
    return int(there.sum())


def with_symbols(columns: Sequence[str], there: Container[str]) -> list[str]:
    """Return the columns of a table of genes: with ``symbol`` after ``gene`` if that is ``there``."""
    pairs = (
        (name, "symbol") if name == "gene" and "symbol" in there else (name,) for name in columns
    )
    return [name for pair in pairs for name in pair]


def with_names(table: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Return a table of markers with the column ``name`` after ``cluster``, if any cluster has a name of its own.

    Parameters
    ----------
    names
        Name by cluster. One that is the cluster itself, or is not there, is none.
    """
    own = {cluster: name for cluster, name in names.items() if name != cluster}
    of_rows = [own.get(str(cluster), "") for cluster in table["cluster"]]
    if not any(of_rows):
        return table
    named = table.copy()
    named.insert(1, "name", of_rows)
    return named


def _order(score: FloatArray, marks: BoolArray) -> IntArray:
    """Return the positions of the genes: those that mark the cluster first, each by falling score."""
    return np.lexsort((-score, ~marks))


def _of_cluster(
    scores: GeneScores,
    genes: ListedGenes,
    cluster: int,
    top: IntArray,
) -> pd.DataFrame:
    import pandas as pd

    p_value = scores.p_value[:, cluster]
    columns: dict[str, Any] = {
        "cluster": np.full(len(top), cluster),
        "rank": np.arange(len(top)),
        "p_adjusted": adjusted(p_value)[top],
        **genes.at(top).columns(),
    }
    columns |= {
        name: getattr(scores, name)[top, cluster] for name in COLUMNS if name not in columns
    }
    return pd.DataFrame({name: columns[name] for name in with_symbols(COLUMNS, columns)})


def adjusted(p_values: FloatArray) -> FloatArray:
    """Return p values adjusted by Benjamini and Hochberg, as ``scipy.stats.false_discovery_control`` does."""
    order, n = np.argsort(p_values), len(p_values)
    steps = p_values[order] * (n / np.arange(1, n + 1))
    found = np.empty_like(steps)
    found[order] = np.minimum.accumulate(steps[::-1])[::-1]
    return np.clip(found, 0, 1)


def for_spreadsheets(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which no text begins like a formula: a quote is put before ``=``, ``+``, ``-`` and ``@``."""
    import pandas as pd

    def shown(value: Any) -> Any:
        is_formula = isinstance(value, str) and value.startswith(tuple("=+-@\t\r"))
        return f"'{value}" if is_formula else value

    safe = table.copy()
    for name in table:
        # Texts with missing values among them are of no string type.
        if not pd.api.types.is_numeric_dtype(table[name]):
            safe[name] = table[name].map(shown)
    return safe


def scanpy_entry(table: pd.DataFrame, *, groupby: str, test: Test) -> dict[str, Any]:
    """Return the table as scanpy's ``uns["rank_genes_groups"]``, which its plots and ``sc.get`` read."""
    fields = {
        "names": ("gene", object),
        "scores": ("score", np.float32),
        "pvals": ("p_value", np.float64),
        "pvals_adj": ("p_adjusted", np.float64),
        "logfoldchanges": ("log_fold_change", np.float32),
    }
    clusters = {str(cluster): rows for cluster, rows in table.groupby("cluster", sort=True)}
    params = {
        "groupby": groupby,
        "reference": "rest",
        "method": test,
        "use_raw": False,
        "corr_method": "benjamini-hochberg",
    }
    entry: dict[str, Any] = {"params": params}
    for name, (column, dtype) in fields.items():
        entry[name] = np.rec.fromarrays(
            [rows[column].to_numpy(dtype) for rows in clusters.values()],
            dtype=[(cluster, dtype) for cluster in clusters],
        )
    shares = {"pts": "share_in", "pts_rest": "share_out"}
    return entry | {name: _by_gene(table, column) for name, column in shares.items()}


def _by_gene(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a share by gene and cluster, for all genes in the table; NaN where the cluster does not list the gene."""
    wide = table.pivot_table(index="gene", columns="cluster", values=column, observed=True)
    return wide.rename(columns=str).rename_axis(index=None, columns=None)
