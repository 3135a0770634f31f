"""Runs and predictions on an AnnData object: its results are written into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata

from scrcl.engine.annotate import write_into
from scrcl.engine.folder import read_manifest
from scrcl.engine.input_again import same_in_memory
from scrcl.engine.predict import new_cell_stages, predict_matrix
from scrcl.engine.redo import settings_to_redo
from scrcl.engine.run import run_matrix
from scrcl.engine.stages import STAGES
from scrcl.errors import InputError
from scrcl.io.open import from_anndata
from scrcl.io.transpose import Scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from anndata import AnnData

    from scrcl._progress import Reporter
    from scrcl.engine.config import RunConfig
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stage import Stage
    from scrcl.io.matrix import CellMatrix

__all__ = ["fit_anndata", "predict_anndata", "read_result"]


def fit_anndata(
    data: AnnData,
    out: Path,
    config: RunConfig,
    *,
    reporter: Reporter,
    restart: bool,
    start: str | None,
    **how: Any,
) -> AnnData:
    """Run on an object in memory or backed, write the results into it, and return it; see `scrcl.fit`."""
    config = settings_to_redo(out, config, STAGES, start=start, restart=restart, reporter=reporter)
    if start is None:
        matrix = from_anndata(data, layer=config.layer)
    else:
        matrix = same_in_memory(out, read_manifest(out), data, config.layer)
    done = run_matrix(
        _opener(data, matrix, config.layer),
        out,
        config,
        reporter=reporter,
        restart=restart,
        start=start,
        **how,
    )
    _write_result(data, matrix, done.result_path, STAGES)
    if done.named_coordinates is not None and "spatial" not in data.obsm:
        data.obsm["spatial"] = done.named_coordinates
    return data


def predict_anndata(run: OpenRun, data: AnnData, out: Path, **how: Any) -> AnnData:
    """Predict the cells of an object, write the results into it, and return it; see `scrcl.predict`."""
    layer = run.config.layer
    if layer not in (None, "raw", *data.layers):
        message = (
            f"layer must exist in the new cells; got {layer!r}, which the run read. Layers: "
            f'{", ".join(data.layers) or "none"}. Give `layer` for another, or `layer="X"` for X.'
        )
        raise InputError(message)
    matrix = from_anndata(data, layer=layer)
    done = predict_matrix(run, _opener(data, matrix, run.config.layer), out, **how)
    _write_result(data, matrix, done.result_path, new_cell_stages(run))
    return data


def _write_result(
    data: AnnData, matrix: CellMatrix, path: Path | None, stages: Sequence[Stage[Any]]
) -> None:
    result = read_result(path)
    write_into(data, result, matrix.obs.index.isin(result.obs_names), stages)


def _opener(
    adata: AnnData, matrix: CellMatrix, layer: str | None
) -> Callable[[Path | None], CellMatrix]:
    """Return what opens an object for a run. A backed matrix that is stored by genes is copied into a folder."""
    if not (adata.isbacked and matrix.layout == "csc"):
        return lambda _: matrix
    return lambda folder: from_anndata(adata, layer=layer, scratch=Scratch(folder, 64 << 20))


def read_result(path: Path | None) -> AnnData:
    """Return the result of a complete run or prediction."""
    assert path is not None, "the run has its last stage"
    return anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)
