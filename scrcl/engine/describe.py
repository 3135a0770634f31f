"""What an input holds, from its header and one block of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._sizes import format_bytes
from scrcl.engine.arguments import checked
from scrcl.engine.paths import input_paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrcl.engine.paths import Inputs
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import Csr

__all__ = ["describe", "for_people", "joined"]

_SAMPLE_ROWS = 1_000
_SELECTED_GENES = 2_000
_BYTES_A_VALUE = 8
_FLOAT32_BYTES = 4
_WORDS = {
    "n_cells": "cells",
    "n_genes": "genes",
    "chunk_rows": "cells in a chunk on disk",
    "values_bytes": "size as a sparse matrix",
    "dense_bytes": "size as a dense matrix",
    "feature_store_bytes": "disk for variable genes",
    "symbols": "symbols of genes",
    "largest_in_sample": "largest value",
}
"""Names of what is described, where its field says it for programs."""


@dataclass(frozen=True)
class Description:
    """What an input holds.

    Attributes
    ----------
    input
        Its name.
    layout
        ``csr`` (by cells), ``csc`` (by genes) or ``dense``.
    dtype
        Type of the stored values.
    stored_values, density
        Number of stored values, and their share of all cells times genes.
    chunk_rows
        Rows of a chunk on disk; None if unknown.
    values_bytes, dense_bytes, feature_store_bytes
        Estimated sizes: values with their indices, a dense float32 matrix, and the file of 2,000 selected genes.
    obs, obsm, var
        Names of the annotations of cells, and of genes.
    symbols
        Column of var with symbols of the genes, by which results show them; None: they are shown by their names.
    values
        ``counts``, ``counts that are not whole numbers``, ``logarithms ...``, ``not counts ...``, ``all zero``, or
        unknown if single rows cannot be read (CSC, mtx).
    sample_cells, largest_in_sample
        The first so many cells, and their largest value; None if unknown.
    """

    input: str
    n_cells: int
    n_genes: int
    layout: str
    dtype: str
    stored_values: int
    density: float
    chunk_rows: int | None
    values_bytes: int
    dense_bytes: int
    feature_store_bytes: int
    obs: tuple[str, ...]
    obsm: tuple[str, ...]
    var: tuple[str, ...]
    symbols: str | None
    values: str
    sample_cells: int | None
    largest_in_sample: float | None


@checked
def describe(inputs: Inputs, *, layer: str | None = None) -> Description:
    """Return shape, density, kind of values and estimated sizes of an input.

    Parameters
    ----------
    inputs
        A path, or several, which are joined on the genes that all have.
    layer
        Layer to read instead of X; ``"raw"`` for raw.X.

    Raises
    ------
    InputError
        The layer does not exist, or the inputs cannot be joined.
    StoreError
        A file is missing or damaged, or its format is unknown.

    Examples
    --------
    >>> import scrcl  # doctest: +SKIP
    >>> scrcl.describe("cells.h5ad").values  # doctest: +SKIP
    'counts'
    """
    from scrcl.io.open import open_input
    from scrcl.markers.listed import symbol_column

    matrix = open_input(input_paths(inputs), layer=layer)
    n_entries = matrix.n_obs * matrix.n_vars
    n_values = matrix.nnz if matrix.nnz is not None else n_entries
    share_selected = min(_SELECTED_GENES / max(matrix.n_vars, 1), 1.0)
    values, largest = _look(matrix)
    return Description(
        input=matrix.label,
        n_cells=matrix.n_obs,
        n_genes=matrix.n_vars,
        layout=matrix.layout,
        dtype=str(matrix.dtype),
        stored_values=n_values,
        density=n_values / max(n_entries, 1),
        chunk_rows=matrix.chunk_rows,
        values_bytes=n_values * _BYTES_A_VALUE,
        dense_bytes=n_entries * _FLOAT32_BYTES,
        feature_store_bytes=int(n_values * share_selected * _BYTES_A_VALUE),
        obs=tuple(map(str, matrix.obs.columns)),
        obsm=tuple(sorted(matrix.obsm)),
        var=tuple(map(str, matrix.var.columns)),
        symbols=symbol_column(matrix.var),
        values=values,
        sample_cells=None if largest is None else min(_SAMPLE_ROWS, matrix.n_obs),
        largest_in_sample=largest,
    )


def joined(matrix: CellMatrix) -> str | None:
    """Return a note on the genes of joined samples; None if there is one input."""
    samples = matrix.identity.get("samples")
    if samples is None:
        return None
    sizes = [int(sample["shape"][1]) for sample in samples]
    kept = "all genes" if matrix.identity.get("join") == "outer" else "the genes in all samples"
    span = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
    dropped = matrix.n_genes_dropped
    rest = f" {dropped:,} genes that only some samples have are left out." if dropped else ""
    return f"Joining {len(samples)} samples of {span} genes on {kept}: {matrix.n_vars:,}.{rest}"


def for_people(record: Mapping[str, Any]) -> dict[str, str]:
    """Return names and values of a record as text with units."""
    shown = dict(_shown(name, value) for name, value in record.items() if name != "sample_cells")
    n_seen = record.get("sample_cells")
    if n_seen is not None and n_seen < record["n_cells"]:
        shown[_WORDS["largest_in_sample"]] += f" in the first {n_seen:,} cells"
    return shown


def _shown(name: str, value: Any) -> tuple[str, str]:
    words = _WORDS.get(name, name.replace("_", " "))
    if name.endswith("_bytes") or name.startswith("bytes_"):
        return words.removesuffix(" bytes"), format_bytes(value)
    if name == "density":
        return words, f"{value:.2%}"
    if name == "symbols":
        return words, value or "none: genes are shown by their names"
    if isinstance(value, (list, tuple)):
        return words, ", ".join(value) or "none"
    if isinstance(value, bool):
        return words, "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return words, f"{value:,.0f}"
    if isinstance(value, float):
        return words, f"{value:,.2f}"
    return words, "unknown" if value is None else str(value)


def _look(matrix: CellMatrix) -> tuple[str, float | None]:
    """Return the kind of the values and the largest one, from the first rows."""
    if matrix.layout == "csc":
        return "unknown (column-major)", None
    from scrcl.io.stream import iter_rows

    _, block = next(iter_rows(matrix.x(min(_SAMPLE_ROWS, matrix.n_obs)), n_ahead=0))
    data = block.data
    if not data.size:
        return "all zero", 0.0
    if not np.isfinite(data).all():
        return "some are NaN or infinite", None
    whole = bool(np.all(data >= 0) and np.all(data == np.floor(data)))
    return "counts" if whole else _not_counts(block), float(data.max())


def _not_counts(block: Csr) -> str:
    """Return what values are that are no whole numbers, as a run would take them."""
    from scrcl.prep.value_kind import evidence_of_rows, value_kind

    if block.data.min() < 0:
        return "not counts (some are negative, as scaled or corrected values are)"
    rows = np.arange(block.shape[0])
    kind = value_kind(evidence_of_rows(block.data, block.indptr.astype(np.int64), rows))
    if kind.is_mixed:
        return "logarithms in some cells, counts in others"
    name = (
        "logarithms of normalised counts"
        if kind.already_log
        else "counts that are not whole numbers"
    )
    return name if kind.is_clear else f"{name}, as a guess"
