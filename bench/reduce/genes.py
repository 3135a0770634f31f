"""Variable genes and components of real sets, against scanpy in memory.

``python -m bench.reduce.genes cells.h5ad`` prints a row as JSON. It has the number of genes that one side selects and
the other does not, for three flavors, with and without batches, and the angle between the components of the same genes.
If a bin of ``cell_ranger`` has two genes, their scores are equal up to rounding. So selections that differ are also
compared with what scanpy selects from the same values in float64.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.labelled import read_counted
from bench._frame.page import table
from bench._frame.process import bench_command, printed_by
from bench._frame.runs import config_of
from bench.reduce.runs import n_top_genes

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["genes", "genes_table"]

FLAVORS = ("seurat", "cell_ranger", "seurat_v3")
N_COMPS = 50
N_BATCHES = 3


def _compare(path: Path, *, seed: int = 0) -> dict[str, Any]:
    """Return a row for the set at ``path``, as the docstring of the module describes.

    Three batches are drawn at random. Cells and genes without counts are left out on both sides.
    """
    import scanpy as sc

    counts = read_counted(path)
    sc.pp.filter_genes(counts, min_cells=1)
    names = np.array([f"batch {i}" for i in range(N_BATCHES)])
    codes = np.random.default_rng(seed).integers(N_BATCHES, size=counts.n_obs)
    counts.obs = counts.obs[[]].assign(batch=names[codes])
    n_top = n_top_genes(counts.n_vars)
    choices = {}
    with tempfile.TemporaryDirectory(prefix="scrcl-genes-") as folder:
        cells = Path(folder) / "cells.h5ad"
        counts.write_h5ad(cells)
        for flavor in FLAVORS:
            for batch_key in (None, "batch"):
                ours = _ours(cells, Path(folder) / "out", flavor, batch_key, n_top)
                choices[flavor + (" by batch" if batch_key else "")] = _verdict(
                    ours, partial(_theirs, counts, flavor, batch_key, n_top)
                )
        angle = _components(cells, counts, Path(folder) / "out", n_top)
    return {
        "set": path.stem,
        "n_cells": counts.n_obs,
        "n_genes": counts.n_vars,
        "n_top": n_top,
        "genes_that_differ": choices,
        **angle,
    }


def _run(cells: Path, out: Path, settings: list[str], batch_key: str | None = None) -> None:
    # Random batches show no effect; with this method genes are selected by batch all the same.
    fields = {} if batch_key is None else {"batch_key": batch_key, "correct": {"method": "none"}}
    runs.run(cells, out, config_of(settings, **fields), until="reduce", restart=True)


def _ours(cells: Path, out: Path, flavor: str, batch_key: str | None, n_top: int) -> set[int] | str:
    from scrcl.errors import InputError

    settings = [f"features.n_top_genes={n_top}", f"features.flavor={flavor}", "reduce.n_comps=2"]
    try:
        _run(cells, out, settings, batch_key)
    except InputError as error:
        return str(error)
    return set(runs.selected_genes(out).tolist())


def _theirs(
    counts: Any, flavor: str, batch_key: str | None, n_top: int, dtype: str = "float32"
) -> set[int] | str:
    import scanpy as sc

    adata = counts.copy()
    adata.X = adata.X.astype(dtype)
    if flavor != "seurat_v3":
        _log(adata)
    try:
        table = sc.pp.highly_variable_genes(
            adata, flavor=flavor, n_top_genes=n_top, batch_key=batch_key, inplace=False
        )
    except (ValueError, RuntimeError) as error:
        return str(error)
    # By name: with batches scanpy may return the genes in another order.
    chosen = table.index[table["highly_variable"]]
    if isinstance(chosen[0], str):
        return set(counts.var_names.get_indexer(chosen).tolist())
    return set(map(int, chosen))


def _log(adata: Any) -> None:
    import scanpy as sc

    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)


def _verdict(ours: set[int] | str, scanpy: Callable[..., set[int] | str]) -> dict[str, Any]:
    """Return how many genes only one side selects, or which side refused the set and why."""
    theirs = scanpy()
    if isinstance(ours, str):
        return {"refused": "by both" if isinstance(theirs, str) else f"by scrcl: {ours}"}
    if isinstance(theirs, str):
        return {"refused": f"by scanpy: {theirs}"}
    if ours == theirs:
        return {"differ": 0}
    again = scanpy(dtype="float64")
    return {
        "differ": len(ours - theirs),
        "scanpy_differs": len(again - theirs) if isinstance(again, set) else again,
    }


def _components(cells: Path, counts: Any, out: Path, n_top: int) -> dict[str, Any]:
    """Return the largest angle between the two principal subspaces, and the gap at the cut."""
    import scanpy as sc
    from scipy.linalg import subspace_angles

    n_comps = min(N_COMPS, n_top - 1, counts.n_obs - 2)
    settings = [f"features.n_top_genes={n_top}", f"reduce.n_comps={n_comps}"]
    _run(cells, out, settings)
    chosen, found = runs.selected_genes(out), runs.pca(out)
    ours, values = found.loadings.astype(np.float64), found.singular_values
    n_comps = min(n_comps, len(chosen) - 1)
    adata = counts.copy()
    adata.X = adata.X.astype(np.float64)
    _log(adata)
    adata = adata[:, chosen].copy()
    adata.X = adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X
    sc.pp.pca(adata, n_comps=n_comps + 1, svd_solver="full", dtype="float64")
    known = np.sqrt(adata.uns["pca"]["variance"] * (adata.n_obs - 1))
    theirs = adata.varm["PCs"][:, :n_comps].astype(np.float64)
    angles = subspace_angles(ours[:, :n_comps], theirs)
    return {
        "n_comps": n_comps,
        "angle": float(angles.max()),
        "gap": float(1 - known[n_comps] / known[n_comps - 1]),
        "singular_values_off_by": float(
            np.max(np.abs(values[:n_comps] / known[:n_comps] - 1)),
        ),
    }


def genes(paths: list[Path], log: Callable[[str], None]) -> list[dict[str, Any]]:
    """Compare each set in a process of its own."""
    rows = []
    for path in paths:
        rows.append(printed_by(bench_command("reduce.genes", path)))
        log(f"genes: {path.stem}: {rows[-1]['genes_that_differ']}, angle {rows[-1]['angle']:.1e}")
    return rows


def genes_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return a table with a row for each set."""
    names = list(rows[0]["genes_that_differ"]) if rows else []
    columns = ["set", "cells", "genes", "selected", *names, "components", "largest angle, rad"]
    columns += ["gap at the cut", "singular values off by"]
    lines = [
        [
            row["set"],
            f"{row['n_cells']:,}",
            f"{row['n_genes']:,}",
            f"{row['n_top']:,}",
            *(_shown(row["genes_that_differ"][name]) for name in names),
            row["n_comps"],
            f"{row['angle']:.1e}",
            f"{row['gap']:.1e}",
            f"{row['singular_values_off_by']:.1e}",
        ]
        for row in rows
    ]
    choices = [choice for row in rows for choice in row["genes_that_differ"].values()]
    same = sum(choice.get("differ") == 0 for choice in choices)
    refused = sum(choice.get("refused") == "by both" for choice in choices)
    more = f", {refused} refused by both" if refused else ""
    return [*table(columns, lines), "", f"{same} of {len(choices)} choices are the same{more}."]


def _shown(choice: dict[str, Any]) -> str:
    if "refused" in choice:
        return f"refused {choice['refused']}"
    if not choice["differ"]:
        return "same"
    return f"{choice['differ']} differ (scanpy in float64: {choice['scanpy_differs']})"


def main(arguments: list[str] | None = None) -> None:
    """Compare one set, and print its row as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    print(json.dumps(_compare(args.path, seed=args.seed)))


if __name__ == "__main__":
    main()
