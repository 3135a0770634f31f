"""What an input holds, from its header and one block of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._sizes import format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from scrcl.io.matrix import CellMatrix

__all__ = ["describe_input", "for_people", "joined"]

_SAMPLE_ROWS = 1_000
_BYTES = ("values_bytes", "dense_bytes", "feature_store_bytes")


def describe_input(inputs: Sequence[Path], *, layer: str | None = None) -> dict[str, Any]:
    """Return shape, density, dtype, kind of values, chunks and estimated sizes, as JSON values.

    ``values`` is ``counts``, ``not counts ...``, or unknown where the matrix lies by genes (CSC,
    mtx) and single rows cannot be looked at.
    """
    from scrcl.io.open import open_input

    matrix = open_input(inputs, layer=layer)
    n_values = matrix.nnz if matrix.nnz is not None else matrix.n_obs * matrix.n_vars
    described: dict[str, Any] = {
        "input": matrix.label,
        "n_cells": matrix.n_obs,
        "n_genes": matrix.n_vars,
        "layout": matrix.layout,
        "dtype": str(matrix.dtype),
        "stored_values": n_values,
        "density": n_values / max(matrix.n_obs * matrix.n_vars, 1),
        "chunk_rows": matrix.chunk_rows,
        "values_bytes": n_values * 8,
        "dense_bytes": matrix.n_obs * matrix.n_vars * 4,
        "feature_store_bytes": int(n_values * min(2_000 / max(matrix.n_vars, 1), 1.0) * 8),
        "obs": list(map(str, matrix.obs.columns)),
        "obsm": sorted(matrix.obsm),
    }
    return described | _look(matrix)


def joined(matrix: CellMatrix) -> str | None:
    """Say on how many genes samples were joined; None where there is one input."""
    samples = matrix.identity.get("samples")
    if samples is None:
        return None
    sizes = [int(sample["shape"][1]) for sample in samples]
    how = (
        "all genes of any" if matrix.identity.get("join") == "outer" else "the genes that all have"
    )
    span = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
    return f"{len(samples)} samples of {span} genes are joined on {how}: {matrix.n_vars:,}."


def for_people(described: Mapping[str, Any]) -> dict[str, str]:
    """Return the same with units, as text."""
    shown = {}
    for name, value in described.items():
        if name in _BYTES:
            shown[name.removesuffix("_bytes").replace("_", " ")] = format_bytes(value)
        elif name.startswith("bytes_"):
            shown[name.replace("_", " ")] = format_bytes(value)
        elif name == "density":
            shown[name] = f"{value:.2%}"
        elif isinstance(value, list):
            shown[name] = ", ".join(value) or "none"
        elif isinstance(value, bool):
            shown[name.replace("_", " ")] = "yes" if value else "no"
        elif isinstance(value, int):
            shown[name.replace("_", " ")] = f"{value:,}"
        else:
            shown[name.replace("_", " ")] = "unknown" if value is None else str(value)
    return shown


def _look(matrix: CellMatrix) -> dict[str, Any]:
    if matrix.layout == "csc":
        return {"values": "unknown (lies by genes)", "largest_value": None}
    from scrcl.io.stream import iter_rows

    _, block = next(iter_rows(matrix.x(min(_SAMPLE_ROWS, matrix.n_obs)), n_ahead=0))
    data = block.data
    if not data.size:
        return {"values": "all zero", "largest_value": 0.0}
    if not np.isfinite(data).all():
        return {"values": "NaN or infinity among them", "largest_value": None}
    whole = bool(np.all(data >= 0) and np.all(data == np.floor(data)))
    return {
        "values": "counts" if whole else "not counts (log, scaled or corrected values)",
        "largest_value": float(data.max()),
    }
