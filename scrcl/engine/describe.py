"""What an input holds, from its header and one block of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrcl._sizes import format_bytes
from scrcl.engine.arguments import checked
from scrcl.engine.paths import input_paths
from scrcl.engine.values import SAMPLE_ROWS, kinds_of_others, look_at
from scrcl.markers.listed import symbol_column

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from scrcl.engine.paths import Inputs
    from scrcl.io.labels import CellLabels
    from scrcl.io.matrix import CellMatrix

__all__ = ["describe", "for_people", "note_on_join"]

_SELECTED_GENES = 2_000
_BYTES_A_VALUE = 8
_FLOAT32_BYTES = 4
_WORDS = {
    "n_cells": "cells",
    "n_genes": "genes",
    "chunk_rows": "cells in a chunk on disk",
    "layers": "other layers",
    "values_bytes": "size as a sparse matrix",
    "dense_bytes": "size as a dense matrix",
    "feature_store_bytes": "disk for variable genes",
    "symbols": "symbols of genes",
    "largest_in_sample": "largest value",
}
"""What readers see in place of the name of a field."""


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
    layers
        Kind of the values of each other matrix: ``raw``, the layers, and X if a layer was named.
    may_be_batches
        Columns of obs with names and values like those of batches, and the number of their values.
    may_be_conditions
        The same of conditions, such as treatments.
    coordinates
        Where the cells lie in a tissue, if they do: what ``spatial`` reads, or what ``coordinates`` may name.
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
    layers: dict[str, str]
    may_be_batches: tuple[str, ...]
    may_be_conditions: tuple[str, ...]
    coordinates: str
    sample_cells: int | None
    largest_in_sample: float | None


@checked
def describe(inputs: Inputs | AnnData, *, layer: str | None = None) -> Description:
    """Return shape, density, kind of values and estimated sizes of an input.

    Parameters
    ----------
    inputs
        A path, or several, which are joined on the genes that all have. Or an AnnData.
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
    from scrcl.engine.batch_columns import batch_like_columns, condition_like_columns

    matrix = _opened(inputs, layer)
    n_entries = matrix.n_obs * matrix.n_vars
    n_values = matrix.nnz if matrix.nnz is not None else n_entries
    share_selected = min(_SELECTED_GENES / max(matrix.n_vars, 1), 1.0)
    values, largest = look_at(matrix)
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
        obsm=_obsm_of(matrix),
        var=tuple(map(str, matrix.var.columns)),
        symbols=symbol_column(matrix.var),
        values=values,
        layers=kinds_of_others(matrix, layer),
        may_be_batches=_counted(batch_like_columns(matrix.obs)),
        may_be_conditions=_counted(condition_like_columns(matrix.obs)),
        coordinates=_coordinates_of(matrix),
        sample_cells=None if largest is None else min(SAMPLE_ROWS, matrix.n_obs),
        largest_in_sample=largest,
    )


def _opened(inputs: Inputs | AnnData, layer: str | None) -> CellMatrix:
    from scrcl.engine.paths import is_anndata
    from scrcl.io.open import from_anndata, open_input

    if is_anndata(inputs):
        return from_anndata(inputs, layer=layer)
    return open_input(input_paths(inputs), layer=layer)


def _counted(columns: dict[str, CellLabels]) -> tuple[str, ...]:
    """Return the names of columns, with the number of their values."""
    return tuple(f"{name} ({len(labels.names)})" for name, labels in columns.items())


def _coordinates_of(matrix: CellMatrix) -> str:
    """Return in words where the coordinates of a tissue are."""
    from scrcl.io.named_coordinates import suggested_coordinates

    if "spatial" in matrix.obsm:
        return 'obsm["spatial"]'
    suggested = suggested_coordinates(matrix)
    return "none" if suggested is None else f"perhaps {suggested}"


def note_on_join(matrix: CellMatrix) -> str | None:
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
    if isinstance(value, dict):
        value = [f"{each}: {kind}" for each, kind in value.items()]
        return words, "; ".join(value) or "none"
    if isinstance(value, (list, tuple)):
        return words, ", ".join(value) or "none"
    if isinstance(value, bool):
        return words, "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return words, f"{value:,.0f}"
    if isinstance(value, float):
        return words, f"{value:,.2f}"
    return words, "unknown" if value is None else str(value)


def _obsm_of(matrix: CellMatrix) -> tuple[str, ...]:
    """Return the names in obsm; of several inputs those that all have. Coordinates of a text are there too."""
    from scrcl.io.joined import shared_obsm

    with matrix.opened_sources() as sources:
        stored = shared_obsm(sources) if sources else []
    return tuple(sorted({*stored, *matrix.obsm}))
