"""Stage ``cluster`` of a prediction: the cluster of each new cell, or its domain in a tissue, and its confidence.

A new cell gets the cluster of the nearest micro-cluster mean of the run. Its confidence is the geometric mean of margin
and familiarity (`scrcl.cluster.assign`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._contract import Estimate
from scrcl._random import stream
from scrcl.cluster.artifacts import (
    CLUSTER_MEANS,
    CLUSTER_OF_MICRO,
    CONFIDENCE,
    LABELS,
    MICRO_MEANS,
)
from scrcl.cluster.assign import assign_blocks, familiarity, nearness
from scrcl.cluster.confidence import (
    LOW_PREDICTION_CONFIDENCE,
    Quantiles,
    low_clusters,
    quantiles_of,
)
from scrcl.cluster.margin import BLOCK_VALUES
from scrcl.engine.learning import estimates_of
from scrcl.engine.memory import ANNOTATION_BYTES, LIBRARIES_BYTES, TREE_BYTES
from scrcl.engine.stage import AnnDataKeys, NewCellsStage, Record
from scrcl.engine.stages.cluster import ClusterStage, categorical
from scrcl.engine.stages.embed import EMBEDDING
from scrcl.engine.stages.graph_new_cells import NEAR_IDS
from scrcl.engine.words import words_of
from scrcl.graph.artifacts import NEIGHBOR_IDS, TISSUE_SPACE
from scrcl.prep.artifacts import COMPONENTS, STATS
from scrcl.report.colours import palette
from scrcl.report.figures import share_bars
from scrcl.report.page import Figure, Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.words import Words
    from scrcl.typing import FloatArray, IntArray

__all__ = ["NewClusterStage", "NewDomainsStage"]

_COMPARED_CELLS = 20_000
"""Size of the random subset of the run's cells to which familiarity compares."""

_COLUMNS = {
    "scrcl_confidence": "confidence",
    "scrcl_margin": "margin",
    "scrcl_familiarity": "familiarity",
}
"""Columns of ``obs``, and the files they are read from."""


class NewClusterRecord(Record):
    """Clusters of the new cells, and their confidence."""

    n_clusters: int
    n_clusters_run: int
    n_low_confidence: int
    confidence: Quantiles


class NewClusterStage(NewCellsStage[NewClusterRecord]):
    """Assigns new cells to the clusters of the run."""

    name = "cluster"
    record = NewClusterRecord
    gives = (LABELS, CONFIDENCE)
    owned_obs = ClusterStage.owned_obs

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return a few numbers for each cell, and blocks of distances."""
        # The allocator keeps the memory of the neighbours' rows.
        return Estimate(
            LIBRARIES_BYTES + 40 * shape.n_cells,
            estimates_of(shape, config).new_cells.block_bytes + 8 * BLOCK_VALUES,
            disk_bytes=16 * shape.n_cells,
        )

    def run(self, context: Context, folder: Path) -> NewClusterRecord:
        """Write ``labels.npy``, ``margin.npy``, ``familiarity.npy`` and ``confidence.npy``, one value a cell."""
        finished = self._run
        labels, margin, familiar = self._compared(context)
        # A geometric mean, because either number alone can show that a label is doubtful.
        confidence = np.sqrt(margin * familiar)
        for name, values in (
            ("labels", labels),
            ("margin", margin),
            ("familiarity", familiar),
            ("confidence", confidence),
        ):
            np.save(folder / f"{name}.npy", values)
        doubtful = _doubtful(labels, confidence)
        in_run = low_clusters(finished.record(ClusterStage).confidence.median_by_cluster)
        return NewClusterRecord(
            notes=tuple(_notes_of(doubtful, in_run, words_of(finished))),
            n_cells=len(labels),
            n_clusters=len(np.unique(labels)),
            n_clusters_run=finished.record(ClusterStage).n_clusters,
            n_low_confidence=int(np.count_nonzero(confidence < LOW_PREDICTION_CONFIDENCE)),
            confidence=quantiles_of(confidence),
        )

    def _compared(self, context: Context) -> tuple[IntArray, FloatArray, FloatArray]:
        """Return the cluster, the margin and the familiarity of each new cell."""
        finished, config = self._run, context.config
        assigned = assign_blocks(context.open(EMBEDDING), *_means_of(finished))
        run_scores, k = finished.open(COMPONENTS), config.graph.n_neighbors
        familiar = familiarity(
            context.open(COMPONENTS),
            context.open(NEAR_IDS)[:, :k],
            run_scores,
            finished.open(NEIGHBOR_IDS),
            _compared_cells(len(run_scores), config.seed),
        )
        return assigned.labels, assigned.margin, familiar

    def headline(self, record: NewClusterRecord) -> dict[str, Any]:
        """Return the number of clusters and the confidence."""
        return {"n_clusters": record.n_clusters, "confidence": asdict(record.confidence)}

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return labels and confidence; colours are those of the run."""
        n_clusters = run.record(NewClusterStage).n_clusters_run
        folder = run.folder.stage(self.name)
        columns = {key: np.load(folder / f"{array}.npy") for key, array in _COLUMNS.items()}
        labels = categorical(np.asarray(run.open(LABELS)), n_clusters)
        return AnnDataKeys(
            obs={"scrcl": labels, **columns},
            uns={"n_clusters": n_clusters},
            uns_other={"scrcl_colors": np.array(palette(n_clusters))},
        )

    def section(self, run: OpenRun) -> Section:
        """Return the confidence of the new cells."""
        record, cell = run.record(NewClusterStage), words_of(self._run).cell
        bars = share_bars(np.asarray(run.open(CONFIDENCE)), "confidence", cell)
        share = record.n_low_confidence / max(record.n_cells or 0, 1)
        return Section(
            "Confidence",
            figures=(Figure(bars, f"New {cell}s by confidence", "svg"),),
            overview={
                "confidence (median)": f"{record.confidence.p50:.2f}",
                f"{cell}s of low confidence (below {LOW_PREDICTION_CONFIDENCE})": f"{share:.1%}",
            },
            notes=record.notes,
        )


