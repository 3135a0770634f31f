"""How far clusters follow the batches, in words: facts, notes and a table for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.report.page import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrcl.cluster.mixing import BatchMixing, NeighbourMixing
    from scrcl.engine.stages.batches import BatchesRecord, ClusterBatches, SuspectedColumn

__all__ = ["COMPOSITION", "batch_facts", "batch_notes", "clusters_table", "suspicion_notes"]

COMPOSITION = "batches.csv"
"""File in OUT with the cells of each batch in each cluster."""

_MEANING = (
    "Mixing is the share of a cell's neighbours that are from other batches, over the share that chance gives inside "
    "the cluster. At 1 a cell's neighbours are from any batch. Near 0 they are from its own batch only: the batches "
    "keep apart inside the cluster. A cluster of one batch has no value: it is a type that this batch alone has, or a "
    "type that was not joined to the same type of other batches."
)

_APART = 0.5
"""Mixing below which a cluster is named in a note."""

_NAMED = 8
"""Clusters, columns or levels that a note lists."""


def batch_facts(found: BatchMixing) -> dict[str, str]:
    """Return how far clusters and neighbours follow the batches."""
    return {
        "batches": f"{found.n_batches:,}",
        "clusters against batches": f"NMI {found.nmi:.3f}, ARI {found.ari:.3f}",
        "entropy of batches (1: equal numbers)": f"{found.entropy_of_all:.2f} for all cells",
        "neighbours from another batch, in the graph": _across(found.graph),
        "neighbours from another batch, in the embedding": _across(found.embedding),
        "effective batches around a cell, in the graph": _effective(found.graph),
        "effective batches around a cell, in the embedding": _effective(found.embedding),
    }


def clusters_table(clusters: Sequence[ClusterBatches]) -> Table:
    """Return mixing and the largest batch of each cluster."""
    from scrcl.report.colours import palette

    corrected = any(cluster.after is not None for cluster in clusters)
    columns = [
        Column("cluster", "label"),
        Column("largest batch"),
        Column("its share", "share"),
        Column("mixing before" if corrected else "mixing", "number"),
        *([Column("mixing after", "number")] if corrected else []),
    ]
    rows = [
        [
            str(i),
            each.largest,
            each.share,
            each.before,
            *([each.after] if corrected else []),
        ]
        for i, each in enumerate(clusters)
    ]
    return Table(columns, rows, _MEANING, palette(len(rows)))


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
    """Yield the column that neighbours follow most, and what to do."""
    if not suspected:
        return
    first, others = suspected[0], [each.column for each in suspected[1:]]
    clusters = (
        f"{len(first.clusters)} of {n_clusters} clusters hold cells of one value alone "
        f"({_some(first.clusters)})"
        if first.clusters
        else "no cluster is of one value alone"
    )
    more = f" obs columns that they follow less: {_some(others)}." if others else ""
    yield (
        f"Neighbours follow obs[{first.column!r}]: those with another value are {first.mixing.mixing:.2f} of what "
        f"chance gives, and {clusters}. If its {first.n_batches:,} values are batches, run again into another folder "
        f"with --batch-key {first.column}.{more}"
    )


def _clusters(names: Sequence[str]) -> str:
    return f"{'cluster' if len(names) == 1 else 'clusters'} {_some(names)}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def _across(found: NeighbourMixing) -> str:
    return f"{found.across:.1%} ({found.across_expected:.1%} at random)"


def _effective(found: NeighbourMixing) -> str:
    return f"{found.effective_batches:.2f} ({found.effective_expected:.2f} for all cells)"
