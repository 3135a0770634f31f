"""A closer look at the cells of a cluster: their own variable genes, components, neighbours and clusters."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._progress import Silent
from scrcl._warnings import logger_of, warned_once
from scrcl.engine.api import fit
from scrcl.engine.arguments import checked
from scrcl.engine.config import RunConfig
from scrcl.engine.fingerprint import fingerprint_of_array
from scrcl.engine.folder import RunFolder, read_manifest
from scrcl.engine.given_names import clusters_named, plain_names
from scrcl.engine.input_again import input_of, input_paths_of
from scrcl.engine.load_config import load_config, validated
from scrcl.engine.open_run import open_run
from scrcl.engine.outputs import Outputs
from scrcl.engine.stages.batches import BatchesStage
from scrcl.engine.stages.closer import CELLS_FILE, MARKERS_FILE, stages_of_look
from scrcl.engine.stages.correct import CORRECTION, CorrectStage
from scrcl.engine.stages.correct_facts import correction_sentence
from scrcl.engine.stages.correct_look import CorrectLookStage
from scrcl.engine.stages.subclusters import (
    LOOKS,
    SubclustersStage,
    digest_of_cells,
    found_notes,
)
from scrcl.engine.words import words_of
from scrcl.errors import InputError
from scrcl.markers.ranking import COLUMNS
from scrcl.prep.artifacts import STATS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

    from scrcl._interrupt import Interruption
    from scrcl._progress import Reporter
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.words import Words
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import IntArray

__all__ = ["Subclusters", "subcluster"]

_LOG = logger_of(__name__)

_LEAST_NEIGHBORS = 2


@dataclass(frozen=True)
class Subclusters:
    """What a closer look into one cluster found.

    Attributes
    ----------
    cluster
        The cluster that was looked into.
    n_cells
        Its cells.
    n_subclusters
        Subclusters that were found; 1 if it was not divided.
    summary
        The outcome as a sentence.
    folder
        Folder of the look in OUT; None if there were too few cells.
    notes
        How the look was corrected for batches, and what to know about its subclusters.
    """

    cluster: int
    n_cells: int
    n_subclusters: int
    summary: str
    folder: Path | None
    notes: tuple[str, ...] = ()

    @property
    def cells(self) -> pd.DataFrame:
        """Name of each cell, its subcluster and confidence, as in ``cells.csv``; without rows if not divided."""
        return self._table(CELLS_FILE, ("cell", "subcluster", "confidence"))

    @property
    def markers(self) -> pd.DataFrame:
        """Genes of each subcluster against the rest of the cluster, as in ``markers.csv``."""
        return self._table(MARKERS_FILE, COLUMNS)

    def _table(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        import pandas as pd

        if self.folder is None or self.n_subclusters < 2:
            return pd.DataFrame(columns=list(columns))
        text = ("cell", "subcluster", "cluster", "next_cluster", "name", "gene", "symbol")
        return pd.read_csv(
            self.folder / name, keep_default_na=False, dtype=dict.fromkeys(text, str)
        )


@checked
@warned_once()
def subcluster(
    out: str | Path,
    clusters: int | str | Sequence[int | str],
    *,
    n_clusters: int | str = "auto",
    write: bool = True,
    memory: int | str | None = None,
    device: str | None = None,
    data: AnnData | None = None,
    inputs: Sequence[str | Path] = (),
    reporter: Reporter | None = None,
    interruption: Interruption | None = None,
) -> list[Subclusters]:
    """Look into clusters of a finished run, each with its own genes, components, neighbours and clusters.

    The cells of a cluster are read from the input of the run, and go through all of its stages except training. If the
    run was corrected for batches, so is the look, in the soft clusters of that correction. The look lies in
    ``OUT/subclusters/<cluster>``, with ``cells.csv`` and ``markers.csv`` if it divided the cluster; the same call again
    finds it there. The result gets ``obs["scrcl_sub"]``: ``3_0``, ``3_1``, ... in cluster 3, and the cluster of all
    other cells.

    Parameters
    ----------
    out
        Output folder of the run. Its stages up to the names stay as they are.
    clusters
        Numbers of clusters, or their names. Each is looked into alone.
    n_clusters
        Subclusters of each cluster, or ``"auto"``: as many as the data supports, which may be one.
    write
        Write the result and the report again. If not, ``start="subclusters"`` of `scrcl.fit` does so later.
    memory, device
        As for `scrcl.fit`; by default as in the run.
    data
        The input of the run, if that was an AnnData in memory; it gets the column too.
    inputs
        Where the input of the run is now, if it was moved.
    reporter
        Receives the progress. By default clusters that are not divided, and notes, are logged as warnings of the logger
        ``scrcl``.
    interruption
        A `scrcl.Interruption`, as for `scrcl.fit`.

    Returns
    -------
    list of Subclusters
        One for each cluster, in the order of their numbers.

    Raises
    ------
    InputError
        There is no such cluster, it has fewer cells than ``n_clusters``, or the input is gone.
    ResumeError
        The input has changed since the run.
    BudgetError
        The memory is too small.

    Examples
    --------
    >>> import scrcl  # doctest: +SKIP
    >>> scrcl.subcluster("out/", 3)[0].cells["subcluster"].value_counts()  # doctest: +SKIP
    """
    run = open_run(out)
    chosen = _chosen(run, clusters)
    matrix = input_of(run, inputs, data)
    given = {"memory": memory, "device": device}
    config = _config(
        run, {"n_clusters": n_clusters, **{k: v for k, v in given.items() if v is not None}}
    )
    how = {"reporter": reporter or Silent(), "interruption": interruption}
    found = [_look(run, matrix, cluster, config, how) for cluster in chosen]
    if reporter is None:
        _log(found)
    has_some = not run.record(SubclustersStage).left_as_is  # of earlier looks
    if write and (has_some or any(look.n_subclusters > 1 for look in found)):
        _write(run, data, inputs, how)
    return found


def _chosen(run: OpenRun, clusters: int | str | Sequence[int | str]) -> list[int]:
    """Return the numbers of the clusters that are named, ascending."""
    wanted = [clusters] if isinstance(clusters, (int, str, np.integer)) else list(clusters)
    names = plain_names(run, run.labels)
    if not wanted:
        message = (
            f"cluster must name at least one cluster of the run, 0 to {len(names) - 1}; got none."
        )
        raise InputError(message)
    chosen = (clusters_named(str(one), names, what="cluster") for one in wanted)
    return sorted({cluster for found in chosen for cluster in found})


def _config(run: OpenRun, given: dict[str, Any]) -> RunConfig:
    """Return the settings of a look: those of the run for genes, components, neighbours, batches and markers.

    Clusters are found as by default. Cells were filtered before, and coordinates would only find the tissue again.
    """
    of_run = run.config
    as_started = load_config(run.path / "config.toml")
    kept = {
        "features": {"n_top_genes", "flavor", "min_cells", "mito_prefix"},
        "reduce": {"n_comps", "solver"},
        "graph": {"n_neighbors", "backend", "recall", "symmetry"},
        "markers": set(type(of_run.markers).model_fields),
    }
    values = {group: of_run.group(group).model_dump(include=names) for group, names in kept.items()}
    if values["features"]["flavor"] == "moran":  # a look has no coordinates
        values["features"]["flavor"] = "auto"
    values["features"]["values"] = "log" if run.open(STATS).already_log else "counts"
    if of_run.batch_key is not None:
        values["correct"] = of_run.group("correct").model_dump()
    plain = ("seed", "layer", "join", "batch_key")
    values |= {name: getattr(of_run, name) for name in plain}
    values |= {"memory": as_started.memory, "device": as_started.device, **given}
    return validated(RunConfig, values)


def _look(
    run: OpenRun, matrix: CellMatrix, cluster: int, config: RunConfig, how: dict[str, Any]
) -> Subclusters:
    """Look into one cluster."""
    from scrcl.engine.run import run_matrix
    from scrcl.io.subset import some_cells

    stats = run.open(STATS)
    cells = np.flatnonzero(stats.retained)[run.labels == cluster]
    least, words = run.config.group(LOOKS).min_cells, words_of(run)
    if len(cells) < least:
        summary = (
            f"{words.cluster.capitalize()} {cluster} has {words.cells(len(cells))}, fewer than {least} "
            "(subclusters.min_cells). It is not divided."
        )
        return Subclusters(cluster, len(cells), 1, summary, None)
    some = some_cells(
        matrix,
        cells,
        nnz=max(int(stats.cell_genes[cells].sum()), 1),
        label=f"cluster {cluster} of {matrix.label}",
        digest=digest_of_cells(cells),
    )
    folder = run.path / LOOKS / str(cluster)
    fitting = _fitting(config, cells, run.n_cells)
    correct = None
    if not run.record(CorrectStage).left_as_is:
        correct = CorrectLookStage(run, np.flatnonzero(run.labels == cluster))
        digest = fingerprint_of_array(run.open(CORRECTION).shifts)
        some = replace(some, identity={**some.identity, "correction": digest})
    stages = stages_of_look(cluster, correct, words)
    run_matrix(lambda _: some, folder, fitting, stages=stages, replace=True, **how)
    look = Outputs(RunFolder(folder, read_manifest(folder)), stages)
    found = _found(look, cluster, len(cells), words)
    return replace(
        found, notes=tuple(_notes(look, config, words, is_divided=found.n_subclusters > 1))
    )


def _fitting(config: RunConfig, cells: IntArray, n_all: int) -> RunConfig:
    """Return the settings for so few cells: fewer neighbours, and a gene must be in as large a share of the cells."""
    n = len(cells)
    neighbors = max(min(config.graph.n_neighbors, n // 3), _LEAST_NEIGHBORS)
    min_cells = max(math.ceil(config.features.min_cells * n / n_all), 1)
    return config.model_copy(
        update={
            "graph": config.graph.model_copy(update={"n_neighbors": neighbors}),
            "features": config.features.model_copy(update={"min_cells": min_cells}),
        }
    )


def _found(look: Outputs, cluster: int, n_cells: int, words: Words) -> Subclusters:
    """Return what a look left, and the outcome as a sentence."""
    n_found = int(look.folder.manifest["n_subclusters"])
    name, cells = f"{words.cluster.capitalize()} {cluster}", words.cells(n_cells)
    if n_found > 1:
        summary = f"{name}: {n_found} subclusters of {cells}."
    else:
        summary = (
            f"{name} is one group: there is no valley between its {cells}. It is not divided. "
            "Give a number by `n_clusters` to divide it all the same."
        )
    return Subclusters(cluster, n_cells, n_found, summary, look.folder.path)


def _notes(look: Outputs, config: RunConfig, words: Words, *, is_divided: bool) -> Iterator[str]:
    """Yield how the look was corrected, if it divides anything, and what to know about its subclusters."""
    batches, correction = look.record(BatchesStage), look.record(CorrectStage)
    if config.batch_key is not None and is_divided:
        yield correction_sentence(correction, words)
    if not correction.left_as_is and is_divided:
        yield from correction.notes
    yield from found_notes(look)
    if batches.of_one_batch and correction.left_as_is:
        yield (
            f"These {words.cell}s were not corrected for batches. To correct all {words.cell}s, run again into another "
            "folder with "
            f'`batch_key={config.batch_key!r}, correct.method="harmony"`, and look into that run.'
        )


def _log(found: Sequence[Subclusters]) -> None:
    """Log what was not divided, which leaves no column to look for, and the notes."""
    for look in found:
        for text in (*([look.summary] if look.n_subclusters < 2 else []), *look.notes):
            _LOG.warning(text)


def _write(
    run: OpenRun, data: AnnData | None, inputs: Sequence[str | Path], how: dict[str, Any]
) -> None:
    """Write the result and the report of the run again, with what all looks found."""
    from scrcl.engine.run import run_files

    if data is not None:
        fit(data, out=run.path, start=LOOKS, **how)
        return
    run_files(input_paths_of(run, inputs), run.path, RunConfig(), start=LOOKS, **how)
