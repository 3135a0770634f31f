"""A simulated atlas as a store on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._settings import Settings, option
from scrcl.engine.arguments import checked
from scrcl.engine.load_config import validated
from scrcl.errors import InputError

if TYPE_CHECKING:
    from scrcl._progress import Reporter
    from scrcl.engine.convert import WrittenStore
    from scrcl.io.matrix import CellMatrix
    from scrcl.simulation import SimulatedAtlas
    from scrcl.simulation.donors import DonorSettings

__all__ = ["SimulateConfig", "simulate"]

_BLOCK_ROWS = 4_096
_MAX_TEMPLATE_VALUES = 200_000_000


class SimulateConfig(Settings):
    """Settings of a simulated atlas."""

    n_cells: int = option(
        10_000, "--n-cells", "--cells", panel="Atlas", ge=1, description="Number of cells."
    )
    n_genes: int = option(
        20_000,
        "--n-genes",
        "--genes",
        panel="Atlas",
        ge=1,
        description="Number of genes, without `source`.",
    )
    n_types: int = option(
        40,
        "--n-types",
        "--types",
        panel="Atlas",
        ge=1,
        description="Number of cell types, without `source`.",
    )
    n_samples: int = option(
        8,
        "--n-samples",
        "--samples",
        panel="Atlas",
        ge=1,
        description="Number of samples; each one shifts its cells in its own way.",
    )
    seed: int = option(0, "--seed", panel="Atlas", ge=0, lt=2**63, description="Random seed.")
    spatial: bool = option(
        False,
        "--spatial",
        panel="Atlas",
        description='Place the cells of each sample in tissue domains: obsm["spatial"].',
    )
    donor_effect: float = option(
        0.0,
        "--donor-effect",
        panel="Donors",
        ge=0,
        description="Strength of differences between samples: of genes (by cell type too), depth and ambient RNA; 1 is "
        "a strong batch effect.",
    )
    missing_types: float = option(
        0.0,
        "--missing-types",
        panel="Donors",
        ge=0,
        lt=1,
        description="Share of the samples that lack a cell type.",
    )
    own_types: int = option(
        0,
        "--own-types",
        panel="Donors",
        ge=0,
        description="Number of cell types that one sample alone has.",
    )
    dropout: float = option(
        0.0,
        "--dropout",
        panel="Difficulty",
        ge=0,
        lt=1,
        description="Share of the values above zero that are lost.",
    )
    signal: float = option(
        1.0,
        "--signal",
        panel="Difficulty",
        gt=0,
        le=10,
        description="Factor of the log fold changes between types, without `source`; below 1, types are more alike.",
    )
    imbalance: float = option(
        3.0,
        "--imbalance",
        panel="Difficulty",
        ge=0,
        le=10,
        description="Orders of magnitude between the largest and the smallest type, without `source`; 0: one size.",
    )
    source: Path | None = option(
        None,
        "--from",
        panel="Template",
        description="Labelled cells; their types are the types of the atlas.",
    )
    labels: str = option(
        "cell_type", "--labels", panel="Template", description="Column of obs with these labels."
    )
    layer: str | None = option(
        None, "--layer", panel="Template", description="Layer with counts to read instead of X."
    )


@checked
def simulate(out: str | Path, *, reporter: Reporter | None = None, **settings: Any) -> WrittenStore:
    """Write a labelled atlas of any size into the new store ``out``.

    Parameters
    ----------
    out
        Folder to create, for example ``atlas.zarr``.
    reporter
        Receives the progress.
    **settings
        Fields of `SimulateConfig`: ``n_cells`` (10,000), ``n_genes``, ``n_types``, ``n_samples``, ``seed``,
        ``spatial``; for differences of the samples ``donor_effect``, ``missing_types``, ``own_types``; for harder
        types ``dropout``, ``signal``, ``imbalance``; and for types of real cells ``source`` (a path), ``labels`` (a
        column of its obs), ``layer`` (of counts).

    Returns
    -------
    WrittenStore
        Sizes of the store and the time taken.

    Raises
    ------
    InputError
        A number is out of its range, or the source lacks such labels or counts.
    StoreError
        ``out`` exists, or the disk is too small.

    Examples
    --------
    >>> import scrcl  # doctest: +SKIP
    >>> scrcl.simulate("atlas.zarr", n_cells=1_000_000, n_types=60)  # doctest: +SKIP
    """
    from scrcl.engine.convert import convert_matrix

    config = validated(SimulateConfig, settings)
    name = "simulated" if config.source is None else f"simulated from {config.source.name}"
    return convert_matrix(
        _matrix(_atlas(config)),
        Path(out),
        sources=[name],
        block_rows=_BLOCK_ROWS,
        reporter=reporter,
    )


def _atlas(config: SimulateConfig) -> SimulatedAtlas:
    from scrcl.simulation import tree_atlas
    from scrcl.simulation.difficulty import Difficulty

    if config.source is not None:
        _check_invented_only(config)
        return _from_templates(config.source, config)
    return tree_atlas(
        config.n_cells,
        config.n_genes,
        config.n_types,
        config.n_samples,
        seed=config.seed,
        spatial=config.spatial,
        donors=_donors(config),
        difficulty=Difficulty(config.dropout, config.signal, config.imbalance),
    )


def _check_invented_only(config: SimulateConfig) -> None:
    """Refuse settings of invented types next to types of real cells."""
    usual = SimulateConfig()
    for name in ("signal", "imbalance"):
        value = getattr(config, name)
        if value != getattr(usual, name):
            message = (
                f"{name} must be left out with `source`, whose cells have differences and sizes of their own; got "
                f"{value:g}. Leave it out, or leave out `source`."
            )
            raise InputError(message)


def _donors(config: SimulateConfig) -> DonorSettings:
    from scrcl.simulation.donors import DonorSettings

    return DonorSettings(config.donor_effect, config.missing_types, config.own_types)


def _matrix(atlas: SimulatedAtlas) -> CellMatrix:
    from scrcl.io.matrix import CellMatrix
    from scrcl.io.rows import rows_from_reader

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


def _from_templates(source: Path, config: SimulateConfig) -> SimulatedAtlas:
    from scrcl.io.open import open_input
    from scrcl.io.stream import iter_rows
    from scrcl.simulation import template_atlas

    matrix = open_input([source], layer=config.layer)
    n_values = matrix.nnz or matrix.n_obs * matrix.n_vars
    if matrix.layout == "csc" or n_values > _MAX_TEMPLATE_VALUES:
        message = (
            f"source must be row-major and fit in memory, at most {_MAX_TEMPLATE_VALUES:,} values; got {source.name} "
            f"with {n_values:,} values ({matrix.layout}). Convert it, or use fewer cells."
        )
        raise InputError(message)
    if config.labels not in matrix.obs:
        columns = ", ".join(map(str, matrix.obs.columns)) or "none"
        message = (
            f"labels must be a column of obs; got {config.labels!r}. Columns of obs: {columns}."
        )
        raise InputError(message)
    ((_, counts),) = iter_rows(matrix.x(matrix.n_obs))
    return template_atlas(
        counts,
        matrix.obs[config.labels],
        matrix.var.index,
        config.n_cells,
        config.n_samples,
        seed=config.seed,
        spatial=config.spatial,
        donors=_donors(config),
        dropout=config.dropout,
    )
