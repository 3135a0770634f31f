"""Export of a finished run for other programs: a table of the cells, or an AnnData with X."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from scrcl._sizes import format_bytes
from scrcl._warnings import logger_of
from scrcl.engine.arguments import checked
from scrcl.engine.disk import require_new, writing
from scrcl.engine.input_again import input_of
from scrcl.engine.memory import block_rows_of
from scrcl.engine.open_run import open_run
from scrcl.errors import BudgetError, InputError, MissingDependencyError
from scrcl.maps.artifacts import LAYOUT
from scrcl.markers.ranking import for_spreadsheets
from scrcl.prep.artifacts import STATS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from anndata import AnnData

    from scrcl.engine.open_run import OpenRun
    from scrcl.io.matrix import CellMatrix

    _Read: TypeAlias = Callable[[], CellMatrix]
    """Opens the input of the run."""

__all__ = ["FORMATS", "export"]

_LOG = logger_of(__name__)

_CHECKER = "cellxgene-schema"
_SHOWN_FAULTS = 3

_COPIES = 3
"""X in memory, and while it is normalised and written."""


@checked
def export(
    out: str | Path,
    target: str | Path,
    to: str,
    *,
    data: AnnData | None = None,
    inputs: Sequence[str | Path] = (),
) -> Path:
    """Write what a finished run found for another program.

    Parameters
    ----------
    out
        Output folder of the run. It is only read.
    target
        New file, or folder for ``zarr``.
    to
        One of `FORMATS`:

        - ``csv``, ``parquet``: a row for each cell, with clusters, names, confidence, UMAP, coordinates, and
          obs of the input;
        - ``loupe-csv``: barcodes and clusters, for the import of categories in Loupe Browser;
        - ``h5ad``, ``zarr``: the result with X as in the input;
        - ``cellxgene``: h5ad with log values in X, counts in ``raw``, and the UMAP as the embedding that is shown. If
          ``cellxgene-schema`` is installed, a warning counts what the schema of CELLxGENE Discover asks for besides.
    data
        The input of the run, if that was an AnnData in memory.
    inputs
        Where the input of the run is now, if it was moved. Only formats with X read it.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    InputError
        The format is unknown, the target exists, or the run has no UMAP to show.
    BudgetError
        X is too large for the memory of the run.
    MissingDependencyError
        pyarrow is not installed, which parquet needs.

    Examples
    --------
    >>> import scrcl  # doctest: +SKIP
    >>> scrcl.export("out/", "cells.csv", to="csv")  # doctest: +SKIP
    """
    path = Path(target)
    if to not in FORMATS:
        message = f"to must be one of {', '.join(FORMATS)}; got {to!r}."
        raise InputError(message)
    require_new(path, "the target")
    run = open_run(out)
    write = FORMATS[to](run, partial(input_of, run, inputs, data))
    with writing(path) as unfinished:
        write(unfinished)
    if to == "cellxgene":
        _check_schema(path)
    return path


def _table(run: OpenRun) -> pd.DataFrame:
    """Return obs of the result with the UMAP and the coordinates of the tissue, our columns first."""
    from scrcl.io.results import read_obs, stored_coordinates

    obs = read_obs(run.result_path, whole=True)
    if run.has(LAYOUT):
        layout = np.asarray(run.open(LAYOUT))
        obs = obs.assign(umap_1=layout[:, 0], umap_2=layout[:, 1])
    coordinates = stored_coordinates(run.result_path, len(obs))
    if "spatial" in coordinates:
        for axis, values in zip("xyz", np.asarray(coordinates["spatial"]).T, strict=False):
            obs[f"spatial_{axis}"] = values
    ours = [name for name in obs if str(name).startswith(("scrcl", "umap_", "spatial_"))]
    obs = obs[[*ours, *(name for name in obs if name not in ours)]]
    return obs.rename_axis(index="cell").reset_index()


def _csv(run: OpenRun, _: _Read) -> Callable[[Path], Any]:
    table = for_spreadsheets(_as_text(_table(run)))
    return lambda path: table.to_csv(path, index=False)


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return categories as texts."""
    import pandas as pd

    categories = [n for n in table if isinstance(table[n].dtype, pd.CategoricalDtype)]
    return table.astype(dict.fromkeys(categories, object))


def _parquet(run: OpenRun, _: _Read) -> Callable[[Path], Any]:
    table = _table(run)

    def write(path: Path) -> None:
        try:
            table.to_parquet(path, index=False)
        except ImportError:
            message = (
                "parquet must have pyarrow; it is not installed. Install it, or export to csv."
            )
            raise MissingDependencyError(message) from None

    return write


