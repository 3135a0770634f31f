"""What a file holds, by readers that are not scrcl's: names of cells and genes, and values."""

from __future__ import annotations

import gzip
import warnings
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import numpy as np
import zarr
from scipy import sparse

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Found", "read_plainly", "read_result"]


@dataclass(frozen=True)
class Found:
    """Names and values, without cells that have no counts. Equal if all of them are."""

    cells: tuple[str, ...]
    genes: tuple[str, ...]
    values: bytes

    @classmethod
    def of(cls, read: ad.AnnData) -> Found:
        """Return what an AnnData in memory holds."""
        x = read.X.toarray() if sparse.issparse(read.X) else np.asarray(read.X)
        x = x.astype(np.float32)
        kept = x.sum(axis=1) > 0
        names = tuple(map(str, read.obs_names[kept]))
        return cls(names, tuple(map(str, read.var_names)), np.ascontiguousarray(x[kept]).tobytes())


def read_result(path: Path) -> Found:
    """Return what the result of a run holds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Found.of(ad.read_h5ad(path))


def read_plainly(path: Path) -> Found | None:
    """Return what a damaged file holds; None if its reader cannot read it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Found.of(_read(path))
    except Exception:  # noqa: BLE001 - what a reader raises is not at issue here
        return None


def _read(path: Path) -> ad.AnnData:
    if path.is_dir() and path.suffix != ".zarr":
        read = _mtx(path)
    elif path.suffix == ".h5":
        read = _tenx(path)
    elif path.suffix == ".h5ad":
        read = ad.read_h5ad(path)
    elif zipfile.is_zipfile(path):
        read = ad.read_zarr(zarr.storage.ZipStore(path, mode="r"))
    else:
        read = ad.read_zarr(path)
    # anndata does not end where it makes names of bytes unique.
    read.obs_names, read.var_names = map(_texts, (read.obs_names, read.var_names))
    read.var_names_make_unique()
    read.obs_names_make_unique()
    return read


def _texts(names: Any) -> list[str]:
    return [each.decode() if isinstance(each, bytes) else str(each) for each in names]


def _lines(folder: Path, name: str) -> list[str]:
    zipped = folder / f"{name}.gz"
    text = gzip.decompress(zipped.read_bytes()) if zipped.exists() else (folder / name).read_bytes()
    return [line for line in text.decode().split("\n") if line]


def _mtx(folder: Path) -> ad.AnnData:
    lines = [line for line in _lines(folder, "matrix.mtx") if not line.startswith("%")]
    shape = list(map(int, lines[0].split()))
    entries = np.array([list(map(float, line.split())) for line in lines[1:]])
    rows, columns = entries[:, :2].astype(int).T - 1
    x = sparse.coo_matrix((entries[:, 2], (rows, columns)), shape=shape[:2]).T.tocsr()
    read = ad.AnnData(x)
    read.obs_names = _lines(folder, "barcodes.tsv")
    read.var_names = [line.split("\t")[1] for line in _lines(folder, "features.tsv")]
    return read


def _tenx(path: Path) -> ad.AnnData:
    with h5py.File(path) as file:
        group: Any = file["matrix"] if "matrix" in file else file["GRCh38"]
        parts = tuple(group[name][:] for name in ("data", "indices", "indptr"))
        read = ad.AnnData(sparse.csr_matrix(parts, shape=tuple(group["shape"][:][::-1])))
        names = group["features/name"] if "features" in group else group["gene_names"]
        read.obs_names = [name.decode() for name in group["barcodes"][:]]
        read.var_names = [name.decode() for name in names[:]]
    return read
