"""Sizes of the data, from the header of the input and the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrcl._contract import Shape
from scrcl.graph.lattice import NEIGHBORS_OF

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrcl.engine.config import RunConfig
    from scrcl.io.matrix import CellMatrix

__all__ = ["input_bytes", "shape_of"]


def input_bytes(identity: Mapping[str, Any]) -> int:
    """Return the bytes of the files of an input; 0 for those that are not known."""
    return sum(int(sample.get("bytes", 0)) for sample in identity.get("samples", [identity]))


def shape_of(matrix: CellMatrix, config: RunConfig, *, n_batches: int = 1) -> Shape:
    """Return the sizes that memory, block sizes and times derive from."""
    n_values = matrix.nnz if matrix.nnz is not None else matrix.n_obs * matrix.n_vars
    n_genes = config.features.n_selected(matrix.n_vars)
    k = config.searched_neighbors[1]
    n_neighbors = max(NEIGHBORS_OF.values()) if k == "auto" else int(k)
    return Shape(
        n_cells=matrix.n_obs,
        n_vars=matrix.n_vars,
        values_per_row=n_values / matrix.n_obs,
        n_genes=n_genes,
        n_comps=min(config.reduce.n_comps, n_genes),
        n_neighbors=n_neighbors,
        n_batches=n_batches,
        is_column_major=matrix.layout == "csc",
        input_bytes=input_bytes(matrix.identity),
    )
