"""Stage ``batches``: how far clusters follow the batches, and which columns might be batches if none were named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from scrcl._contract import Estimate
from scrcl.cluster.artifacts import LABELS
from scrcl.cluster.mixing import BatchMixing
from scrcl.engine.given_names import shown_names
from scrcl.engine.learning import embedding_width
from scrcl.engine.memory import ANNOTATION_BYTES, KEPT_BYTES, LIBRARIES_BYTES
from scrcl.engine.stage import Fields, Record, Stage
from scrcl.engine.stages.batches_apart import correction_method
from scrcl.engine.stages.batches_facts import (
    COMPOSITION,
    batch_notes,
    batch_overview,
    beyond_notes,
    clusters_table,
    suspicion_notes,
)
from scrcl.engine.stages.batches_followed import FollowingCluster, following_clusters, table_of
from scrcl.engine.stages.batches_suspected import (
    SuspectedColumn,
    columns_beyond,
    suspected_columns,
    unnamed_columns,
)
from scrcl.engine.stages.batches_tested import TestedBatches, confounded_conditions
from scrcl.engine.stages.cluster_inputs import n_neighbors_of
from scrcl.engine.stages.correct import CorrectStage
from scrcl.engine.stages.correct_facts import correction_sentence
from scrcl.engine.stages.correct_fit import TEST_CELLS
from scrcl.engine.stages.embed import EMBEDDING
from scrcl.engine.words import words_in, words_of
from scrcl.graph.artifacts import NEIGHBOR_IDS
from scrcl.io.arrays import SMALL_MAP_BYTES
from scrcl.prep.artifacts import STATS
from scrcl.report.composition import composition_figure
from scrcl.report.page import Section

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.words import Words
    from scrcl.io.labels import CellLabels
    from scrcl.typing import BoolArray, IntArray

__all__ = ["BatchesRecord", "BatchesStage", "ClusterBatches", "SuspectedColumn"]

_MIXED_BYTES = 48
"""Bytes for each cell while clusters are compared with batches."""

_TESTS_OF_BATCHES = 3
"""Neighbours are searched before and after a correction, and for the columns that a batch key leaves out. Without a
batch key they are searched once, for all columns."""

_COUNTS = "counts.npz"
"""File of the stage with the cells of each cluster in each batch."""


class ClusterBatches(Fields):
    """The batches of a cluster.

    Attributes
    ----------
    largest, share
        The batch with most cells in the cluster, and its share of the cluster.
    before, after
        Mixing inside the cluster before and after the correction (see `mixing_in_clusters`); None for a cluster of
        one batch, and ``after`` also where nothing was corrected.
    """

    largest: str
    share: float
    before: float | None
    after: float | None


class BatchesRecord(Record):
    """How far clusters follow batches.

    Attributes
    ----------
    batches, by_cluster
        With batches: over all cells, and for each cluster.
    of_one_batch, following
        With batches: clusters whose cells are nearly all from one of them, or from one group of batches that mix; and
        of which.
    apart_groups
        With batches that were corrected as groups, or that mix in groups: clusters inside of which these keep apart.
    confounded, confounded_groups
        Conditions that coincide with a batch, and with a group of batches, by column of obs.
    checked, suspected
        Without batches: columns that look like batches or conditions, and those of them that neighbours or clusters
        follow, the strongest first. With batches: ``suspected`` are those that they leave out and that clusters follow.
    """

    batches: BatchMixing | None = None
    by_cluster: tuple[ClusterBatches, ...] = ()
    of_one_batch: tuple[str, ...] = ()
    following: tuple[FollowingCluster, ...] = ()
    apart_groups: tuple[str, ...] = ()
    confounded: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    confounded_groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    checked: tuple[str, ...] = ()
    suspected: tuple[SuspectedColumn, ...] = ()


class BatchesStage(Stage[BatchesRecord]):
    """Compares clusters and neighbours with the batches. It changes nothing.

    Parameters
    ----------
    words
        Words of a closer look; None: those of the run.
    """

    name = "batches"
    record = BatchesRecord
    is_cheap = True

    def __init__(self, words: Words | None = None) -> None:
        self._words = words

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the annotations of the cells, and neighbours of subsets."""
        n = shape.n_cells
        n_tested = min(n, TEST_CELLS)
        width = max(shape.n_comps, embedding_width(config))
        n_tests, n_mixed, widest = 1, 0, shape.n_comps
        if shape.n_batches > 1:
            n_tests, n_mixed, widest = _TESTS_OF_BATCHES, n, width
        n_embedded = min(n_mixed, config.cluster.auto_cells)
        return Estimate(
            LIBRARIES_BYTES
            + (ANNOTATION_BYTES + KEPT_BYTES) * n
            + _MIXED_BYTES * n_mixed
            # Rows at random make the pages of a map resident, one map after another.
            + min(4 * n * widest, SMALL_MAP_BYTES),
            max(n_tested, n_embedded) * (12 * width + 400),
            disk_bytes=64 * 1024,
            read_bytes=4 * (n_tests * n_tested + n_embedded) * width
            + 4 * n_mixed * shape.n_neighbors,
            seconds=1
            + 1e-7 * n_mixed * shape.n_neighbors
            + 2e-4 * (n_tests * n_tested + n_embedded),
        )

    def run(self, context: Context, folder: Path) -> BatchesRecord:
        """Measure, and write the cells of each batch in each cluster, as ``batches.csv`` into OUT."""
        retained = context.open(STATS).retained
        labels = np.asarray(context.open(LABELS))
        batches, words = context.covariates.batches, self._words or words_in(context)
        if batches is None:
            return _without_batches(context, retained, labels, words)
        batches = batches.of(retained)
        table = table_of(batches, labels)
        np.savez(folder / _COUNTS, counts=table, names=np.array(batches.names, np.str_))
        return _with_batches(context, batches, labels, table, words)

    def section(self, run: OpenRun) -> Section | None:
        """Return the mixing of each cluster."""
        record, words = run.record(BatchesStage), words_of(run)
        if record.batches is None:
            return super().section(run)
        with np.load(run.folder.stage(self.name) / _COUNTS) as saved:
            counts, batches = saved["counts"], list(map(str, saved["names"]))
        there = np.flatnonzero(counts.sum(axis=0))
        counts, batches = counts[:, there], [batches[i] for i in there]
        clusters = shown_names(run, np.asarray(run.open(LABELS)))
        return Section(
            words.batches.capitalize(),
            text=correction_sentence(run.record(CorrectStage), words),
            figures=[
                composition_figure(
                    counts.T, batches, clusters, (words.cluster, words.batch), cell=words.cell
                )
            ],
            table=clusters_table(record.by_cluster, clusters, batches, counts, words),
            overview=batch_overview(record.batches, words),
            notes=record.notes,
        )


