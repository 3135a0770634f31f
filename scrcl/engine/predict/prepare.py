"""The stages of a prediction from new cells to their component scores: stats, features, reduce."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.engine.predict.genes import shared_genes
from scrcl.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.engine.predict.atlas import Atlas
    from scrcl.engine.predict.genes import SharedGenes
    from scrcl.engine.stage import Run

__all__ = ["compute_stats", "match", "project", "write_selected"]


def match(atlas: Atlas, run: Run) -> SharedGenes:
    """Return the new cells with the genes of the atlas."""
    return shared_genes(run.matrix, atlas.genes, atlas.selected)


def compute_stats(atlas: Atlas, run: Run, folder: Path) -> dict[str, Any]:
    """Read the new cells once: totals over the genes of the atlas, and what the values are.

    Every cell with counts is kept: the filters of a run say which cells to learn from.
    """
    from scrcl.prep.compute_stats import compute_stats as stream_stats

    shared = match(atlas, run)
    matrix = shared.matrix
    stats = stream_stats(
        matrix.rows(run.budget.block_rows),
        n_workers=run.budget.n_workers,
        on_rows=run.count("stats", matrix.n_obs),
        cell_name=lambda row: str(matrix.obs.index[row]),
        gene_name=lambda gene: str(matrix.var.index[gene]),
    )
    _require_same_kind(atlas, already_log=stats.already_log)
    n_kept = int(stats.retained.sum())
    if not n_kept:
        message = "new cells must have counts in genes of the run; none has. Check the input."
        raise InputError(message)
    stats.save(folder)
    if shared.n_missing:
        run.reporter.note(missing_note(shared))
    return {
        "n_cells": matrix.n_obs,
        "n_cells_kept": n_kept,
        "already_log": bool(stats.already_log),
        "n_genes_shared": matrix.n_vars,
        "n_genes_selected": len(shared.present),
        "n_genes_missing": shared.n_missing,
        "share_missing": shared.share_missing,
        "genes_missing": shared.missing,
    }


def missing_note(shared: SharedGenes) -> str:
    """Say which of the selected genes the new cells lack."""
    return (
        f"{shared.n_missing:,} of the run's {len(shared.present):,} selected genes "
        f"({shared.share_missing:.0%}) are not in the new cells ({', '.join(shared.missing[:3])}"
        f"{', ...' if shared.n_missing > 3 else ''}): what the others say of them is taken."
    )


def write_selected(atlas: Atlas, run: Run, folder: Path) -> dict[str, Any]:
    """Read the new cells once more, and write the log values of the selected genes that they have."""
    from scrcl.prep.feature_store import write_features
    from scrcl.prep.stats import MatrixStats

    shared, stats = match(atlas, run), MatrixStats.load(run.stage("stats"))
    rows = shared.matrix.rows if stats.is_canonical else shared.matrix.x
    store = write_features(
        rows(run.budget.block_rows),
        folder,
        retained=stats.retained,
        genes=shared.chosen,
        already_log=stats.already_log,
        cell_sums=stats.cell_counts,
        dtype=run.config.features.dtype,
        with_gram=False,
        n_workers=run.budget.n_workers,
        on_rows=run.count("features", shared.matrix.n_obs),
    )
    np.save(folder / "present.npy", shared.present)
    return {"n_cells": store.n_obs, "n_genes": store.n_vars}


def project(atlas: Atlas, run: Run, folder: Path) -> dict[str, Any]:
    """Scores on the components of the atlas."""
    from scrcl.prep.feature_store import FeatureStore
    from scrcl.prep.pca import Pca, project_rows, restrict_to_genes

    store = FeatureStore.open(run.stage("features"))
    pca = Pca.load(atlas.folder.stage("reduce") / "pca.npz")
    project_rows(
        store,
        restrict_to_genes(pca, run.array("features", "present")),
        folder / "scores.npy",
        n_workers=run.budget.n_workers,
        on_rows=run.count("reduce", store.n_obs),
    )
    return {"n_cells": store.n_obs, "n_comps": len(pca.singular_values)}


def _require_same_kind(atlas: Atlas, *, already_log: bool) -> None:
    kinds = {True: "log values", False: "counts"}
    of_atlas = bool(atlas.record("stats")["already_log"])
    if already_log != of_atlas:
        message = (
            f"values of the new cells must be {kinds[of_atlas]}, as in the run; got "
            f"{kinds[already_log]}. Choose a layer of {kinds[of_atlas]} by --layer."
        )
        raise InputError(message)
