"""scanpy from a store to components, in memory and by dask, in processes with a limit of memory.

``python -m bench.reduce.peers memory|threads|cluster ATLAS --found record.npz`` runs one of them under a limit of
address space, so that it cannot bring the machine down. `peers` runs them and scrcl in turn, on the same store.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench._frame import runs
from bench._frame.page import table
from bench._frame.process import bench_command, timed
from bench.reduce.runs import N_COMPS, fill_cache, median, n_top_genes, run_scrcl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["SIDES", "Limits", "peers", "peers_table"]

SIDES = {
    "memory": "scanpy, in memory",
    "threads": "scanpy by dask, threads",
    "cluster": "scanpy by dask, local cluster",
    "scrcl": "scrcl",
}
N_WORKERS = 2
OUT_OF_MEMORY = 77
COMPARED_COMPS = 10


class Limits(NamedTuple):
    """Limits on scanpy."""

    chunk_rows: int
    """Rows of a chunk of dask"""
    limit_gb: float
    """Address space"""


def _in_memory(atlas: Path) -> Any:
    """Read everything, and return AnnData with ``obsm["X_pca"]``."""
    import anndata

    read = anndata.read_zarr if atlas.is_dir() else anndata.read_h5ad
    return _to_components(read(atlas), solver=None)


def _by_dask(atlas: Path, chunk_rows: int) -> Any:
    """Return AnnData with ``obsm["X_pca"]``, from dask blocks of CSR rows."""
    import anndata
    import h5py
    import zarr

    root = zarr.open_group(atlas, mode="r") if atlas.is_dir() else h5py.File(atlas, "r")
    n_obs, n_vars = root["X"].attrs["shape"]
    adata = anndata.AnnData(
        X=anndata.experimental.read_elem_lazy(root["X"], chunks=(min(chunk_rows, n_obs), n_vars)),
        obs=anndata.io.read_elem(root["obs"]),
        var=anndata.io.read_elem(root["var"]),
    )
    adata = _to_components(adata, solver="covariance_eigh")
    adata.obsm["X_pca"] = np.asarray(adata.obsm["X_pca"])
    return adata


def _to_components(adata: Any, solver: str | None) -> Any:
    import scanpy as sc

    n_top = n_top_genes(adata.n_vars)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, flavor="seurat", n_top_genes=n_top)
    adata = adata[:, adata.var["highly_variable"]].copy()
    sc.pp.pca(adata, n_comps=min(N_COMPS, min(adata.shape) - 1), svd_solver=solver)
    return adata


def _child(side: str, atlas: Path, found: Path, limits: Limits) -> None:
    """Run one side of scanpy under the limit, and write its seconds and its results."""
    import anndata  # noqa: F401
    import dask
    import scanpy  # noqa: F401

    limit = int(limits.limit_gb * 1e9)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    start = time.perf_counter()
    if side == "memory":
        adata = _in_memory(atlas)
    elif side == "threads":
        with dask.config.set(scheduler="threads", num_workers=N_WORKERS):
            adata = _by_dask(atlas, limits.chunk_rows)
    else:
        from distributed import Client, LocalCluster

        options = {"processes": False, "dashboard_address": None, "memory_limit": 0}
        with (
            LocalCluster(n_workers=1, threads_per_worker=N_WORKERS, **options) as cluster,
            Client(cluster),
        ):
            adata = _by_dask(atlas, limits.chunk_rows)
    seconds = time.perf_counter() - start
    np.savez(
        found,
        seconds=seconds,
        genes=np.asarray(adata.var_names, dtype=str),
        variance=np.asarray(adata.uns["pca"]["variance"], dtype=np.float64),
    )


def _run_scanpy(side: str, atlas: Path, folder: Path, limits: Limits) -> dict[str, Any]:
    fill_cache(atlas)
    found = folder / f"{side}.npz"
    command = bench_command(
        "reduce.peers", side, atlas, "--found", found,
        "--chunk-rows", limits.chunk_rows, "--limit-gb", limits.limit_gb,
    )  # fmt: skip
    try:
        seconds, peak = timed(command)
    except subprocess.CalledProcessError as error:
        code = error.returncode
        if code == OUT_OF_MEMORY:
            return {"failed": f"out of memory at {limits.limit_gb:g} GB"}
        return {"failed": f"killed by signal {-code}" if code < 0 else f"ended with {code}"}
    with np.load(found) as record:
        return {
            "seconds": seconds,
            "without_imports": float(record["seconds"]),
            "peak_rss_bytes": peak,
            "genes": record["genes"].tolist(),
            "variance": record["variance"].tolist(),
        }


def _run_ours(atlas: Path, memory: str) -> dict[str, Any]:
    from scrcl.io.open import open_input

    names = open_input([atlas]).var.index.to_numpy()

    def results(out: Path) -> dict[str, Any]:
        genes = names[runs.selected_genes(out)]
        return {"genes": genes.tolist(), "variance": runs.pca(out).explained_variance.tolist()}

    run = run_scrcl(atlas, memory, results=results)
    return {
        "without_imports": sum(stage["seconds"] for stage in run["stages"]),
        **{key: run[key] for key in ("seconds", "peak_rss_bytes", "genes", "variance")},
    }


def peers(
    atlas: Path,
    limits: Limits,
    *,
    sides: Iterable[str] = SIDES,
    memory: str,
    repeats: int,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Run all sides in turn on one store; only the faster of dask's two schedulers is repeated."""
    from scrcl.io.open import open_input

    done: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    left = list(sides)
    with tempfile.TemporaryDirectory(prefix="scrcl-peers-") as folder:
        for _ in range(repeats):
            for side in list(left):
                run = (
                    _run_ours(atlas, memory)
                    if side == "scrcl"
                    else _run_scanpy(side, atlas, Path(folder), limits)
                )
                done[side].append(run)
                log(f"peers: {SIDES[side]}: {run.get('failed') or round(run['seconds'], 1)}")
                if "failed" in run:
                    left.remove(side)
            if {"threads", "cluster"} <= set(left):
                slower = max(("threads", "cluster"), key=lambda side: done[side][0]["seconds"])
                left.remove(slower)
    matrix = open_input([atlas])
    return {
        "n_cells": matrix.n_obs,
        "stored_values": matrix.nnz,
        **limits._asdict(),
        "sides": {side: _summary(done[side], done["scrcl"]) for side in done},
    }


