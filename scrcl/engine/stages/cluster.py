"""Stage ``cluster``: clusters of the cells, their trees and confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.cluster.artifacts import (
    CLUSTER_MEANS,
    CLUSTER_OF_MICRO,
    CLUSTER_TREE,
    CONFIDENCE,
    LABELS,
    MICRO_MEANS,
)
from scrcl.cluster.confidence import ConfidenceSummary
from scrcl.cluster.levels import Parting, Split
from scrcl.cluster.names import Algorithm
from scrcl.cluster.protocol import Choice
from scrcl.cluster.settings import ClusterSettings
from scrcl.engine.annotate import named_categories
from scrcl.engine.stage import AnnDataKeys, Fields, Record, Stage
from scrcl.engine.stages.cluster_estimate import cluster_estimate
from scrcl.engine.stages.cluster_facts import (
    cluster_overview,
    estimate_notes,
    low_confidence_notes,
    tree_figures,
)
from scrcl.engine.stages.embed import EMBEDDING
from scrcl.engine.stages.stats import require_few_clusters
from scrcl.engine.words import words_in, words_of
from scrcl.graph.artifacts import CELL_GRAPH, NEIGHBOR_IDS, TISSUE_SPACE
from scrcl.prep.artifacts import STATS
from scrcl.report.colours import palette
from scrcl.report.page import Figure, Section

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from scrcl._contract import Estimate, Shape
    from scrcl.cluster.find import Clusters
    from scrcl.cluster.levels import Levels
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.covariates import Covariates
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.cluster_new_cells import NewClusterStage
    from scrcl.engine.words import Words
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import IntArray

__all__ = ["ClusterRecord", "ClusterStage", "categorical"]

_ARRAYS = (
    "labels",
    "micro_means",
    "cluster_of_micro",
    "micro_sizes",
    "cluster_means",
    "cluster_tree",
    "micro_tree",
)
"""Arrays of `scrcl.cluster.find.Clusters` that are written, each to a file of its name."""


class ExtraCut(Fields):
    """A clustering into another number of clusters (``cluster.also``)."""

    asked: int
    found: int
    nested: bool


class LevelsRecord(Fields):
    """Numbers of clusters of each level, the splits around the clusters, and what parts each of them from others."""

    n_fine: int
    n_coarse: int
    next_merge: Split | None
    next_split: Split | None
    partings: tuple[Parting, ...] = ()


class ClusterRecord(Record):
    """How clusters were found, and their confidence.

    Attributes
    ----------
    chosen_by
        ``given`` or ``auto``.
    estimates
        With spatial domains that were counted: the three estimates of their number in each slice. The middle one is
        taken, and of several slices the median.
    levels
        Coarser and finer clusters, and the splits around those that are there; None if no split was tested.
    coherence
        Share of neighbours in the tissue with the same label, and the share by chance.
    n_clusters_before_smoothing, n_smoothed
        Clusters before smoothing, and cells that got another label; None if labels are not smoothed.
    """

    n_clusters: int
    chosen_by: str
    estimates: tuple[tuple[int, ...], ...] = ()
    algorithm: Algorithm
    choice: Choice | None = None
    levels: LevelsRecord | None = None
    extra_cuts: tuple[ExtraCut, ...] = ()
    confidence: ConfidenceSummary
    coherence: dict[str, float] | None = None
    n_clusters_before_smoothing: int | None = None
    n_smoothed: int | None = None


class ClusterStage(Stage[ClusterRecord]):
    """Counts the clusters unless their number is given, finds them, and smooths spatial domains.

    Parameters
    ----------
    words
        Words of a closer look; None: those of the run.
    """

    name = "cluster"
    settings = ClusterSettings
    record = ClusterRecord
    gives = (LABELS, CONFIDENCE, CLUSTER_TREE, MICRO_MEANS, CLUSTER_OF_MICRO, CLUSTER_MEANS)
    # `cluster.on` is missing: the stage `embed` reads it too.
    redo_settings = (
        "n_clusters",
        *(f"cluster.{name}" for name in ClusterSettings.model_fields if name != "on"),
    )
    # Those of a prediction too: a run on the same object must not leave them behind.
    owned_obs = (
        "scrcl",
        r"scrcl_k\d+",
        "scrcl_unrefined",
        "scrcl_coarse",
        "scrcl_fine",
        "scrcl_confidence",
        "scrcl_margin",
        "scrcl_familiarity",
    )

    def __init__(self, words: Words | None = None) -> None:
        self._words = words

    def check(self, header: CellMatrix, config: RunConfig) -> None:
        """Refuse more clusters than there are cells."""
        require_few_clusters(config, header.n_obs, "cells")

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the embedding's blocks, communities of subsets, pairs of micro-clusters, and smoothing."""
        return cluster_estimate(shape, config)

    def run(self, context: Context, folder: Path) -> ClusterRecord:
        """Write labels, confidence, the trees, and the means by which new cells are assigned."""
        from scrcl.cluster.confidence import confidence, describe_confidence
        from scrcl.cluster.find import find_clusters
        from scrcl.engine.stages.cluster_inputs import n_clusters_of, spaces_of

        config, settings = context.config, context.config.cluster_settings
        points = context.open(TISSUE_SPACE if config.on_tissue else EMBEDDING)
        covariates = context.covariates.of(context.open(STATS).retained)
        n_clusters, estimates = n_clusters_of(context, points, covariates)
        found = find_clusters(
            spaces_of(context, points, covariates),
            n_clusters,
            settings=settings,
            seed=config.seed,
        )
        found, smoothing = _smoothed(context, found, covariates, folder)
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(found, name))
        for k, labels in found.extra_cuts.items():
            np.save(folder / f"k{k}.npy", labels)
        values = confidence(points, found.labels, found.cluster_means, context.open(CELL_GRAPH))
        np.save(folder / "confidence.npy", values)
        summary = describe_confidence(values, found.labels)
        words = self._words or words_in(context)
        return ClusterRecord(
            n_cells=len(found.labels),
            n_clusters=int(found.labels.max()) + 1,
            chosen_by="auto" if config.n_clusters == "auto" else "given",
            algorithm=settings.algorithm,
            choice=found.choice,
            levels=_write_levels(found.levels, folder),
            extra_cuts=tuple(
                ExtraCut(asked=k, found=int(labels.max()) + 1, nested=found.nested[k])
                for k, labels in found.extra_cuts.items()
            ),
            estimates=estimates,
            notes=(
                *map(words.put_in, found.notes),
                *estimate_notes(estimates),
                *low_confidence_notes(summary.median_by_cluster, words),
            ),
            confidence=summary,
            **smoothing,
        )

    def headline(self, record: ClusterRecord) -> dict[str, int]:
        """Return the number of clusters."""
        return {"n_clusters": record.n_clusters}

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return clusters, extra cuts, confidence, and the trees."""
        record, folder = run.record(ClusterStage), run.folder.stage(self.name)

        def array(name: str) -> Any:
            return np.load(folder / f"{name}.npy")

        obs: dict[str, Any] = {"scrcl": categorical(array("labels"))}
        if record.n_smoothed is not None:
            obs["scrcl_unrefined"] = categorical(array("before_smoothing"))
        if record.levels is not None:
            obs["scrcl_coarse"] = categorical(array("coarse"))
            obs["scrcl_fine"] = categorical(array("fine"))
        obs["scrcl_confidence"] = array("confidence")
        obs |= {
            f"scrcl_k{cut.asked}": categorical(array(f"k{cut.asked}")) for cut in record.extra_cuts
        }
        cluster_of_micro = array("cluster_of_micro")
        n_leaves = int(cluster_of_micro.max()) + 1
        tree = {
            "clusters": array("cluster_tree"),
            # Smoothing may leave clusters without cells, but they stay leaves of the tree.
            "cluster_sizes": np.bincount(array("labels"), minlength=n_leaves),
            "groups": array("micro_tree"),
            "group_sizes": array("micro_sizes"),
            "group_clusters": cluster_of_micro,
        }
        uns: dict[str, Any] = {"n_clusters": record.n_clusters, "tree": tree}
        if record.levels is not None:
            tree["splits"] = array("splits")
        if record.choice is not None:
            uns["clusters_by"] = {k: v for k, v in vars(record.choice).items() if v is not None}
        colours = palette(len(obs["scrcl"].categories))
        return AnnDataKeys(obs=obs, uns=uns, uns_other={"scrcl_colors": colours})

    def section(self, run: OpenRun) -> Section:
        """Return how clusters join, and their confidence."""
        from scrcl.report.figures import share_bars

        record, words = run.record(ClusterStage), words_of(run)
        figures = tree_figures(run, words)
        bars = share_bars(run.open(CONFIDENCE), "confidence", words.cell)
        figures.append(Figure(bars, f"{words.cell.capitalize()}s by confidence", "svg"))
        return Section(
            f"{words.cluster.capitalize()} tree and confidence",
            figures=figures,
            overview=cluster_overview(record, words),
            notes=record.notes,
        )

    def for_new_cells(self, run: OpenRun) -> NewClusterStage:
        """Return the stage that assigns new cells to the clusters, or domains, of the finished run."""
        from scrcl.engine.stages.cluster_new_cells import NewClusterStage, NewDomainsStage

        return NewDomainsStage(run) if run.config.on_tissue else NewClusterStage(run)


def _write_levels(levels: Levels | None, folder: Path) -> LevelsRecord | None:
    """Write ``fine.npy``, ``coarse.npy`` and ``splits.npy``; return their part of the record."""
    if levels is None:
        return None
    np.save(folder / "fine.npy", levels.fine)
    np.save(folder / "coarse.npy", levels.coarse)
    np.save(folder / "splits.npy", levels.splits)
    return LevelsRecord(
        n_fine=int(levels.fine.max()) + 1,
        n_coarse=int(levels.coarse.max()) + 1,
        next_merge=levels.next_merge,
        next_split=levels.next_split,
        partings=levels.partings,
    )


def categorical(labels: IntArray, n_clusters: int | None = None) -> pd.Categorical:
    """Return labels as categories "0", "1", ..."""
    n = int(labels.max()) + 1 if n_clusters is None else n_clusters
    return named_categories([str(i) for i in range(n)], labels)


def _smoothed(
    context: Context, found: Clusters, covariates: Covariates, folder: Path
) -> tuple[Clusters, dict[str, Any]]:
    """Smooth the labels of a spatial run if its settings say so; return the fields of the record about it.

    Writes ``before_smoothing.npy``: the labels before smoothing, numbered as the smoothed clusters are.
    """
    from scrcl.cluster.smoothing import smooth_clusters
    from scrcl.graph.domains import coherence

    config = context.config
    if not config.spatial:
        return found, {}
    ids = context.open(NEIGHBOR_IDS)
    if not config.smoothing_cells:
        return found, {"coherence": coherence(found.labels, ids)._asdict()}
    assert covariates.coordinates is not None, "a spatial run without coordinates is refused"
    smoothed = smooth_clusters(
        found, covariates.coordinates, config.smoothing_cells, samples=covariates.samples
    )
    np.save(folder / "before_smoothing.npy", smoothed.before)
    after, before = (
        coherence(labels, ids) for labels in (smoothed.clusters.labels, smoothed.before)
    )
    return smoothed.clusters, {
        "coherence": {**after._asdict(), "before_smoothing": before.share},
        "n_clusters_before_smoothing": len(found.cluster_means),
        "n_smoothed": int(np.count_nonzero(smoothed.clusters.labels != smoothed.before)),
    }
