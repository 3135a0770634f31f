"""One small matrix in every encoding that is read: on disk as programs write it, in memory, and backed by a file."""

from __future__ import annotations

import gzip
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import dask.array as da
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["ENCODINGS", "IN_MEMORY", "LAYERS", "small_cells"]

_TYPES = 3


def small_cells(n_cells: int = 90, n_genes: int = 60, *, seed: int = 0) -> ad.AnnData:
    """Return whole counts of three types, CSR float32."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n_cells) % _TYPES
    means = np.full((_TYPES, n_genes), 0.4)
    for i in range(_TYPES):
        means[i, i * n_genes // _TYPES : (i + 1) * n_genes // _TYPES] = 4.0
    counts = rng.poisson(means[kind] * rng.uniform(0.7, 1.4, (n_cells, 1))).astype(np.float32)
    return ad.AnnData(
        sparse.csr_matrix(counts),
        obs=pd.DataFrame(
            {"type": pd.Categorical(np.array(list("abc"))[kind])},
            index=[f"cell{i}" for i in range(n_cells)],
        ),
        var=pd.DataFrame(
            {"gene_ids": [f"ENSG{j:05d}" for j in range(n_genes)]},
            index=[f"gene{j}" for j in range(n_genes)],
        ),
    )


def _with(cells: ad.AnnData, x: Any) -> ad.AnnData:
    return ad.AnnData(x, obs=cells.obs.copy(), var=cells.var.copy())


def _h5ad(change: Callable[[Any], Any], **options: Any) -> Callable[[ad.AnnData, Path], Path]:
    def write(cells: ad.AnnData, path: Path) -> Path:
        file = path.with_suffix(".h5ad")
        _with(cells, change(cells.X)).write_h5ad(file, **options)
        return file

    return write


def _changed(
    change: Callable[[h5py.File], None], of: Callable[[Any], Any]
) -> Callable[[ad.AnnData, Path], Path]:
    """Return a writer whose file another program changes."""

    def write(cells: ad.AnnData, path: Path) -> Path:
        file = _h5ad(of)(cells, path)
        with h5py.File(file, "r+") as opened:
            change(opened)
        return file

    return write


def _zarr(
    change: Callable[[Any], Any], version: int, *, shards: bool = False, kind: str = "folder"
) -> Callable[[ad.AnnData, Path], Path]:
    def write(cells: ad.AnnData, path: Path) -> Path:
        store = path.with_suffix(".zarr")
        settings = ad.settings.override(zarr_write_format=version, auto_shard_zarr_v3=shards)
        with warnings.catch_warnings(), settings:
            warnings.simplefilter("ignore")  # each version has a warning about the other
            _with(cells, change(cells.X)).write_zarr(store)
        if kind == "not consolidated":
            _forget_consolidated(store, version)
        if kind != "zip":
            return store
        shutil.make_archive(str(store), "zip", store)
        shutil.rmtree(store)
        return (
            path.with_suffix(".zarr.zip") if path.suffix else store.with_name(f"{store.name}.zip")
        )

    return write


def _forget_consolidated(store: Path, version: int) -> None:
    import json

    if version == 2:
        (store / ".zmetadata").unlink()
        return
    file = store / "zarr.json"
    tree = json.loads(file.read_text())
    tree.pop("consolidated_metadata", None)
    file.write_text(json.dumps(tree))


def _unsorted(x: Any) -> Any:
    copy = x.copy()
    for first, last in zip(copy.indptr[:-1], copy.indptr[1:], strict=True):
        copy.indices[first:last] = copy.indices[first:last][::-1].copy()
        copy.data[first:last] = copy.data[first:last][::-1].copy()
    copy.has_sorted_indices = False
    return copy


def _with_zeros(x: Any) -> Any:
    """Return a matrix that also stores a zero in each row, and its first value in two parts."""
    data, indices, indptr = [], [], [0]
    for row in range(x.shape[0]):
        line = x[row]
        absent = np.setdiff1d(np.arange(x.shape[1]), line.indices)[:1]
        data += [*line.data, 0.0, line.data[0] / 2]
        data[-len(line.data) - 2] = line.data[0] / 2
        indices += [*line.indices, *absent, line.indices[0]]
        indptr.append(len(data))
    return sparse.csr_matrix((np.array(data, np.float32), indices, indptr), shape=x.shape)


def _wide_indices(file: h5py.File) -> None:
    for name in ("indices", "indptr"):
        values, attributes = file["X"][name][:].astype(np.int64), dict(file["X"][name].attrs)
        del file["X"][name]
        file["X"][name] = values
        file["X"][name].attrs.update(attributes)


def _without_attributes(file: h5py.File) -> None:
    for name in list(file["X"].attrs):
        del file["X"].attrs[name]


def _h5sparse(file: h5py.File) -> None:
    """Give X the attributes that anndata wrote before version 0.7."""
    shape = file["X"].attrs["shape"]
    _without_attributes(file)
    file["X"].attrs.update({"h5sparse_format": "csr", "h5sparse_shape": shape})


def _records(cells: ad.AnnData, path: Path) -> Path:
    """Write tables as HDF5 records, as anndata did before version 0.7."""
    file = path.with_suffix(".h5ad")
    with h5py.File(file, "w") as opened:
        opened["X"] = cells.X.toarray()
        for name, table in (("obs", cells.obs), ("var", cells.var)):
            names = table.index.to_numpy().astype("S")
            opened[name] = np.array([(each,) for each in names], dtype=[("index", names.dtype)])
    return file


def _tenx(version: int) -> Callable[[ad.AnnData, Path], Path]:
    def write(cells: ad.AnnData, path: Path) -> Path:
        file, x = path.with_suffix(".h5"), cells.X.tocsr()
        names, ids = (cells.var[c] if c else cells.var_names for c in ("", "gene_ids"))
        with h5py.File(file, "w") as opened:
            group = opened.create_group("matrix" if version > 2 else "GRCh38")
            group["barcodes"] = cells.obs_names.to_numpy().astype("S")
            group.create_dataset(
                "data", data=x.data.astype(np.int32), chunks=True, compression="gzip"
            )
            group.create_dataset("indices", data=x.indices.astype(np.int64), chunks=True)
            group["indptr"], group["shape"] = x.indptr.astype(np.int64), np.array(x.shape[::-1])
            features = group.create_group("features") if version > 2 else group
            keys = ("id", "name") if version > 2 else ("genes", "gene_names")
            for key, values in zip(keys, (ids, names), strict=True):
                features[key] = values.to_numpy().astype("S")
            if version > 2:
                features["feature_type"] = np.array(["Gene Expression"] * cells.n_vars, "S")
        return file

    return write


def _mtx(*, zipped: bool = False, by_cells: bool = False) -> Callable[[ad.AnnData, Path], Path]:
    def write(cells: ad.AnnData, path: Path) -> Path:
        path.mkdir(parents=True)
        x = (cells.X if by_cells else cells.X.T).tocoo()
        entries = zip(x.row + 1, x.col + 1, x.data.astype(int), strict=True)
        texts = {
            "matrix.mtx": "%%MatrixMarket matrix coordinate integer general\n%by hand\n"
            f"{x.shape[0]} {x.shape[1]} {x.nnz}\n"
            + "".join(f"{i} {j} {value}\n" for i, j, value in entries),
            "features.tsv": "".join(
                f"{number}\t{name}\tGene Expression\n"
                for number, name in zip(cells.var["gene_ids"], cells.var_names, strict=True)
            ),
            "barcodes.tsv": "".join(f"{name}\n" for name in cells.obs_names),
        }
        for name, text in texts.items():
            if zipped:
                (path / f"{name}.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
            else:
                (path / name).write_text(text)
        return path

    return write


def _layer(name: str) -> Callable[[ad.AnnData, Path], Path]:
    def write(cells: ad.AnnData, path: Path) -> Path:
        other = _with(cells, cells.X * 0)
        if name == "raw":
            other.raw = cells
        else:
            other.layers[name] = cells.X.copy()
        file = path.with_suffix(".h5ad")
        other.write_h5ad(file)
        return file

    return write


def _converted(cells: ad.AnnData, path: Path) -> Path:
    import scrcl

    given = _h5ad(_same)(cells, path.with_name(f"{path.name}-given"))
    scrcl.convert(given, path.with_suffix(".zarr"))
    return path.with_suffix(".zarr")


def _same(x: Any) -> Any:
    return x


def _dense(x: Any) -> Any:
    return x.toarray()


ENCODINGS: dict[str, Callable[[ad.AnnData, Path], Path]] = {
    "h5ad CSR": _h5ad(_same),
    "h5ad CSC": _h5ad(sparse.csc_matrix),
    "h5ad dense": _h5ad(_dense),
    "h5ad CSR, gzip": _h5ad(_same, compression="gzip"),
    "h5ad dense, gzip": _h5ad(_dense, compression="gzip"),
    "h5ad CSR of int32": _h5ad(lambda x: x.astype(np.int32)),
    "h5ad CSR of float64": _h5ad(lambda x: x.astype(np.float64)),
    "h5ad dense of uint8": _h5ad(lambda x: x.toarray().astype(np.uint8)),
    "h5ad CSR, columns unsorted": _h5ad(_unsorted),
    "h5ad CSR, zeros and repeats": _h5ad(_with_zeros),
    "h5ad CSR, 64-bit indices": _changed(_wide_indices, _same),
    "h5ad CSR, attributes of 0.6": _changed(_h5sparse, _same),
    "h5ad dense, no attributes": _changed(_without_attributes, _dense),
    "h5ad dense, tables of records": _records,
    "h5ad, a layer": _layer("counts"),
    "h5ad, raw": _layer("raw"),
    "Zarr v2 CSR": _zarr(_same, 2),
    "Zarr v2 CSC": _zarr(sparse.csc_matrix, 2),
    "Zarr v2 dense": _zarr(_dense, 2),
    "Zarr v2 CSR, not consolidated": _zarr(_same, 2, kind="not consolidated"),
    "Zarr v2 CSR, zip": _zarr(_same, 2, kind="zip"),
    "Zarr v3 CSR": _zarr(_same, 3),
    "Zarr v3 CSR, shards": _zarr(_same, 3, shards=True),
    "Zarr v3 dense": _zarr(_dense, 3),
    "Zarr v3 CSR, not consolidated": _zarr(_same, 3, kind="not consolidated"),
    "Zarr v3 CSR, zip": _zarr(_same, 3, kind="zip"),
    "scrcl convert": _converted,
    "10x h5, version 3": _tenx(3),
    "10x h5, version 2": _tenx(2),
    "mtx": _mtx(),
    "mtx, gzip": _mtx(zipped=True),
    "mtx, cells by genes": _mtx(by_cells=True),
}
"""Writers of files: given the cells and a path without suffix, each returns the path that it wrote."""

LAYERS = {"h5ad, a layer": "counts", "h5ad, raw": "raw"}
"""Encodings whose matrix is not X, and where it is."""


def _backed(change: Callable[[Any], Any]) -> Callable[[ad.AnnData, Path], ad.AnnData]:
    def make(cells: ad.AnnData, path: Path) -> ad.AnnData:
        return ad.read_h5ad(_h5ad(change)(cells, path), backed="r")

    return make


def _dask(x: Any) -> Any:
    return da.map_blocks(
        sparse.csr_matrix,
        da.from_array(x.toarray(), chunks=(40, -1)),
        dtype=x.dtype,
        meta=sparse.csr_matrix((0, 0), dtype=x.dtype),
    )


IN_MEMORY: dict[str, Callable[[ad.AnnData, Path], ad.AnnData]] = {
    "in memory, CSR": lambda cells, _: _with(cells, cells.X),
    "in memory, CSC": lambda cells, _: _with(cells, sparse.csc_matrix(cells.X)),
    "in memory, dense": lambda cells, _: _with(cells, cells.X.toarray()),
    "in memory, a view": lambda cells, _: cells[:, :],
    "in memory, dask of CSR": lambda cells, _: _with(cells, _dask(cells.X)),
    "in memory, dask of arrays": lambda cells, _: _with(
        cells, da.from_array(cells.X.toarray(), chunks=(40, 25))
    ),
    "backed, CSR": _backed(_same),
    "backed, CSC": _backed(sparse.csc_matrix),
    "backed, dense": _backed(_dense),
}
"""Makers of AnnData objects; those that are backed write a file first."""
