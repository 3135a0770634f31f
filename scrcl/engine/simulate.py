"""A simulated atlas as a store on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._progress import Reporter
    from scrcl.io.matrix import CellMatrix
    from scrcl.simulation import SimulatedAtlas

__all__ = ["simulate"]

_BLOCK_ROWS = 4_096
_MAX_TEMPLATE_VALUES = 200_000_000


def simulate(
    out: Path,
    *,
    n_cells: int,
    n_genes: int = 20_000,
    n_types: int = 40,
    n_samples: int = 8,
    seed: int = 0,
    spatial: bool = False,
    source: Path | None = None,
    labels: str = "cell_type",
    layer: str | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Write a labelled atlas into the new store ``out``; returns what `scrcl.engine.convert` says.

    Parameters
    ----------
    n_genes, n_types
        Of an atlas of invented types; a ``source`` brings its own.
    source, labels, layer
        Cells whose types are the templates, the column of obs that names these, and their layer of
        counts.
    spatial
        Lay the cells out in tissue domains, one slice a sample: ``obsm["spatial"]``.

    Raises
    ------
    InputError
        A number is out of its range, or the source has no such labels or no counts.
    StoreError
        ``out`` is there already, or the disk is too small.
    """
    from scrcl.engine.convert import convert_matrix
    from scrcl.simulation import tree_atlas

    atlas = (
        tree_atlas(n_cells, n_genes, n_types, n_samples, seed=seed, spatial=spatial)
        if source is None
        else _from_templates(source, labels, layer, n_cells, n_samples, seed, spatial)
    )
    return convert_matrix(
        _matrix(atlas),
        out,
        sources=[_source_name(source)],
        block_rows=_BLOCK_ROWS,
        reporter=reporter,
    )


def _source_name(source: Path | None) -> str:
    return "simulated" if source is None else f"simulated from {source.name}"


def _matrix(atlas: SimulatedAtlas) -> CellMatrix:
    from scrcl.io.matrix import CellMatrix, rows_from_reader

    shape = (atlas.n_obs, atlas.n_vars)
    return CellMatrix(
        label="simulated atlas",
        n_obs=shape[0],
        n_vars=shape[1],
        dtype=np.dtype(np.float32),
        layout="csr",
        nnz=None,
        chunk_rows=None,
        var=atlas.var,
        load_obs=atlas.obs,
        load_obsm=atlas.obsm,
        identity=atlas.identity,
        rows=lambda block_rows: rows_from_reader(atlas.rows, shape=shape, block_rows=block_rows),
    )


def _from_templates(
    source: Path,
    labels: str,
    layer: str | None,
    n_cells: int,
    n_samples: int,
    seed: int,
    spatial: bool,
) -> SimulatedAtlas:
    from scrcl.io.open import open_input
    from scrcl.io.stream import iter_rows
    from scrcl.simulation import template_atlas

    matrix = open_input([source], layer=layer)
    n_values = matrix.nnz or matrix.n_obs * matrix.n_vars
    if matrix.layout == "csc" or n_values > _MAX_TEMPLATE_VALUES:
        message = (
            f"--from must be a set that fits in memory and lies by cells; got {source.name} with "
            f"{n_values:,} values ({matrix.layout}). Convert it, or take some of its cells."
        )
        raise InputError(message)
    if labels not in matrix.obs:
        columns = ", ".join(map(str, matrix.obs.columns)) or "none"
        message = f"labels must be a column of obs; got {labels!r}. There are: {columns}."
        raise InputError(message)
    ((_, counts),) = iter_rows(matrix.x(matrix.n_obs))
    return template_atlas(
        counts,
        matrix.obs[labels],
        matrix.var.index,
        n_cells,
        n_samples,
        seed=seed,
        spatial=spatial,
    )