def _loupe(run: OpenRun, _: _Read) -> Callable[[Path], Any]:
    table = _as_text(_table(run))
    shown = ["scrcl_name"] if "scrcl_name" in table else []
    columns = {"cell": "Barcode", "scrcl": "scrcl cluster", "scrcl_name": "scrcl name"}
    loupe = for_spreadsheets(table[["cell", "scrcl", *shown]].rename(columns=columns))
    return lambda path: loupe.to_csv(path, index=False)


def _h5ad(run: OpenRun, read: _Read) -> Callable[[Path], Any]:
    adata = _with_x(run, read)
    return lambda path: adata.write_h5ad(path, compression="gzip")


def _zarr(run: OpenRun, read: _Read) -> Callable[[Path], Any]:
    from scrcl.io.results import write_zarr

    adata = _with_x(run, read)
    return lambda path: write_zarr(adata, path)


def _cellxgene(run: OpenRun, read: _Read) -> Callable[[Path], Any]:
    from scrcl.prep.normalize import log_normalize, size_factors

    if not run.has(LAYOUT):
        message = (
            f"{run.path} must have a UMAP for cellxgene; it was made with umap.cells=0. Redo it with "
            '`umap.cells=200000, start="umap"`.'
        )
        raise InputError(message)
    adata, stats = _with_x(run, read), run.open(STATS)
    if not stats.already_log:
        adata.raw = adata.copy()
        factors = size_factors(stats.cell_counts[stats.retained])
        adata.X = log_normalize(adata.X, factors=factors)
    adata.uns["default_embedding"] = "X_umap"
    adata.uns["title"] = run.path.resolve().name
    return lambda path: adata.write_h5ad(path, compression="gzip")


def _check_schema(path: Path) -> None:
    """Report what the schema of CELLxGENE Discover asks for and the file lacks, if its checker is installed.

    The schema asks for ontology terms that only the authors of the data know. The file can be viewed without them.
    """
    checker = shutil.which(_CHECKER)
    if checker is None:
        _LOG.warning(
            "%s is not checked against the schema of CELLxGENE Discover: %s is not installed. Install it from PyPI in "
            "an environment of its own, and add that to PATH.",
            path,
            _CHECKER,
        )
        return
    # The program is found on PATH, and the path is an argument of its own.
    done = subprocess.run(  # noqa: S603
        [checker, "validate", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        _LOG.info("%s fits the schema of CELLxGENE Discover", path)
        return
    lines = (done.stderr + done.stdout).splitlines()
    faults = [line.rpartition("ERROR:")[2].strip() for line in lines if "ERROR:" in line]
    first = " ".join(faults[:_SHOWN_FAULTS]) or f"{_CHECKER} failed: {' '.join(lines[-1:])}"
    _LOG.warning(
        "%s lacks %d things that the schema of CELLxGENE Discover asks for (%s validate lists them). It can be viewed "
        "all the same. %s",
        path,
        len(faults),
        _CHECKER,
        first,
    )


def _with_x(run: OpenRun, read: _Read) -> AnnData:
    """Return the result with X of the input, in memory."""
    from scipy import sparse

    from scrcl.io.stream import iter_rows

    stats = run.open(STATS)
    needed, limit = _COPIES * 8 * stats.n_nonzero, run.config.memory
    if needed > limit:
        message = (
            f"X needs {format_bytes(needed)} to be exported; the run has {format_bytes(limit)}. "
            'Redo the run with `keep_x=True, start="report"`, which copies X in blocks.'
        )
        raise BudgetError(message)
    adata = run.to_anndata()
    if adata.X is None:
        matrix = read()
        rows = block_rows_of(stats.n_nonzero / max(matrix.n_obs, 1), matrix.n_obs)
        kept = [
            block[stats.retained[start : start + block.shape[0]]]
            for start, block in iter_rows(matrix.x(rows))
        ]
        adata.X = sparse.vstack(kept, format="csr")
    return adata


FORMATS: dict[str, Callable[[OpenRun, _Read], Callable[[Path], Any]]] = {
    "csv": _csv,
    "parquet": _parquet,
    "h5ad": _h5ad,
    "zarr": _zarr,
    "cellxgene": _cellxgene,
    "loupe-csv": _loupe,
}
"""What a run can be exported to: each prepares the data, and returns what writes them to a path."""
