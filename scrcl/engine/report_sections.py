"""The sections of the report that show the clusters: in words, as tables and as drawings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._crosstab import crosstab
from scrcl.cluster.artifacts import CLUSTER_TREE, LABELS
from scrcl.cluster.confidence import LOW_CONFIDENCE
from scrcl.engine.report_quality import quality_section
from scrcl.engine.stages.cluster import ClusterStage
from scrcl.engine.stages.cluster_facts import estimates_range
from scrcl.engine.stages.correct import CorrectStage
from scrcl.engine.stages.correct_facts import correction_sentence
from scrcl.engine.stages.markers import MarkersStage, held_back_note
from scrcl.engine.stages.stats import StatsStage
from scrcl.engine.words import listed, words_of
from scrcl.maps.artifacts import CLUSTER_LINKS
from scrcl.markers.artifacts import MARKERS, PROFILES
from scrcl.markers.listed import LEFT_OUT, short_list, shown_genes
from scrcl.markers.names import SECOND_MEANING, with_second
from scrcl.prep.artifacts import STATS
from scrcl.report.colours import palette
from scrcl.report.composition import composition_figure
from scrcl.report.drawings import dot_plot, paga_graph
from scrcl.report.page import Column, Figure, Section, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.report import ClusterRow
    from scrcl.engine.words import Words
    from scrcl.report.page import Cell

__all__ = ["cluster_sections", "correction_of", "summary_of"]

_MOST_DOTS_CLUSTERS, _MOST_DOTS_GENES, _DOTS_EACH = 60, 120, 3
_MOST_LINKED = 100
_LARGEST = 3
"""Clusters that the summary names."""


def summary_of(run: OpenRun, rows: Sequence[ClusterRow], names: Sequence[str]) -> list[str]:
    """Return the result in sentences."""
    record, stats = run.record(ClusterStage), run.record(StatsStage)
    n, words = max(record.n_cells or 0, 1), words_of(run)
    how = "found automatically" if record.chosen_by == "auto" else "as asked"
    if record.estimates:
        how += f" ({estimates_range(record.estimates)})"
    sentences = [f"{words.cells(n)} in {words.clusters(len(rows))}, {how}."]
    n_out = (stats.n_cells or 0) - stats.n_cells_retained
    if n_out:
        total = words.cells(stats.n_cells or 0)
        sentences.append(f"{n_out:,} of {total} were left out: without counts, or filtered.")
    largest = [f"{name} ({row.share:.0%})" for name, row in zip(names, rows, strict=True)][
        :_LARGEST
    ]
    if len(rows) > 1:
        sentences.append(f"The largest are {', '.join(largest)}.")
    sentences.append(
        f"{record.confidence.n_low / n:.1%} of the {words.cell}s have a low confidence, below {LOW_CONFIDENCE}: not "
        f"clearly nearer to their own {words.cluster} than to others."
    )
    return [*sentences, *correction_of(run)]


def correction_of(run: OpenRun) -> list[str]:
    """Return whether batches were corrected, and why, as a sentence; nothing if none were named."""
    if run.config.batch_key is None:
        return []
    return [correction_sentence(run.record(CorrectStage), words_of(run))]


def cluster_sections(
    context: Context, run: OpenRun, rows: Sequence[ClusterRow], names: Sequence[str]
) -> list[Section]:
    """Return the table of clusters, dot plot, links, composition and quality, as far as there is something to show."""
    words = words_of(run)
    sections = [Section(f"{words.cluster}s".capitalize(), table=_table(rows, run))]
    if len(rows) > 1:
        sections += [_dots(run, names, words), _links(run, names, words)]
    return [*sections, *_composition(context, run, names), quality_section(context, run)]


def _table(rows: Sequence[ClusterRow], run: OpenRun) -> Table:
    words, record = words_of(run), run.record(MarkersStage)
    is_named = rows[0].cell_type is not None
    partings = _partings(run, len(rows))
    columns = [
        Column(words.cluster, "label"),
        *([Column("name")] if is_named else []),
        Column(f"{words.cell}s", "number"),
        Column("share", "share"),
        Column("confidence (median)", "number"),
        Column(f"low-confidence {words.cell}s", "number"),
        *([Column("least apart from (support)")] if partings else []),
        Column("markers", "markers"),
    ]
    cells: list[list[Cell]] = [
        [
            row.name,
            *([with_second(row.cell_type or "", row.second_type, row.gap)] if is_named else []),
            row.n_cells,
            row.share,
            row.confidence,
            row.n_low_confidence,
            *([partings[i]] if partings else []),
            row.markers,
        ]
        for i, row in enumerate(rows)
    ]
    captions = [SECOND_MEANING] if any(row.second_type for row in rows) else []
    captions += [_support_meaning(run, words)] if partings else []
    captions += [LEFT_OUT] if any(row.n_left_out for row in rows) else []
    if record.n_held_back:
        captions.append(held_back_note(record.n_held_back, run.config.markers, words))
    return Table(columns, cells, " ".join(captions), palette(len(rows)))


def _partings(run: OpenRun, n_clusters: int) -> list[str]:
    """Return what each cluster is least apart from, and the support for keeping them apart; empty if not tested."""
    levels = run.record(ClusterStage).levels
    if levels is None or len(levels.partings) != n_clusters:
        return []
    return [
        f"{listed(list(map(str, each.others)))} ({_shown_support(each.support)})"
        for each in levels.partings
    ]


def _shown_support(support: float) -> str:
    return "too few cells" if support < 0 else f"{support:.2f}"


def _support_meaning(run: OpenRun, words: Words) -> str:
    """Return what the support of a cluster is, and what is enough."""
    least = run.config.cluster.least_support
    return (
        f"Least apart from: of the larger groups that the tree would join the {words.cluster} to, the one with the "
        f"shallowest valley between them. Support: its depth, from 0 (none) to 1 (no {words.cell} lies between). Below "
        f"{least:g} (cluster.least_support) no valley is clear."
    )


def _order(run: OpenRun, n_clusters: int) -> list[int]:
    """Return the clusters in the order of the tree."""
    from scipy.cluster.hierarchy import leaves_list

    leaves = leaves_list(np.asarray(run.open(CLUSTER_TREE), np.float64))
    return [int(leaf) for leaf in leaves if leaf < n_clusters]


def _dots(run: OpenRun, names: Sequence[str], words: Words) -> Section:
    """Return the first markers of the clusters, both in the order of the tree."""
    import pandas as pd

    shown = _order(run, len(names))[:_MOST_DOTS_CLUSTERS]
    profiles = run.open(PROFILES)
    first = short_list(run.open(MARKERS))
    first = first[first["rank"] < _DOTS_EACH].assign(shown=shown_genes)
    # A gene has one column, where the first cluster that it marks is.
    first = pd.concat([first[first["cluster"] == i] for i in shown]).drop_duplicates("gene")
    first = first.head(_MOST_DOTS_GENES)
    at = run.genes.get_indexer(pd.Index(first["gene"]))
    drawn = dot_plot(
        profiles.mean[at][:, shown],
        profiles.share[at][:, shown],
        list(first["shown"]),
        [names[i] for i in shown],
        cell=words.cell,
    )
    caption = (
        f"The first markers of each {words.cluster}, as in the table above, in the order of the tree. Size: share of "
        f"the {words.cell}s that express the gene. Strength: mean of the log values, between the smallest and the "
        "largest of the gene."
    )
    if len(shown) < len(names):
        caption += f" The first {len(shown)} of {words.clusters(len(names))}."
    return Section("Dot plot", figures=[Figure(drawn, caption, "svg", wide=True)])


def _links(run: OpenRun, names: Sequence[str], words: Words) -> Section:
    links, n = run.open(CLUSTER_LINKS), min(len(names), _MOST_LINKED)
    drawn = paga_graph(
        links.connectivities[:n, :n],
        links.positions[:n],
        links.sizes[:n],
        names[:n],
        palette(len(names))[:n],
        cell=words.cell,
    )
    caption = (
        f"{words.cluster.capitalize()}s that are joined in the cell graph (PAGA). A line is as wide as the number of "
        f"neighbours between two {words.cluster}s, divided by the number expected by chance."
    )
    return Section(
        f"Links of the {words.cluster}s", figures=[Figure(drawn, caption, "svg", wide=True)]
    )


def _composition(context: Context, run: OpenRun, names: Sequence[str]) -> list[Section]:
    """Return the clusters in each sample; nothing if there is one, or if the section of the batches shows them."""
    groups = context.covariates.samples
    if groups is None or context.covariates.batches is not None:
        return []
    found = groups.of(run.open(STATS).retained)
    counts = crosstab(found.codes, run.open(LABELS), len(found.names), len(names))
    there = np.flatnonzero(counts.sum(axis=1))
    if len(there) < 2:
        return []
    words, there_named = words_of(run), [found.names[i] for i in there]
    figure = composition_figure(
        counts[there], there_named, names, (words.cluster, "sample"), cell=words.cell
    )
    return [Section("Composition", figures=[figure])]