def _with_batches(
    context: Context, batches: CellLabels, labels: IntArray, table: IntArray, words: Words
) -> BatchesRecord:
    import pandas as pd

    from scrcl._atomic import atomic_path
    from scrcl.cluster.mixing import describe_mixing
    from scrcl.markers.ranking import for_spreadsheets

    config = context.config
    with atomic_path(context.folder.path / COMPOSITION) as path:
        for_spreadsheets(pd.DataFrame(_rows(table, batches.names))).to_csv(path, index=False)
    tested = TestedBatches.of(context, batches)
    following = following_clusters(table, batches.names, tested.groups, words)
    record = BatchesRecord(
        n_cells=len(labels),
        files=(COMPOSITION,),
        batches=describe_mixing(
            labels,
            batches.codes,
            context.open(NEIGHBOR_IDS),
            context.open(EMBEDDING),
            n_neighbors=n_neighbors_of(config),
            n_cells=config.cluster.auto_cells,
            seed=config.seed,
        ),
        by_cluster=_by_cluster(tested, batches.names, labels, table),
        of_one_batch=tuple(each.cluster for each in following),
        following=following,
        apart_groups=tuple(words.name(i) for i in tested.apart_groups(labels, len(table))),
        suspected=tuple(
            columns_beyond(context, batches, labels, {each.cluster for each in following}, words)
        ),
        **confounded_conditions(context, batches, tested.groups, any_apart=bool(following)),
    )
    advice = None if words.prefix else _advice(config)
    notes = [
        *batch_notes(record, words, advice),
        *beyond_notes(record.suspected, words.clusters(len(table))),
    ]
    return record.model_copy(update={"notes": tuple(notes)})


def _advice(config: RunConfig) -> str | None:
    """Return what to do where clusters follow batches because nothing was to be corrected."""
    if correction_method(config) != "none":
        return None
    return (
        "Components were not corrected (correct.method is none). To correct them, run again into another folder with "
        '`correct.method="auto"`.'
    )


def _rows(table: IntArray, names: tuple[str, ...]) -> Iterator[dict[str, object]]:
    """Yield the rows of ``batches.csv``: pairs of cluster and batch that have cells."""
    sizes, totals = table.sum(axis=1), table.sum(axis=0)
    for cluster, batch in zip(*np.nonzero(table), strict=True):
        n = int(table[cluster, batch])
        yield {
            "cluster": int(cluster),
            "batch": names[batch],
            "n_cells": n,
            "share_of_cluster": round(n / int(sizes[cluster]), 6),
            "share_of_batch": round(n / int(totals[batch]), 6),
        }


def _by_cluster(
    tested: TestedBatches, names: tuple[str, ...], labels: IntArray, table: IntArray
) -> tuple[ClusterBatches, ...]:
    before = tested.mixing(tested.before, labels, len(table))
    after: list[float | None] = [None] * len(table)
    if tested.after is not None:
        after = tested.mixing(tested.after, labels, len(table))
    largest, sizes = table.argmax(axis=1), np.maximum(table.sum(axis=1), 1)
    return tuple(
        ClusterBatches(
            largest=names[largest[i]],
            share=float(table[i, largest[i]] / sizes[i]),
            before=before[i],
            after=after[i],
        )
        for i in range(len(table))
    )


def _without_batches(
    context: Context, retained: BoolArray, labels: IntArray, words: Words
) -> BatchesRecord:
    """Return the columns of obs that look like batches and that neighbours or clusters follow."""
    columns = unnamed_columns(context, retained)
    if not (columns.batches or columns.conditions):
        return BatchesRecord()
    suspected = list(suspected_columns(context, columns, labels, words))
    in_all = words.clusters(int(labels.max()) + 1)
    may_be_slices = context.config.spatial and context.config.sample_key is None
    suspected.sort(key=lambda each: (not each.is_followed, each.is_condition, each.mixing.mixing))
    return BatchesRecord(
        n_cells=len(labels),
        checked=(*columns.batches, *columns.conditions),
        suspected=tuple(suspected),
        notes=tuple(suspicion_notes(suspected, in_all, may_be_slices=may_be_slices)),
    )
