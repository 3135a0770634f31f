"""Some cells of an input, as an input of their own: what reads all cells also reads these."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scrcl.io.rows import as_csr, rows_from_reader
from scrcl.io.stream import blocks_of

if TYPE_CHECKING:
    import dask.array as da
    import pandas as pd

    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import Csr, IntArray

__all__ = ["some_cells"]


def some_cells(
    matrix: CellMatrix, rows: IntArray, *, nnz: int, label: str, digest: str
) -> CellMatrix:
    """Return some cells of an input; nothing is read or copied yet.

    A block of the result reads the blocks of the input that hold its cells, one after the other. Blocks without such a
    cell are skipped. It has no coordinates and no other slots.

    Parameters
    ----------
    matrix
        The input. One that is stored by genes must have been copied by cells before.
    rows
        ndarray of int, shape (n_some,): positions of the cells, ascending.
    nnz
        Stored values of these cells.
    label
        Name of the cells in messages.
    digest
        Hash of the rows, which the identity of the input does not know.
    """

    def read_rows(block_rows: int) -> da.Array:
        blocks = blocks_of(matrix.rows(block_rows))
        starts = np.array([block.start for block in blocks])

        def read(start: int, stop: int) -> Csr:
            wanted = rows[start:stop]
            block_of = np.searchsorted(starts, wanted, side="right") - 1
            parts = [
                as_csr(blocks[i].read())[wanted[block_of == i] - blocks[i].start]
                for i in np.unique(block_of).tolist()
            ]
            return sparse.vstack(parts, format="csr")

        return rows_from_reader(read, shape=(len(rows), matrix.n_vars), block_rows=block_rows)

    def load_obs() -> pd.DataFrame:
        return matrix.fresh_obs().iloc[rows]

    return replace(
        matrix,
        label=label,
        n_obs=len(rows),
        layout="csr",
        nnz=nnz,
        chunk_rows=None,
        load_obs=load_obs,
        load_obsm=dict,
        identity={**matrix.identity, "cells": digest},
        rows=read_rows,
        check_obs=lambda: None,
        n_genes_dropped=0,
        sources=(),
    )
