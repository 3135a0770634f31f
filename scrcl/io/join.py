"""Several samples as one matrix: their cells one after the other, on the genes that all have."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pandas as pd
from anndata import AnnData, concat
from anndata.utils import make_index_unique

from scrcl.errors import InputError
from scrcl.io.annotations import with_unique_names
from scrcl.io.matrix import CellMatrix, with_columns

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["join_samples"]

_IDS = "gene_ids"
_SUFFIXES = (".gz", ".mtx", ".h5ad", ".zarr", ".h5", ".hdf5")


def join_samples(samples: list[CellMatrix], paths: list[Path], how: str = "inner") -> CellMatrix:
    """Return the samples as one matrix.

    ``obs["sample"]`` is categorical, from the file names without suffix; cells are named
    ``<barcode>-<sample>``. Genes keep the order of the first sample, and its annotations. Of
    ``obsm`` stays what all have.

    Raises
    ------
    InputError
        No gene is common to all, or a sample repeats a gene name and has no ``gene_ids``.
    """
    indexes = _gene_indexes(samples)
    genes = _common_genes(samples, indexes)
    columns = [index.get_indexer(genes) for index in indexes]
    label = f"{len(samples)} samples"
    n_obs = sum(s.n_obs for s in samples)

    def rows(block_rows: int) -> da.Array:
        pairs = zip(samples, columns, strict=True)
        return da.concatenate([with_columns(s.x(block_rows), c) for s, c in pairs])

    return CellMatrix(
        label=label,
        n_obs=n_obs,
        n_vars=len(genes),
        dtype=np.result_type(*(s.dtype for s in samples)),
        layout=max((s.layout for s in samples), key=("csr", "dense", "csc").index),
        nnz=_total([s.nnz for s in samples]),
        chunk_rows=max((s.chunk_rows for s in samples if s.chunk_rows), default=None),
        var=with_unique_names(samples[0].var.iloc[columns[0]], kind="gene", label=label),
        load_obs=lambda: with_unique_names(_joined_obs(samples, paths), kind="cell", label=label),
        load_obsm=lambda: _joined_obsm(samples),
        identity={"samples": [s.identity for s in samples], "shape": [n_obs, len(genes)]},
        rows=rows,
    )


def _gene_indexes(samples: list[CellMatrix]) -> list[pd.Index]:
    """Return what tells the genes of each sample apart: their names, or ids where names repeat.

    Cell Ranger's references give a few symbols to two genes; its ids are unique.
    """
    names = [sample.var.index.astype(str) for sample in samples]
    if all(index.is_unique for index in names):
        return names
    if all(_IDS in sample.var for sample in samples):
        return [pd.Index(sample.var[_IDS].astype(str)) for sample in samples]
    return names


def _common_genes(samples: list[CellMatrix], indexes: list[pd.Index]) -> pd.Index:
    """Return the genes that all samples have, in the order of the first."""
    for sample, index in zip(samples, indexes, strict=True):
        if not index.is_unique:
            repeated = index[index.duplicated()][0]
            msg = (
                f"Gene names must be unique to join samples; got {repeated!r} more than once in "
                f"{sample.label}. Make them unique (anndata's var_names_make_unique), or use ids."
            )
            raise InputError(msg)
    genes = reduce(lambda common, index: common[common.isin(index)], indexes)
    if genes.empty:
        names = ", ".join(f"{i[0]!r} in {s.label}" for s, i in zip(samples, indexes, strict=True))
        msg = (
            f"Samples must have genes in common; got none. First genes: {names}. Use one kind of "
            "gene names in all."
        )
        raise InputError(msg)
    return genes


def _joined_obs(samples: list[CellMatrix], paths: list[Path]) -> pd.DataFrame:
    """Return all annotations of the cells; a file's own column ``sample`` gets another name."""
    tables = [
        s.obs.drop(columns="sample_in_file", errors="ignore").rename(
            columns={"sample": "sample_in_file"}
        )
        if "sample" in s.obs
        else s.obs
        for s in samples
    ]
    joined = concat(
        [AnnData(obs=table.set_axis(table.index.astype(str))) for table in tables],
        join="outer",
        label="sample",
        keys=_sample_names(paths),
        index_unique="-",
    )
    obs: pd.DataFrame = joined.obs
    return obs


def _joined_obsm(samples: list[CellMatrix]) -> dict[str, np.ndarray]:
    return {
        key: np.concatenate([s.obsm[key] for s in samples])
        for key, first in samples[0].obsm.items()
        if all(key in s.obsm and s.obsm[key].shape[1] == first.shape[1] for s in samples)
    }


def _sample_names(paths: list[Path]) -> list[str]:
    """Return file names without suffix, led by the folder's name where they repeat."""
    names = [_stem(path) for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.resolve().parent.name}_{n}" for path, n in zip(paths, names, strict=True)]
    unique: list[str] = make_index_unique(pd.Index(names)).tolist()
    return unique


def _stem(path: Path) -> str:
    name = path.resolve().name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
