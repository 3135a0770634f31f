"""Several samples as one matrix: their cells one after the other, on the genes that all have."""

from __future__ import annotations

from functools import reduce
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd

from scrcl.errors import InputError
from scrcl.io.annotations import with_unique_names
from scrcl.io.matrix import CellMatrix, column_lookup, select_columns
from scrcl.typing import IntArray

__all__ = ["join_samples"]

_SUFFIXES = (".gz", ".h5ad", ".zarr", ".h5", ".hdf5")


def join_samples(samples: list[CellMatrix], paths: list[Path]) -> CellMatrix:
    """Return the samples as one matrix.

    ``obs["sample"]`` is categorical, from the file names without suffix; cells are named
    ``<barcode>-<sample>``. Genes keep the order of the first sample, and its annotations.

    Raises
    ------
    InputError
        No gene is common to all, or a sample repeats a gene name.
    """
    genes = _common_genes(samples)
    columns = [sample.var.index.get_indexer(genes) for sample in samples]
    names = _sample_names(paths)
    n_obs = sum(sample.n_obs for sample in samples)

    def rows(block_rows: int) -> da.Array:
        return da.concatenate(
            [_on_genes(s, c, block_rows) for s, c in zip(samples, columns, strict=True)]
        )

    known = [sample.nnz for sample in samples if sample.nnz is not None]
    return CellMatrix(
        label=f"{len(samples)} samples",
        n_obs=n_obs,
        n_vars=len(genes),
        dtype=np.result_type(*(sample.dtype for sample in samples)),
        layout=next((s.layout for s in samples if s.layout != "csr"), "csr"),
        nnz=sum(known) if len(known) == len(samples) else None,
        chunk_rows=max((s.chunk_rows for s in samples if s.chunk_rows), default=None),
        obs=_joined_obs(samples, names),
        var=samples[0].var.loc[genes],
        obsm=_joined_obsm(samples),
        identity={"samples": [s.identity for s in samples], "shape": [n_obs, len(genes)]},
        rows=rows,
    )


def _common_genes(samples: list[CellMatrix]) -> pd.Index:
    """Return the genes of the first sample that all others have, in its order."""
    genes = reduce(lambda a, b: a[a.isin(b)], (sample.var.index for sample in samples))
    if not len(genes):
        first, other = samples[0], next(s for s in samples if not s.var.index.isin(genes).any())
        msg = (
            f"Samples must share genes; got none in common, for example {first.var.index[0]!r} in "
            f"{first.label} and {samples[-1].var.index[0]!r} in {samples[-1].label}. Use the same "
            "kind of gene names in all."
        )
        raise InputError(msg)
    return genes
