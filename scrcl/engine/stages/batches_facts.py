"""How far clusters follow the batches, in words: facts, notes and a table for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.report.page import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrcl.cluster.mixing import BatchMixing
    from scrcl.engine.stages.batches import BatchesRecord, ClusterBatches, SuspectedColumn
    from scrcl.report.page import Cell
    from scrcl.typing import IntArray

__all__ = ["COMPOSITION", "batch_notes", "batch_overview", "clusters_table", "suspicion_notes"]

COMPOSITION = "batches.csv"
"""File in OUT with the cells of each batch in each cluster."""

_MIXING = (
    "Mixing is the share of a cell's neighbours that are from other batches, over the share that chance gives inside "
    "the cluster. At 1 a cell's neighbours are from any batch. Near 0 they are from its own batch only: the batches "
    "keep apart inside the cluster. A cluster of one batch has no value: it is a type that this batch alone has, or a "
    "type that was not joined to the same type of other batches. Whether to correct is decided by chance around each "
    "cell, in place of chance inside its cluster."
)
_SHARES = "Shares of the cells of each batch: a column adds up to 100%."
_LARGEST = "The batch with most cells in each cluster: its share of the cluster, and of all cells."

_FEW_BATCHES = 12
"""Batches that have a column each in the table of clusters."""

_APART = 0.5
"""Mixing below which a cluster is named in a note."""

_NAMED = 8
"""Clusters, columns or levels that a note lists."""


def batch_overview(found: BatchMixing) -> dict[str, str]:
    """Return how far clusters follow the batches, for the technical details."""
    scores = f"NMI {found.nmi:.3f}, ARI {found.ari:.3f}; 0 if clusters say nothing about the batch"
    return {"batches": f"{found.n_batches:,}", "clusters against batches": scores}


def clusters_table(
    clusters: Sequence[ClusterBatches],
    names: Sequence[str],
    batches: Sequence[str],
    counts: IntArray,
) -> Table:
    """Return how each cluster divides into batches, and how batches mix inside it.

    Parameters
    ----------
    names, batches
        Names of the clusters and of the batches.
    counts
        ndarray of int, shape (n_clusters, n_batches): cells.
    """
    from scrcl.report.colours import palette

    few = len(batches) <= _FEW_BATCHES
    corrected = any(cluster.after is not None for cluster in clusters)
    columns = [
        Column("cluster", "label"),
        *(_share_columns(batches, counts) if few else _LARGEST_COLUMNS),
        Column("mixing before" if corrected else "mixing", "number"),
        *([Column("mixing after", "number")] if corrected else []),
    ]
    rows: list[list[Cell]] = [
        [
            name,
            *(_shares(of_cluster, counts) if few else _largest(each, batches, counts)),
            each.before,
            *([each.after] if corrected else []),
        ]
        for name, each, of_cluster in zip(names, clusters, counts, strict=True)
    ]
    caption = f"{_SHARES if few else _LARGEST} {_MIXING}"
    return Table(columns, rows, caption, palette(len(rows)))


_LARGEST_COLUMNS = (
    Column("largest batch"),
    Column("its share", "share"),
    Column("its share of all cells", "share"),
)


def _share_columns(batches: Sequence[str], counts: IntArray) -> list[Column]:
    return [
        Column(f"{batch} ({n:,} cells)", "share")
        for batch, n in zip(batches, counts.sum(axis=0), strict=True)
    ]


def _shares(of_cluster: IntArray, counts: IntArray) -> list[float]:
    return [float(share) for share in of_cluster / counts.sum(axis=0)]


def _largest(
    cluster: ClusterBatches, batches: Sequence[str], counts: IntArray
) -> tuple[str, float, float]:
    of_all = counts[:, list(batches).index(cluster.largest)].sum() / counts.sum()
    return cluster.largest, cluster.share, float(of_all)


def batch_notes(record: BatchesRecord, prefix: str = "") -> Iterator[str]:
    """Yield what the user should know about clusters and batches."""
    apart = [
        f"{prefix}{i}"
        for i, each in enumerate(record.by_cluster)
        if (mixing := each.before if each.after is None else each.after) is not None
        and mixing < _APART
    ]
    if apart:
        yield (
            f"Batches keep apart inside {_clusters(apart)}: neighbours from other batches are less than half of what "
            "chance gives. Compare their markers before you take them as types."
        )
    if record.of_one_batch:
        several = len(record.of_one_batch) > 1
        yield (
            f"{_clusters(record.of_one_batch).capitalize()} {'hold' if several else 'holds'} nearly only cells of one "
            f"batch ({COMPOSITION}): {'types' if several else 'a type'} that this batch alone has, or cells that were "
            "not joined to the same type of other batches. Compare the markers."
        )
    for column, levels in record.confounded.items():
        yield (
            f"Correction cannot separate obs[{column!r}] from the batch for {_some(levels)}: each is one batch, "
            "which holds nothing else. A real difference between such conditions may be removed."
        )


def suspicion_notes(suspected: Sequence[SuspectedColumn], n_clusters: int) -> Iterator[str]:
    """Yield the column that neighbours follow most, or else clusters, and what to do."""
    if not suspected:
        return
    first, *others = suspected
    alike = [each.column for each in others if each.is_followed == first.is_followed]
    found, more = (_neighbours_follow if first.is_followed else _clusters_follow)(first, n_clusters)
    more = f" {more}: {_some(alike)}." if alike else ""
    yield (
        f"{found}. If its {first.n_batches:,} values are batches, run again into another folder with --batch-key "
        f"{first.column}.{more}"
    )


def _neighbours_follow(first: SuspectedColumn, n_clusters: int) -> tuple[str, str]:
    """Return how neighbours follow a column, and what other columns are."""
    clusters = (
        f"{len(first.clusters)} of {n_clusters} clusters hold cells of one value alone "
        f"({_some(first.clusters)})"
        if first.clusters
        else "no cluster is of one value alone"
    )
    found = (
        f"Neighbours follow obs[{first.column!r}]: those with another value are {first.mixing.mixing:.2f} of what "
        f"chance gives, and {clusters}"
    )
    return found, "obs columns that they follow less"


def _clusters_follow(first: SuspectedColumn, n_clusters: int) -> tuple[str, str]:
    """Return which clusters follow a column, and what other columns are."""
    found = (
        f"{len(first.clusters)} of {n_clusters} clusters hold nearly only cells of one value of obs[{first.column!r}] "
        f"({_some(first.clusters)})"
    )
    return found, "obs columns with such clusters, too"


def _clusters(names: Sequence[str]) -> str:
    return f"{'cluster' if len(names) == 1 else 'clusters'} {_some(names)}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