class NewDomainsStage(NewClusterStage):
    """Assigns new cells to the domains of the run, and smooths their labels in their slices."""

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return coordinates, a few numbers for each cell, and blocks of distances."""
        return Estimate(
            LIBRARIES_BYTES + (40 + ANNOTATION_BYTES + TREE_BYTES) * shape.n_cells,
            8 * BLOCK_VALUES,
            disk_bytes=16 * shape.n_cells,
        )

    def _compared(self, context: Context) -> tuple[IntArray, FloatArray, FloatArray]:
        """Return the domain, the margin and the familiarity of each new cell."""
        from scrcl.graph.domains import majority_labels

        config, finished, points = context.config, self._run, context.open(TISSUE_SPACE)
        micro_means, cluster_of_micro, cluster_means = _means_of(finished)
        labels, margin = assign_blocks(points, micro_means, cluster_of_micro, cluster_means)
        there = finished.open(TISSUE_SPACE)
        some = _compared_cells(len(there), config.seed)
        familiar = nearness(
            points, labels, cluster_means, there[some], np.asarray(finished.open(LABELS))[some]
        )
        if not config.smoothing_cells:
            return labels, margin, familiar
        covariates = context.covariates.of(context.open(STATS).retained)
        assert covariates.coordinates is not None, "new slices without coordinates are refused"
        smoothed = majority_labels(
            labels, covariates.coordinates, config.smoothing_cells, samples=covariates.samples
        )
        # A cell that got the domain of the cells around it is nearer to another one.
        return smoothed, margin * (smoothed == labels), familiar


def _means_of(run: OpenRun) -> tuple[FloatArray, IntArray, FloatArray]:
    """Return the means of the micro-clusters, the cluster of each, and the means of the clusters of a run."""
    return (
        np.array(run.open(MICRO_MEANS)),
        np.array(run.open(CLUSTER_OF_MICRO)),
        np.array(run.open(CLUSTER_MEANS)),
    )


def _compared_cells(n_cells: int, seed: int) -> IntArray:
    """Return a random subset of the run's cells, ascending, to which familiarity compares."""
    n = min(_COMPARED_CELLS, n_cells)
    subset = stream(seed, "predict.atlas").choice(n_cells, n, replace=False, shuffle=False)
    subset.sort()
    return subset


def _doubtful(labels: IntArray, confidence: FloatArray) -> list[int]:
    """Return the clusters where the confidence of most new cells is low."""
    sizes = np.bincount(labels)
    n_low = np.bincount(labels[confidence < LOW_PREDICTION_CONFIDENCE], minlength=len(sizes))
    return np.flatnonzero(n_low > sizes / 2).tolist()


def _notes_of(doubtful: Sequence[int], in_run: Sequence[int], words: Words) -> Iterator[str]:
    """Yield where most new cells have low confidence: cells unlike those of the run, or clusters that are doubtful."""
    limit = f"low confidence (below {LOW_PREDICTION_CONFIDENCE})"
    if unlike := [cluster for cluster in doubtful if cluster not in in_run]:
        where = _named(unlike, words)
        yield f"Most new {words.cell}s in {where} have {limit}. They may be of a kind that the run does not have."
    if alike := [cluster for cluster in doubtful if cluster in in_run]:
        where = _named(alike, words)
        yield (
            f"Most new {words.cell}s in {where} have {limit}, as most {words.cell}s of the run there have a low one."
        )


def _named(numbers: Sequence[int], words: Words) -> str:
    return f"{words.cluster}{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"
