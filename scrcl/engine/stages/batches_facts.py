"""How far clusters follow the batches, in words: facts, notes and a table for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrcl.engine.stages.batches_tested import APART
from scrcl.engine.words import listed, of_groups
from scrcl.prep.batch_effect import FEW_SHARED
from scrcl.report.page import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scrcl.cluster.mixing import BatchMixing
    from scrcl.engine.stages.batches import BatchesRecord, ClusterBatches
    from scrcl.engine.stages.batches_followed import FollowingCluster
    from scrcl.engine.stages.batches_suspected import SuspectedColumn
    from scrcl.engine.words import Words
    from scrcl.report.page import Cell
    from scrcl.typing import IntArray

__all__ = [
    "COMPOSITION",
    "batch_notes",
    "batch_overview",
    "beyond_notes",
    "clusters_table",
    "suspicion_notes",
]

COMPOSITION = "batches.csv"
"""File in OUT with the cells of each batch in each cluster."""


_FEW_BATCHES = 12
"""Batches that have a column each in the table of clusters."""


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

    corrected = any(cluster.after is not None for cluster in clusters)
    if len(batches) <= _FEW_BATCHES:
        of_batches, shares, caption = _by_batch(batches, counts, words)
    else:
        of_batches, shares, caption = _by_largest(clusters, batches, counts, words)
    columns = [
        Column(words.cluster, "label"),
        *of_batches,
        Column("mixing before" if corrected else "mixing", "number"),
        *([Column("mixing after", "number")] if corrected else []),
    ]
    rows = [
        [name, *of_cluster, each.before, *([each.after] if corrected else [])]
        for name, each, of_cluster in zip(names, clusters, shares, strict=True)
    ]
    return Table(columns, rows, f"{caption} {_mixing_caption(words)}", palette(len(rows)))


def _by_batch(
    batches: Sequence[str], counts: IntArray, words: Words
) -> tuple[list[Column], list[list[Cell]], str]:
    """Return a column for each batch, the cells of each row there, and a caption."""
    totals = counts.sum(axis=0)
    columns = [
        Column(f"{batch} ({words.cells(int(n))})", "share")
        for batch, n in zip(batches, totals, strict=True)
    ]
    caption = f"Shares of the {words.cell}s of each {words.batch}: a column adds up to 100%."
    return columns, (counts / totals).tolist(), caption


def _by_largest(
    clusters: Sequence[ClusterBatches], batches: Sequence[str], counts: IntArray, words: Words
) -> tuple[list[Column], list[list[Cell]], str]:
    """Return columns for the largest batch of each cluster, the cells of each row there, and a caption."""
    of_all = dict(zip(batches, (counts.sum(axis=0) / counts.sum()).tolist(), strict=True))
    columns = [
        Column(f"largest {words.batch}"),
        Column("its share", "share"),
        Column(f"its share of all {words.cell}s", "share"),
    ]
    caption = (
        f"The {words.batch} with most {words.cell}s in each {words.cluster}: its share of the {words.cluster}, and of "
        f"all {words.cell}s."
    )
    return columns, [[each.largest, each.share, of_all[each.largest]] for each in clusters], caption


def _mixing_caption(words: Words) -> str:
    cell, cluster, batch = words.cell, words.cluster, words.batch
    alone = _of_one_batch(words)
    return (
        f"Mixing is the share of a {cell}'s neighbours that are from other {words.batches}, over the share that chance "
        f"gives inside the {cluster}. At 1 a {cell}'s neighbours are from any {batch}. Near 0 they are from its own "
        f"{batch} only: the {words.batches} keep apart inside the {cluster}. Above 1 they are from other "
        f"{words.batches} more often than chance gives: by accident in a small {cluster}, or because {cell}s of one "
        f"{batch} lie among those of others. A {cluster} of one {batch} has no value: it is {alone}. Whether to "
        f"correct is decided by chance around each {cell}, in place of chance inside its {cluster}."
    )


def _of_one_batch(words: Words) -> str:
    """Return what a cluster of one batch may be."""
    kind = words.kind
    return (
        f"a {kind} that this {words.batch} alone has, or a {kind} that was not joined to the same {kind} of other "
        f"{words.batches}"
    )


def batch_notes(record: BatchesRecord, words: Words, advice: str | None = None) -> Iterator[str]:
    """Yield what the user should know about clusters and batches.

    Parameters
    ----------
    advice
        What to do where clusters follow batches, if nothing was to be corrected.
    """
    apart = [
        words.name(i)
        for i, each in enumerate(record.by_cluster)
        if (mixing := each.before if each.after is None else each.after) is not None
        and mixing < APART
    ]
    groups = [name for name in record.apart_groups if name not in apart]
    for what, named in ((words.batches, apart), (f"groups of {words.batches}", groups)):
        if named:
            yield (
                f"{what.capitalize()} keep apart inside {_clusters(named, words)}: neighbours from other {what} are "
                f"less than half of what chance gives. Compare their markers before you take them as {words.kind}s."
            )
    for is_group in (False, True):
        following = [each for each in record.following if each.is_group == is_group]
        if following:
            found = _following_note(following, words, len(record.by_cluster), is_group=is_group)
            yield f"{found} {advice or 'Compare the markers.'}"
    was_corrected = any(each.after is not None for each in record.by_cluster)
    if record.confounded:
        yield _confounded_note(record.confounded, words, was_corrected=was_corrected)
    if record.confounded_groups:
        yield _confounded_note(
            record.confounded_groups, of_groups(words), was_corrected=was_corrected
        )


def _following_note(
    following: Sequence[FollowingCluster], words: Words, n_clusters: int, *, is_group: bool
) -> str:
    """Return which clusters follow which batches or groups, with their cells, and why that may be."""
    of_what: dict[str, list[FollowingCluster]] = {}
    for each in following:
        of_what.setdefault(each.of, []).append(each)
    names = [each.cluster for each in following]
    one, kind = len(names) == 1, words.kind
    unit, short, others = words.batch, words.batch, words.batches
    if is_group:
        unit, short, others = f"group of {words.batches}", "group", "groups"
    parts = "; ".join(
        ("" if one else f"{listed([each.cluster for each in some])}: ")
        + f"{sum(each.n_of for each in some):,} of {words.cells(sum(each.n_cells for each in some))}"
        + ("" if one and not is_group else f" from {of}")
        for of, some in of_what.items()
    )
    who = _clusters(names, words).capitalize()
    if len(names) == n_clusters > 1:
        who = f"All {words.clusters(n_clusters)}"
    what = following[0].of if one and not is_group else f"one {unit}"
    return (
        f"{who} {'holds' if one else 'hold'} nearly only {words.cell}s of {what} ({parts}; {COMPOSITION}): "
        f"{f'a {kind}' if one else f'{kind}s'} that one {short} alone has, or {words.cell}s that were not joined to "
        f"the same {kind} of other {others}."
    )


def _confounded_note(
    confounded: Mapping[str, Sequence[str]], words: Words, *, was_corrected: bool
) -> str:
    """Return which conditions coincide with batches or groups, in all columns."""
    removes = "may be removed" if was_corrected else "would be removed, too"
    columns = [f"obs[{column!r}] ({listed(levels)})" for column, levels in confounded.items()]
    return (
        f"Correction cannot separate {listed(columns)} from the {words.batches}: each of these values is one "
        f"{words.batch}, which holds no other value. A real difference between such conditions {removes}."
    )


def suspicion_notes(
    suspected: Sequence[SuspectedColumn], in_all: str, *, may_be_slices: bool = False
) -> Iterator[str]:
    """Yield the column that neighbours follow most, or else clusters, and what to do.

    Parameters
    ----------
    in_all
        The number of clusters in words: "9 clusters".
    may_be_slices
        Whether it may be one of slices: of a tissue, and nothing else names these.
    """
    if not suspected:
        return
    first, *others = suspected
    alike = [each.column for each in others if each.is_followed == first.is_followed]
    found, more = (_neighbours_follow if first.is_followed else _clusters_follow)(first, in_all)
    more = f" {more}: {listed(alike)}." if alike else ""
    what = "are slices" if may_be_slices else "are batches"
    if first.is_condition:
        what = "are conditions, and cell types should have one cluster in all of them"
    by_batch = f"`batch_key={first.column!r}`"
    how = by_batch
    if may_be_slices and not first.is_condition:
        how = f"`sample_key={first.column!r}`, which corrects for them too; if they are other batches, with {by_batch}"
    yield (
        f"{found}. If its {first.n_batches:,} values {what}, run again into another folder with "
        f"{how}.{more}"
    )


def beyond_notes(beyond: Sequence[SuspectedColumn], in_all: str) -> Iterator[str]:
    """Yield the column that the batch key leaves out and that clusters follow, and what to do.

    Parameters
    ----------
    in_all
        The number of clusters in words: "9 clusters".
    """
    if not beyond:
        return
    first, *others = beyond
    also = (
        f" Clusters follow other columns, too: {listed([each.column for each in others])}."
        if others
        else ""
    )
    found, _ = _clusters_follow(first, in_all)
    yield (
        f"{found}. The batch key does not name it, so one cell type may be several clusters. If cell types should have "
        f"one cluster in all of its {first.n_batches:,} values, run again into another folder with "
        f"`batch_key={first.key!r}`.{also}"
    )


def _neighbours_follow(first: SuspectedColumn, in_all: str) -> tuple[str, str]:
    """Return how neighbours follow a column, and what other columns are."""
    column, mixing = f"obs[{first.column!r}]", first.mixing
    own, largest, other, others = column, "its largest value", "another value", "other values"
    if first.by_group:
        own = f"group of values of {column} ({listed(first.groups, '; ')})"
        largest, other, others = "the largest group", "another group", "other groups"
    if mixing.shared <= FEW_SHARED:  # then few cells show how values mix
        found = (
            f"Cells lie apart by {own}: {mixing.shared:.0%} of the cells outside of {largest} have cells of {other} "
            "around them"
        )
    else:
        found = (
            f"Cells lie among cells of the same {own} more than by chance: they have {mixing.mixing:.0%} of the "
            f"neighbours from {others} that chance gives"
        )
    of_one = f", and {_of_one_value(first, in_all)}" if first.clusters else ""
    return f"{found}{of_one}", "obs columns that cells follow less"


def _clusters_follow(first: SuspectedColumn, in_all: str) -> tuple[str, str]:
    """Return which clusters follow a column, and what other columns are."""
    of_column = f" of obs[{first.column!r}]"
    groups = f" ({listed(first.groups, '; ')})" if first.groups else ""
    return _of_one_value(
        first, in_all, f"{of_column}{groups}"
    ), "obs columns with such clusters, too"


def _of_one_value(first: SuspectedColumn, in_all: str, of_column: str = "") -> str:
    n = len(first.clusters)
    hold = "holds" if n == 1 else "hold"
    unit = "group of values" if first.groups else "value"
    return f"{n} of {in_all} {hold} nearly only cells of one {unit}{of_column} ({listed(first.clusters)})"


def _clusters(names: Sequence[str], words: Words) -> str:
    return f"{words.cluster}{'' if len(names) == 1 else 's'} {listed(names)}"
