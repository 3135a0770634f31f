"""Sets of cells with known labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from anndata import AnnData

__all__ = [
    "LABELS",
    "Labelled",
    "batch_column",
    "counted",
    "has_counts",
    "labelled_files",
    "read_counted",
    "read_labelled",
]

LABELS = "cell_type"
"""The column of ``obs`` with the labels."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A set of cells, its labels, and whether it has coordinates."""

    path: Path
    labels: Any
    """shape (n_cells,)"""
    spatial: bool

    @property
    def name(self) -> str:
        """Name of the file, without its suffix."""
        return self.path.stem

    @property
    def n_cells(self) -> int:
        """Number of cells in the file."""
        return len(self.labels)

    @property
    def k(self) -> int:
        """Number of classes."""
        return len(set(self.labels))


def read_labelled(path: Path) -> Labelled:
    """Read the labels of a ``.h5ad`` file or a ``.zarr`` store."""
    import anndata

    if path.suffix == ".zarr":
        cells = anndata.read_zarr(path)
        return Labelled(path, cells.obs[LABELS].to_numpy(), "spatial" in cells.obsm)
    cells = anndata.read_h5ad(path, backed="r")
    labels, spatial = cells.obs[LABELS].to_numpy(), "spatial" in cells.obsm
    cells.file.close()
    return Labelled(path, labels, spatial)


def has_counts(path: Path) -> Any:
    """Return which cells of a ``.h5ad`` file have any count: bool, shape (n_cells,)."""
    import anndata

    cells = anndata.read_h5ad(path, backed="r")
    has_any = np.asarray(cells.X[:].sum(axis=1)).ravel() > 0
    cells.file.close()
    return has_any


def read_counted(path: Path) -> AnnData:
    """Return the cells of a ``.h5ad`` file that have any count."""
    import anndata

    return counted(anndata.read_h5ad(path))


def counted(cells: AnnData) -> AnnData:
    """Return the cells that have any count."""
    return cells[np.asarray(cells.X.sum(axis=1)).ravel() > 0].copy()


def batch_column(cells: AnnData, columns: Sequence[str]) -> str | None:
    """Return the first of the columns that obs has, if it has batches."""
    for column in columns:
        if column in cells.obs:
            return column if 1 < cells.obs[column].nunique() < cells.n_obs else None
    return None


def labelled_files(
    folder: Path, names: Iterable[str] = ("",), *, spatial: bool | None = None
) -> list[Path]:
    """Return the ``.h5ad`` files of a folder, in the order of their names.

    Parameters
    ----------
    folder
        Where they are.
    names
        Parts of names; a file is taken if its name contains one of them.
    spatial
        Take only files with coordinates (True) or without them (False); all where None.

    Raises
    ------
    SystemExit
        No file fits.
    """
    found = [
        path for path in sorted(folder.glob("*.h5ad")) if any(part in path.stem for part in names)
    ]
    if spatial is not None:
        found = [path for path in found if read_labelled(path).spatial is spatial]
    if not found:
        message = f"--data must hold .h5ad files that fit --sets ({','.join(names)}); got {folder}."
        raise SystemExit(message)
    return found