def _summary(own: list[dict[str, Any]], ours: list[dict[str, Any]]) -> dict[str, Any]:
    failed = next((run["failed"] for run in own if "failed" in run), None)
    if failed is not None:
        return {"failed": failed}
    run, reference = own[0], ours[0]
    # As shares: scanpy divides by n with dask, and by n - 1 elsewhere.
    n = min(COMPARED_COMPS, len(run["variance"]), len(reference["variance"]))
    theirs, known = (np.array(one["variance"][:n]) for one in (run, reference))
    theirs, known = theirs / theirs.sum(), known / known.sum()
    pairs = list(zip(own, ours, strict=False))
    return {
        "runs": len(own),
        "seconds": median(one["seconds"] for one in own),
        "without_imports": median(one["without_imports"] for one in own),
        "peak_rss_bytes": max(one["peak_rss_bytes"] for one in own),
        "seconds_over_scrcl": median(one["seconds"] / two["seconds"] for one, two in pairs),
        "peak_over_scrcl": median(
            one["peak_rss_bytes"] / two["peak_rss_bytes"] for one, two in pairs
        ),
        "genes_that_differ": len(set(run["genes"]) ^ set(reference["genes"])),
        "variance_off_by": float(np.max(np.abs(theirs / known - 1))),
    }


def peers_table(found: dict[str, Any]) -> list[str]:
    """Return a table with a row for each side."""
    intro = (
        f"{found['n_cells']:,} cells, {found['stored_values']:,} stored values; scanpy under a limit of "
        f"{found['limit_gb']:g} GB of address space, dask with {N_WORKERS} threads and chunks of "
        f"{found['chunk_rows']:,} rows."
    )
    columns = ["", "runs", "seconds", "without imports", "peak MB", "seconds / scrcl"]
    columns += ["peak / scrcl", "other genes"]
    columns.append(f"shares of variance of {COMPARED_COMPS} components off by")
    sides, rows = found["sides"], []
    for side, one in sides.items():
        if "failed" in one:
            rows.append([SIDES[side], one["failed"], *[""] * 7])
            continue
        rows.append(
            [
                SIDES[side],
                one["runs"],
                f"{one['seconds']:.1f}",
                f"{one['without_imports']:.1f}",
                f"{one['peak_rss_bytes'] / 1e6:,.0f}",
                f"{one['seconds_over_scrcl']:.2f}",
                f"{one['peak_over_scrcl']:.2f}",
                one["genes_that_differ"],
                f"{one['variance_off_by']:.1e}",
            ]
        )
    lines = [intro, "", *table(columns, rows)]
    schedulers = {side: sides[side] for side in ("threads", "cluster") if side in sides}
    done = [side for side, one in schedulers.items() if "failed" not in one]
    if done:
        faster = min(done, key=lambda side: schedulers[side]["seconds"])
        lines += ["", f"The faster of dask's two schedulers: {SIDES[faster]}."]
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Run one side of scanpy under the limit; exit code 77 where memory runs out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=[side for side in SIDES if side != "scrcl"])
    parser.add_argument("atlas", type=Path)
    parser.add_argument("--found", type=Path, required=True, help=".npz file to write")
    parser.add_argument("--chunk-rows", type=int, default=100_000)
    parser.add_argument("--limit-gb", type=float, default=20.0)
    args = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    try:
        _child(args.side, args.atlas, args.found, Limits(args.chunk_rows, args.limit_gb))
    except MemoryError as error:
        print(f"out of memory: {error}", file=sys.stderr)
        sys.exit(OUT_OF_MEMORY)


if __name__ == "__main__":
    main()
