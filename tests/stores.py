"""Real inputs on disk, the same matrix in every format that is read."""

from __future__ import annotations

import gzip
import warnings
from typing import TYPE_CHECKING

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import io as scipy_io
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "FORMATS",
    "random_counts",
    "table",
    "write_10x",
    "write_mtx",
    "write_store",
    "write_zarr",
]


def random_counts(
    n_obs: int, n_vars: int, *, seed: int = 0, density: float = 0.2
) -> sparse.csr_matrix:
    """Counts as CSR float32, with cells of different depth."""
    rng = np.random.default_rng(seed)
    depth = rng.gamma(2, 2, size=(n_obs, 1))
    expression = rng.gamma(0.5, 2, size=(1, n_vars))
    counts = rng.poisson(depth * expression) * (rng.random((n_obs, n_vars)) < density)
    return sparse.csr_matrix(counts.astype(np.float32))


def table(counts: sparse.csr_matrix) -> ad.AnnData:
    """AnnData with named cells and genes around ``counts``."""
    n_obs, n_vars = counts.shape
    return ad.AnnData(
        counts,
        obs=pd.DataFrame(index=[f"cell{i}" for i in range(n_obs)]),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(n_vars)]),
    )


def _h5ad(layout: Callable, **options: object) -> Callable[[ad.AnnData, Path], Path]:
    def write(adata: ad.AnnData, folder: Path) -> Path:
        copy = adata.copy()
        copy.X = layout(copy.X)
        path = folder / "sample.h5ad"
        copy.write_h5ad(path, **options)
        return path

    return write


def _zarr(layout: Callable, version: int, *, shards: bool = False) -> Callable:
    def write(adata: ad.AnnData, folder: Path) -> Path:
        copy = adata.copy()
        copy.X = layout(copy.X)
        return write_zarr(copy, folder / "sample.zarr", version, shards=shards)

    return write


def write_zarr(adata: ad.AnnData, path: Path, version: int = 2, *, shards: bool = False) -> Path:
    """Write a store of a version of zarr."""
    settings = ad.settings.override(zarr_write_format=version, auto_shard_zarr_v3=shards)
    with warnings.catch_warnings(), settings:
        warnings.simplefilter("ignore")  # each version has a warning about the other
        adata.write_zarr(path)
    return path


def write_10x(adata: ad.AnnData, folder: Path) -> Path:
    """Write the matrix as Cell Ranger 3 does."""
    path = folder / "sample.h5"
    x = sparse.csr_matrix(adata.X)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = adata.obs_names.to_numpy().astype("S")
        group.create_dataset("data", data=x.data.astype(np.int32), chunks=True, compression="gzip")
        group.create_dataset("indices", data=x.indices.astype(np.int64), chunks=True)
        group["indptr"] = x.indptr.astype(np.int64)
        group["shape"] = np.array(x.shape[::-1], dtype=np.int32)
        features = group.create_group("features")
        kinds = adata.var.get("feature_types", pd.Series("Gene Expression", adata.var_names))
        features["id"] = np.char.add("ENSG", adata.var_names.to_numpy().astype(str)).astype("S")
        features["name"] = adata.var_names.to_numpy().astype("S")
        features["feature_type"] = kinds.to_numpy().astype("S")
    return path


def write_mtx(adata: ad.AnnData, folder: Path, *, zipped: bool = False) -> Path:
    """Write the folder that Cell Ranger writes, its entries in the order of the genes."""
    path = folder / "sample"
    path.mkdir()
    by_genes = sparse.csr_matrix(sparse.csr_matrix(adata.X).T).astype(np.int64)
    scipy_io.mmwrite(path / "matrix.mtx", by_genes, comment="two\nlines")
    kinds = adata.var.get("feature_types", pd.Series("Gene Expression", adata.var_names))
    pd.DataFrame(
        {"id": "ENSG" + adata.var_names, "name": adata.var_names, "kind": kinds.to_numpy()}
    ).to_csv(path / "features.tsv", sep="\t", header=False, index=False)
    (path / "barcodes.tsv").write_text("".join(f"{name}\n" for name in adata.obs_names))
    if zipped:
        for file in list(path.iterdir()):
            file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
    return path


def write_tissue(adata: ad.AnnData, folder: Path) -> Path:
    """Write the folder that Space Ranger leaves, with the spots in another order in the table of their places."""
    path = folder / "outs"
    (path / "spatial").mkdir(parents=True)
    write_10x(adata, path).rename(path / "filtered_feature_bc_matrix.h5")
    n = adata.n_obs
    places = {
        "barcode": adata.obs_names,
        "in_tissue": 1,
        "array_row": np.arange(n) // 10,
        "array_col": np.arange(n) % 10,
        "pxl_row_in_fullres": 100 + 20 * (np.arange(n) // 10),
        "pxl_col_in_fullres": 300 + 20 * (np.arange(n) % 10),
    }
    table = pd.DataFrame(places).iloc[::-1]
    table.to_csv(path / "spatial" / "tissue_positions.csv", index=False)
    return path


def _zipped_mtx(adata: ad.AnnData, folder: Path) -> Path:
    return write_mtx(adata, folder, zipped=True)


def _dense(x: sparse.csr_matrix) -> np.ndarray:
    return x.toarray()


FORMATS: dict[str, Callable[[ad.AnnData, Path], Path]] = {
    "h5ad csr": _h5ad(sparse.csr_matrix),
    "h5ad csr gzip": _h5ad(sparse.csr_matrix, compression="gzip"),
    "h5ad csc": _h5ad(sparse.csc_matrix),
    "h5ad csc gzip": _h5ad(sparse.csc_matrix, compression="gzip"),
    "h5ad dense": _h5ad(_dense),
    "h5ad dense gzip": _h5ad(_dense, compression="gzip"),
    "zarr v2": _zarr(sparse.csr_matrix, 2),
    "zarr v2 csc": _zarr(sparse.csc_matrix, 2),
    "zarr v3": _zarr(sparse.csr_matrix, 3),
    "zarr v3 shards": _zarr(sparse.csr_matrix, 3, shards=True),
    "zarr v3 dense": _zarr(_dense, 3),
    "10x h5": write_10x,
    "tissue folder": write_tissue,
    "mtx": write_mtx,
    "mtx gz": _zipped_mtx,
}


def write_store(name: str, adata: ad.AnnData, folder: Path) -> Path:
    """Write ``adata`` in the format ``name`` into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    return FORMATS[name](adata, folder)
