"""`CellMatrix`: an input opened lazily, with names in memory and values as dask row blocks.

The reader of a format supplies a description and a way to read rows. Blocks of `CellMatrix.x` always have the
same form (`scrcl.io.rows.canonical_rows`). So later steps need not handle other dtypes, dense storage,
unsorted columns, duplicates or stored zeros.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from scrcl.errors import InputError, StoreError
from scrcl.io.rows import NO_ROWS, canonical_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    import dask.array as da
    import pandas as pd

    from scrcl.io.coordinates import CellCoordinates

__all__ = ["CellMatrix", "Layout"]

Layout: TypeAlias = Literal["csr", "csc", "dense"]


def _no_layer(name: str | None) -> CellMatrix:
    raise KeyError(name)


@dataclass(frozen=True)
class CellMatrix:
    """A matrix of cells by genes, not yet read.

    Parameters
    ----------
    label
        Name of the input in messages: the file name, or ``"AnnData object"``.
    n_obs, n_vars
        Numbers of cells and genes.
    dtype
        Dtype of the stored values. Blocks of `x` are always float32.
    layout
        Layout of the store. ``"csc"`` means that a row-major copy is made before the first read.
    nnz
        Number of stored values; None if the store is dense.
    chunk_rows
        Roughly how many rows the store reads at once; None if it has no chunks.
    var
        Annotations of the genes, with unique names.
    load_obs, load_obsm
        Read the annotations of the cells, and find their coordinates (two or three columns each). `obs` and `obsm`
        call them on first use, because the names of cells take more memory than all else that grows with them.
    identity
        Fingerprint of the input, ready for JSON.
    rows
        Returns a dask array of row blocks as stored, for a given number of rows.
    check_obs
        Reads all annotations of the cells, a piece at a time. Raises StoreError if their names are damaged, and
        warns of columns that are left out.
    left_out
        Names of features of the source that `var` does not have, because their kind is another (antibodies).
    layers
        Names of the other matrices that the input has: ``"raw"`` and layers.
    n_genes_dropped
        Genes that a join left out, because not all samples have them.
    repeated_genes
        Names of genes that repeated before they were made unique. Which of them has which suffix is by chance.
    open_layer
        Opens another of the matrices by name (None: X), with the same cells. Raises InputError if it is not there.
    sources
        Each opens what a sample was read from: the root group of a store, or an AnnData in memory. The result keeps
        what it holds besides the matrix (`scrcl.io.slots`). Empty for formats that hold nothing else; a join
        has one for each sample.
    values_in_source
        Whether what ``sources`` open holds the matrix too.
    """

    label: str
    n_obs: int
    n_vars: int
    dtype: np.dtype[Any]
    layout: Layout
    nnz: int | None
    chunk_rows: int | None
    var: pd.DataFrame = field(repr=False)
    load_obs: Callable[[], pd.DataFrame] = field(repr=False)
    load_obsm: Callable[[], Mapping[str, CellCoordinates]] = field(repr=False)
    identity: dict[str, Any] = field(repr=False)
    rows: Callable[[int], da.Array] = field(repr=False)
    check_obs: Callable[[], None] = field(default=lambda: None, repr=False)
    left_out: frozenset[str] = frozenset()
    repeated_genes: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    n_genes_dropped: int = 0
    open_layer: Callable[[str | None], CellMatrix] = field(default=_no_layer, repr=False)
    sources: tuple[Callable[[], AbstractContextManager[Any]], ...] = field(default=(), repr=False)
    values_in_source: bool = True

    def __post_init__(self) -> None:
        if not (self.n_obs and self.n_vars):
            message = (
                f"{self.label} must hold at least one cell and one gene; got {self.n_obs:,} cells "
                f"and {self.n_vars:,} genes. Give a file that has both."
            )
            raise InputError(message)
        if self.dtype.kind not in "biuf":
            message = (
                f"{self.label} must hold real numbers; got values of type {self.dtype}. "
                "Convert them, or choose another layer."
            )
            raise InputError(message)
        self._require_names("gene", len(self.var), self.n_vars)

    @cached_property
    def obs(self) -> pd.DataFrame:
        """Annotations of the cells, with unique names. They stay in memory after the first use."""
        return self.fresh_obs()

    def fresh_obs(self) -> pd.DataFrame:
        """Read and return the annotations of the cells, without caching them.

        Raises
        ------
        StoreError
            They are damaged, or their number differs from that of the cells.
        """
        table = self.load_obs()
        self._require_names("cell", len(table), self.n_obs)
        return table

    @contextmanager
    def opened_sources(self) -> Iterator[list[Any]]:
        """Open what the samples were read from; see ``sources``."""
        with ExitStack() as stack:
            yield [stack.enter_context(source()) for source in self.sources]

    @cached_property
    def obsm(self) -> Mapping[str, CellCoordinates]:
        """Coordinates of the cells, by name. Each is read when it is asked for (`scrcl.io.coordinates`)."""
        return self.load_obsm()

    def _require_names(self, kind: str, n_names: int, n_needed: int) -> None:
        if n_names != n_needed:
            message = (
                f"{self.label} must name each row and column; got {n_names:,} {kind} names for "
                f"{n_needed:,} {kind}s. Write the file again."
            )
            raise StoreError(message)

    def x(self, block_rows: int) -> da.Array:
        """Return the matrix as row blocks of scipy CSR float32, shape (n_obs, n_vars).

        Blocks are canonical: sorted columns, no duplicates, no stored zeros. They may share memory with an
        input in memory, so never write to them.
        """
        if block_rows < 1:
            message = f"block_rows must be at least 1; got {block_rows}."
            raise InputError(message)
        return self.rows(min(block_rows, self.n_obs)).map_blocks(
            canonical_rows, dtype=np.float32, meta=NO_ROWS
        )
