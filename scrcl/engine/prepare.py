"""The stages from the input to components: read, stats, features, reduce."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.engine.describe import joined
from scrcl.engine.variable_genes import choose_genes, read_batches
from scrcl.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.engine.stage import Run
    from scrcl.prep.stats import CellFilter, MatrixStats
    from scrcl.typing import BoolArray

__all__ = ["compute_stats", "read", "reduce", "select_features"]

_ROUNDING = 1e-5
"""Variance of equal cells beside the square of their values, at most: sums of float32 squares leave 1e-6 of zero."""


def read(run: Run, folder: Path) -> dict[str, Any]:
    """Open the input; one that cannot be streamed by rows is rewritten by rows into ``folder``."""
    matrix = run.open_matrix(folder)
    if matrix.layout == "csc":
        matrix.x(run.budget.block_rows)  # the first look at rows writes them
    # Annotations are read where they are needed, at the end; that they can be is seen now.
    matrix.check_obs()
    note = joined(matrix)
    if note is not None:
        run.reporter.note(note)
    return {
        "n_cells": matrix.n_obs,
        "n_genes": matrix.n_vars,
        "layout": matrix.layout,
        "dtype": str(matrix.dtype),
        "stored_values": matrix.nnz,
        "chunk_rows": matrix.chunk_rows,
    }


def compute_stats(run: Run, folder: Path) -> dict[str, Any]:
    """One read of X: totals of each cell, moments of each gene and batch, counts or log values."""
    from scrcl.prep.compute_stats import compute_stats as stream_stats

    matrix, mito = run.matrix, _mitochondrial(run)
    stats = stream_stats(
        matrix.rows(run.budget.block_rows),
        keep=_cell_filter(run),
        mito=mito,
        batches=read_batches(run),
        with_raw=run.config.features.flavor == "seurat_v3",
        n_workers=run.budget.n_workers,
        on_rows=run.count("stats", matrix.n_obs),
        client=run.client,
        cell_name=lambda row: str(matrix.obs.index[row]),
        gene_name=lambda gene: str(matrix.var.index[gene]),
    )
    n_kept, n_seen = int(stats.retained.sum()), int((stats.gene_cells > 0).sum())
    _require_counts(run, stats)
    _require_enough(run, n_kept, n_seen)
    if stats.already_log:
        run.reporter.note("the values are not counts; they are taken as log-normalised.")
    stats.save(folder)
    return {
        "n_cells": matrix.n_obs,
        "n_cells_kept": n_kept,
        "n_cells_empty": int((stats.cell_counts == 0).sum()),
        "n_genes_seen": n_seen,
        "n_genes_mitochondrial": int(mito.sum()),
        "median_mitochondrial_share": float(np.median(stats.cell_mito)),
        "is_counts": bool(stats.is_counts),
        "already_log": bool(stats.already_log),
        "median_genes_per_cell": float(np.median(stats.cell_genes)),
        "median_counts_per_cell": float(np.median(stats.cell_counts)),
    }


def select_features(run: Run, folder: Path) -> dict[str, Any]:
    """Choose the variable genes; a second read of X writes them normalised, and their Gram matrix."""
    from scrcl.prep.feature_store import write_features
    from scrcl.prep.randomized_pca import uses_gram
    from scrcl.prep.stats import MatrixStats

    stats = MatrixStats.load(run.stage("stats"))
    chosen, table = choose_genes(run, stats)
    table.to_csv(folder / "genes.csv", index=False)
    # Rows that the statistics found in order need no second look.
    rows = run.matrix.rows if stats.is_canonical else run.matrix.x
    store = write_features(
        rows(run.budget.block_rows),
        folder,
        retained=stats.retained,
        genes=chosen,
        already_log=stats.already_log,
        cell_sums=stats.cell_counts,
        dtype=run.config.features.dtype,
        with_gram=uses_gram(run.config.reduce.solver, len(chosen)),
        n_workers=run.budget.n_workers,
        on_rows=run.count("features", run.matrix.n_obs),
        client=run.client,
    )
    np.save(folder / "genes.npy", chosen)
    return {"n_cells": store.n_obs, "n_genes": store.n_vars}


def reduce(run: Run, folder: Path) -> dict[str, Any]:
    """Principal components of the chosen genes; scores by streaming the feature store."""
    from scrcl.prep.feature_store import FeatureStore
    from scrcl.prep.pca import project_rows
    from scrcl.prep.randomized_pca import fit_pca_store, uses_gram

    store = FeatureStore.open(run.stage("features"))
    solver = run.config.reduce.solver
    n_comps = min(run.config.reduce.n_comps, store.n_obs - 1, store.n_vars)
    uses = "gram" if uses_gram(solver, store.n_vars) else "randomized"
    pca = fit_pca_store(
        store,
        n_comps,
        solver=solver,
        seed=run.config.seed,
        n_workers=run.budget.n_workers,
        on_rows=None if uses == "gram" else run.count("components", None),
    )
    if float(pca.explained_variance.sum()) <= _ROUNDING * float(np.square(pca.mean).sum()):
        message = (
            f"cells must differ in the {store.n_vars:,} chosen genes; {store.n_obs:,} cells all have the same "
            "values there. Check the input."
        )
        raise InputError(message)
    pca.save(folder / "pca.npz")
    project_rows(
        store,
        pca,
        folder / "scores.npy",
        n_workers=run.budget.n_workers,
        on_rows=run.count("reduce", store.n_obs),
    )
    return {
        "n_cells": store.n_obs,
        "n_comps": len(pca.singular_values),
        "solver": uses,
        "variance_explained": float(pca.explained_variance_ratio.sum()),
    }


def _cell_filter(run: Run) -> CellFilter:
    from scrcl.prep.stats import CellFilter

    features = run.config.features
    return CellFilter(
        min_genes=features.min_genes,
        max_counts=np.inf if features.max_counts is None else features.max_counts,
        max_mito=1.0 if features.max_mito is None else features.max_mito,
    )


def _mitochondrial(run: Run) -> BoolArray:
    """Return which genes are mitochondrial, by their names."""
    features = run.config.features
    names = run.matrix.var.index.str.upper()
    mito: BoolArray = np.asarray(names.str.startswith(features.mito_prefix.upper()), dtype=bool)
    if features.max_mito is not None and not mito.any():
        message = (
            f"features.max_mito must have mitochondrial genes to look at; no name begins with "
            f"{features.mito_prefix!r}. Give features.mito_prefix, or leave max_mito out."
        )
        raise InputError(message)
    return mito


def _require_counts(run: Run, stats: MatrixStats) -> None:
    """Refuse settings that only counts can have."""
    features = run.config.features
    for name, asked, fits in (
        ("flavor = seurat_v3", features.flavor == "seurat_v3", stats.is_counts),
        ("max_mito", features.max_mito is not None, not stats.already_log),
    ):
        if asked and not fits:
            message = (
                f"features.{name} must have counts; the values are "
                f"{'log values' if stats.already_log else 'no whole numbers'}. "
                "Choose counts by --layer, or leave the setting out."
            )
            raise InputError(message)


def _require_enough(run: Run, n_cells: int, n_genes: int) -> None:
    smallest = run.config.graph.n_neighbors + 2
    if n_cells < smallest:
        message = (
            f"cells that have counts and pass the filters must be at least {smallest} for "
            f"{smallest - 2} neighbours; got {n_cells}. Lower graph.n_neighbors, widen the filters, "
            "or check the input."
        )
        raise InputError(message)
    if n_genes < 2:
        message = f"genes seen in any cell must be at least 2; got {n_genes}. Check the input."
        raise InputError(message)
    k = run.config.n_clusters
    numbers = {"n_clusters": () if k == "auto" else (k,), "cluster.also": run.config.cluster.also}
    for name, asked in numbers.items():
        if max(asked, default=0) > n_cells:
            message = (
                f"{name} must be at most the number of cells with counts ({n_cells}); "
                f"got {max(asked)}."
            )
            raise InputError(message)
