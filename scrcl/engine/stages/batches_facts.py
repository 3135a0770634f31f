"""How far clusters follow the batches, in words: facts, notes and a table for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.report.page import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrcl.cluster.mixing import BatchMixing
    from scrcl.engine.stages.batches import BatchesRecord, ClusterBatches, SuspectedColumn
    from scrcl.engine.words import Words
    from scrcl.report.page import Cell
    from scrcl.typing import IntArray

__all__ = ["COMPOSITION", "batch_notes", "batch_overview", "clusters_table", "suspicion_notes"]

COMPOSITION = "batches.csv"
"""File in OUT with the cells of each batch in each cluster."""


_FEW_BATCHES = 12
"""Batches that have a column each in the table of clusters."""

_APART = 0.5
"""Mixing below which a cluster is named in a note."""

_NAMED = 8
"""Clusters, columns or levels that a note lists."""


def batch_overview(found: BatchMixing, words: Words) -> dict[str, str]:
    """Return how far clusters follow the batches, for the technical details."""
    scores = f"NMI {found.nmi:.3f}, ARI {found.ari:.3f}; 0 if {words.cluster}s say nothing about the {words.batch}"
    return {
        words.batches: f"{found.n_batches:,}",
        f"{words.cluster}s against {words.batches}": scores,
    }


def clusters_table(
    clusters: Sequence[ClusterBatches],
    names: Sequence[str],
    batches: Sequence[str],
    counts: IntArray,
    words: Words,
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
        Column(words.cluster, "label"),
        *(_share_columns(batches, counts, words) if few else _largest_columns(words)),
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
    caption = (
        f"{_shares_caption(words) if few else _largest_caption(words)} {_mixing_caption(words)}"
    )
    return Table(columns, rows, caption, palette(len(rows)))


def _shares_caption(words: Words) -> str:
    return f"Shares of the {words.cell}s of each {words.batch}: a column adds up to 100%."


def _largest_caption(words: Words) -> str:
    return (
        f"The {words.batch} with most {words.cell}s in each {words.cluster}: its share of the {words.cluster}, and of "
        f"all {words.cell}s."
    )


def _mixing_caption(words: Words) -> str:
    cell, cluster, batch = words.cell, words.cluster, words.batch
    alone = _of_one_batch(words)
    return (
        f"Mixing is the share of a {cell}'s neighbours that are from other {words.batches}, over the share that chance "
        f"gives inside the {cluster}. At 1 a {cell}'s neighbours are from any {batch}. Near 0 they are from its own "
        f"{batch} only: the {words.batches} keep apart inside the {cluster}. A {cluster} of one {batch} has no value: "
        f"it is {alone}. Whether to correct is decided by chance around each {cell}, in place of chance inside its "
        f"{cluster}."
    )


def _of_one_batch(words: Words) -> str:
    """Return what a cluster of one batch may be."""
    kind = words.kind
    return (
        f"a {kind} that this {words.batch} alone has, or a {kind} that was not joined to the same {kind} of other "
        f"{words.batches}"
    )


def _largest_columns(words: Words) -> tuple[Column, ...]:
    return (
        Column(f"largest {words.batch}"),
        Column("its share", "share"),
        Column(f"its share of all {words.cell}s", "share"),
    )


def _share_columns(batches: Sequence[str], counts: IntArray, words: Words) -> list[Column]:
    return [
        Column(f"{batch} ({words.cells(int(n))})", "share")
        for batch, n in zip(batches, counts.sum(axis=0), strict=True)
    ]


def _shares(of_cluster: IntArray, counts: IntArray) -> list[float]:
    return [float(share) for share in of_cluster / counts.sum(axis=0)]


def _largest(
    cluster: ClusterBatches, batches: Sequence[str], counts: IntArray
) -> tuple[str, float, float]:
    of_all = counts[:, list(batches).index(cluster.largest)].sum() / counts.sum()
    return cluster.largest, cluster.share, float(of_all)


def batch_notes(record: BatchesRecord, words: Words, prefix: str = "") -> Iterator[str]:
    """Yield what the user should know about clusters and batches."""
    apart = [
        f"{prefix}{i}"
        for i, each in enumerate(record.by_cluster)
        if (mixing := each.before if each.after is None else each.after) is not None
        and mixing < _APART
    ]
    if apart:
        yield (
            f"{words.batches.capitalize()} keep apart inside {_clusters(apart, words)}: neighbours from other "
            f"{words.batches} are less than half of what chance gives. Compare their markers before you take them as "
            f"{words.kind}s."
        )
    if record.of_one_batch:
        several, kind = len(record.of_one_batch) > 1, words.kind
        yield (
            f"{_clusters(record.of_one_batch, words).capitalize()} {'hold' if several else 'holds'} nearly only "
            f"{words.cell}s of one {words.batch} ({COMPOSITION}): {f'{kind}s' if several else f'a {kind}'} that this "
            f"{words.batch} alone has, or {words.cell}s that were not joined to the same {kind} of other "
            f"{words.batches}. Compare the markers."
        )
    for column, levels in record.confounded.items():
        yield (
            f"Correction cannot separate obs[{column!r}] from the {words.batch} for {_some(levels)}: each is one "
            f"{words.batch}, which holds nothing else. A real difference between such conditions may be removed."
        )


def suspicion_notes(suspected: Sequence[SuspectedColumn], in_all: str) -> Iterator[str]:
    """Yield the column that neighbours follow most, or else clusters, and what to do.

    Parameters
    ----------
    in_all
        The number of clusters in words: "9 clusters".
    """
    if not suspected:
        return
    first, *others = suspected
    alike = [each.column for each in others if each.is_followed == first.is_followed]
    found, more = (_neighbours_follow if first.is_followed else _clusters_follow)(first, in_all)
    more = f" {more}: {_some(alike)}." if alike else ""
    yield (
        f"{found}. If its {first.n_batches:,} values are batches, run again into another folder with "
        f"`batch_key={first.column!r}`.{more}"
    )


def _neighbours_follow(first: SuspectedColumn, in_all: str) -> tuple[str, str]:
    """Return how neighbours follow a column, and what other columns are."""
    fewer = 1 - first.mixing.mixing
    of_one = f", and {_of_one_value(first, in_all)}" if first.clusters else ""
    found = (
        f"Neighbours follow obs[{first.column!r}]: {fewer:.0%} fewer of a cell's neighbours have another value than "
        f"chance gives{of_one}"
    )
    return found, "obs columns that they follow less"


def _clusters_follow(first: SuspectedColumn, in_all: str) -> tuple[str, str]:
    """Return which clusters follow a column, and what other columns are."""
    of_column = f" of obs[{first.column!r}]"
    return _of_one_value(first, in_all, of_column), "obs columns with such clusters, too"


def _of_one_value(first: SuspectedColumn, in_all: str, of_column: str = "") -> str:
    n = len(first.clusters)
    hold = "holds" if n == 1 else "hold"
    return f"{n} of {in_all} {hold} nearly only cells of one value{of_column} ({_some(first.clusters)})"


def _clusters(names: Sequence[str], words: Words) -> str:
    return f"{words.cluster}{'' if len(names) == 1 else 's'} {_some(names)}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
