"""What a run did, as sentences for the methods section of a paper, with the papers to cite.

It is read as one text, so its sentences stand together here. They say what was done, from the records of the stages,
and not what the settings ask for: a correction that was not needed was not made.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from scrcl.cluster.names import IN_WORDS
from scrcl.engine.stages.cluster import ClusterStage
from scrcl.engine.stages.correct import CorrectStage
from scrcl.engine.stages.doublets import DoubletsStage
from scrcl.engine.stages.features import FeaturesStage
from scrcl.engine.stages.graph import GraphStage
from scrcl.engine.stages.markers import MarkersStage
from scrcl.engine.stages.names import NamesStage
from scrcl.engine.stages.pseudotime import PseudotimeStage
from scrcl.engine.stages.reduce import ReduceStage
from scrcl.engine.stages.stats import StatsStage
from scrcl.engine.stages.subclusters import SubclustersStage
from scrcl.engine.stages.tissue import TissueStage
from scrcl.engine.stages.train import TrainStage
from scrcl.engine.words import listed, words_of
from scrcl.maps.artifacts import LAYOUT
from scrcl.prep.normalize import TARGET_SUM
from scrcl.report.page import Column, Section, Table
from scrcl.train.methods import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.doublets import DoubletsSettings
    from scrcl.engine.words import Words

__all__ = ["methods_section", "methods_text"]

_PAPERS = {
    "seurat": "Satija et al.: Spatial reconstruction of single-cell gene expression data. Nat Biotechnol 33, 495-502 "
    "(2015).",
    "cell_ranger": "Zheng et al.: Massively parallel digital transcriptional profiling of single cells. Nat Commun 8, "
    "14049 (2017).",
    "seurat_v3": "Stuart et al.: Comprehensive integration of single-cell data. Cell 177, 1888-1902 (2019).",
    "Moran's I": "Moran: Notes on continuous stochastic phenomena. Biometrika 37, 17-23 (1950).",
    "Leiden": "Traag et al.: From Louvain to Leiden: guaranteeing well-connected communities. Sci Rep 9, 5233 (2019).",
    "Harmony": "Korsunsky et al.: Fast, sensitive and accurate integration of single-cell data with Harmony. Nat "
    "Methods 16, 1289-1296 (2019).",
    "UMAP": "McInnes et al.: UMAP: uniform manifold approximation and projection for dimension reduction. "
    "arXiv:1802.03426 (2018).",
    "van Elteren": "van Elteren: On the combination of independent two-sample tests of Wilcoxon. Bull Int Stat Inst "
    "37, 351-361 (1960).",
    "Benjamini": "Benjamini and Hochberg: Controlling the false discovery rate. J R Stat Soc B 57, 289-300 (1995).",
    "Scrublet": "Wolock et al.: Scrublet: computational identification of cell doublets in single-cell transcriptomic "
    "data. Cell Syst 8, 281-291 (2019).",
    "diffusion pseudotime": "Haghverdi et al.: Diffusion pseudotime robustly reconstructs lineage branching. Nat "
    "Methods 13, 845-848 (2016).",
}
"""Papers by a word of the text: a paper is cited where its word stands."""


def methods_text(run: OpenRun) -> tuple[str, list[str]]:
    """Return what a finished run did, and the papers that the text names."""
    text = " ".join(_sentences(run))
    named = [paper for word, paper in _PAPERS.items() if word in text]
    return text, [paper for paper in (METHODS[run.config.method].paper, *named) if paper]


def methods_section(run: OpenRun) -> Section:
    """Return the text and the papers that it names, as a section of the report."""
    text, papers = methods_text(run)
    caption = "Check it against what you did before and after scrcl."
    return Section(
        "Text for a methods section",
        text=text,
        table=Table([Column("references")], [[paper] for paper in papers], caption),
    )


def _sentences(run: OpenRun) -> Iterator[str]:
    words = words_of(run)
    yield from _input(run, words)
    yield from _features(run, words)
    yield from _correction(run, words)
    yield from _graph(run, words)
    yield from _clusters(run, words)
    yield from _markers(run, words)
    yield from _looks(run, words)
    yield from _names(run, words)
    yield from _on_request(run, words)
    yield f"All other settings stand in config.toml (seed {run.config.seed})."


def _input(run: OpenRun, words: Words) -> Iterator[str]:
    stats, limits = run.record(StatsStage), run.config.features
    n, n_kept = stats.n_cells or 0, stats.n_cells_retained
    version = run.folder.manifest["versions"]["scrcl"]
    yield f"{words.cells(n)} were analysed with scrcl {version}."
    asked = {
        f"fewer than {limits.min_genes:,} genes": limits.min_genes > 0,
        f"more than {limits.max_counts or 0:,.0f} counts": limits.max_counts is not None,
        f"more than {limits.max_mito or 0:.0%} mitochondrial counts": limits.max_mito is not None,
    }
    what = [limit for limit, is_asked in asked.items() if is_asked]
    if n > n_kept:
        yield f"Without counts{''.join(f', or with {limit}' for limit in what)}, {n - n_kept:,} were left out."
    if stats.already_log:
        yield "The values were logarithms of normalised counts."
    else:
        depth = run.record(ReduceStage).depth or TARGET_SUM
        yield f"Counts were scaled to {depth:,.0f} in each {words.cell} and transformed by log(1 + x)."


def _features(run: OpenRun, words: Words) -> Iterator[str]:
    genes, reduced = run.record(FeaturesStage), run.record(ReduceStage)
    kind = "most variable" if genes.flavor != "moran" else "most spatially variable"
    how = "by Moran's I" if genes.flavor == "moran" else f"as by {genes.flavor} in scanpy"
    if genes.flavor == "variance":
        how = "by the variance of their values"
    each = f", {words.batch} by {words.batch}" if genes.by_batch else ""
    which = f"The {genes.n_genes:,} {kind} genes were selected ({how}{each})"
    if genes.is_whole:
        which = f"All {genes.n_genes:,} genes were kept"
    scaled = " of genes scaled to unit variance" if reduced.unit_variance else ""
    yield (
        f"{which}, and {reduced.n_comps} principal components{scaled} computed, which have "
        f"{reduced.variance_explained:.0%} of the variance."
    )


def _correction(run: OpenRun, words: Words) -> Iterator[str]:
    record, key = run.record(CorrectStage), run.config.batch_key
    if key is None:
        return
    what = f"{record.n_batches} {words.batches} ({key})"
    if record.left_as_is:
        yield f"Components were not corrected for {what}: {record.reason}."
        return
    groups = f", taken as {record.n_corrected} groups that mix within themselves,"
    yield f"Components were corrected for {what}{groups if record.by_group else ''} by Harmony."
    if record.centred:
        each = "group" if record.by_group else words.batch
        onto = "the mean of all" if record.agreement is None else "the others by matched clusters"
        yield f"Before that, each {each} was shifted as a whole, to {onto}."


def _graph(run: OpenRun, words: Words) -> Iterator[str]:
    graph, steps = run.record(GraphStage), run.record(TrainStage).n_steps
    name = METHODS[run.config.method].title or run.config.method
    where = " in the tissue" if run.config.spatial else ""
    exact = "exact" if graph.recall >= 1 else f"recall {graph.recall:.3f}"
    yield (
        f"The {graph.n_neighbors} nearest neighbours{where} of each {words.cell} were found ({exact}), and an "
        f"embedding was trained by {name} ({steps:,} steps)."
    )
    if run.has(LAYOUT):
        of = "neighbours in the embedding" if run.config.spatial else "the same neighbours"
        yield f"UMAP was laid out on {of}."


def _clusters(run: OpenRun, words: Words) -> Iterator[str]:
    record, config = run.record(ClusterStage), run.config
    number = (
        f"{words.clusters(record.n_clusters)} {'was' if record.n_clusters == 1 else 'were'} found"
    )
    chosen = (
        "their number was given" if record.chosen_by == "given" else "their number was found too"
    )
    if config.on_tissue:
        averages = run.record(TissueStage)
        scales = ", fitted to them and to their own averages over the same neighbours"
        scales = scales if record.algorithm == "mixture" else ""
        yield (
            f"Components were averaged over each {words.cell} and its {averages.n_neighbors} nearest neighbours in "
            f"the tissue; {number} in these averages by {IN_WORDS[record.algorithm]}{scales} ({chosen})."
        )
    else:
        yield f"{number} by {IN_WORDS[record.algorithm]} ({chosen})."
        divides = record.algorithm == "vote" and config.cluster.divide_cells > 0
        divides &= record.chosen_by == "auto" and record.n_clusters > 1
        if divides and run.record(CorrectStage).left_as_is:
            yield (
                f"{words.cluster.capitalize()}s of {config.cluster.divide_cells:,} voting {words.cell}s and more were "
                f"clustered once more, in components of their own {words.cell}s."
            )
        n_voting = config.cluster.vote_cells
        if record.algorithm == "vote" and run.n_cells > n_voting:
            yield (
                f"{n_voting:,} random {words.cell}s voted; others took the nearest {words.cluster} in the embedding."
            )
    if config.smoothing_cells and record.n_smoothed is not None:
        yield f"Each {words.cell} then took the label of most of its {config.smoothing_cells} nearest neighbours."


def _markers(run: OpenRun, words: Words) -> Iterator[str]:
    record = run.record(MarkersStage)
    if run.record(ClusterStage).n_clusters < 2:
        return
    test = "Wilcoxon's rank sum test" if record.test == "wilcoxon" else "Welch's t-test"
    within = (
        f" of the same {words.batch}; {words.batches} were combined" if record.is_within else ""
    )
    by = " as by van Elteren" if record.is_within and record.test == "wilcoxon" else ""
    yield (
        f"Marker genes of each {words.cluster} were found by {test} against all other {words.cell}s{within}{by}; p "
        "values were adjusted as by Benjamini and Hochberg."
    )


def _looks(run: OpenRun, words: Words) -> Iterator[str]:
    found = Counter(row.name.partition("_")[0] for row in run.record(SubclustersStage).rows)
    if not found:
        return
    several = len(found) > 1
    which = f"{words.cluster.capitalize()}{'s' if several else ''} {listed(list(found))}"
    into = listed(list(map(str, found.values())))
    yield (
        f"{which} {'were' if several else 'was'} divided into {into} subclusters by the vote on genes, components and "
        f"neighbours of {'their' if several else 'its'} own {words.cell}s."
    )


def _names(run: OpenRun, words: Words) -> Iterator[str]:
    record, settings = run.record(NamesStage), run.config.names
    if settings.table is not None:
        of = "" if settings.tissues is None else f" ({settings.tissues})"
        yield (
            f"{words.cluster.capitalize()}s were named by the marker genes of {Path(settings.table).name}{of}: the set "
            "whose genes lie highest above random genes of the same expression, unknown below "
            f"{settings.min_score:g} standard deviations."
        )
    if record.n_given:
        yield f"{words.clusters(record.n_given)} were named by hand."


def _on_request(run: OpenRun, words: Words) -> Iterator[str]:
    doublets = run.record(DoubletsStage)
    if not doublets.left_as_is:
        settings: DoubletsSettings = run.config.group(DoubletsStage.name)
        rate = f"expected rate {settings.expected_rate:.0%}"
        yield f"Doublets were scored by Scrublet ({rate}); none were left out."
    pseudotime = run.record(PseudotimeStage)
    if not pseudotime.left_as_is:
        root = pseudotime.root
        yield f"{words.cell.capitalize()}s were ordered by diffusion pseudotime from {root}."
