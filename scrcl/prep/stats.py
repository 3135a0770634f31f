"""Statistics of a matrix: totals of each cell, and moments of each gene and batch."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from scrcl._atomic import write_json
from scrcl.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["CellFilter", "MatrixStats", "Scale"]

Scale: TypeAlias = Literal["raw", "linear", "log"]
"""Values as stored, normalised values, or logarithms of the normalised values."""

# Column of the plain sums in `MatrixStats.sums`. The sums of squares follow in the next column.
_SUMS_OF = {"linear": 1, "log": 3, "raw": 5}


@dataclass(frozen=True)
class CellFilter:
    """Limits that a cell must meet to be retained. Cells without counts are never retained.

    Parameters
    ----------
    min_genes
        Smallest number of detected genes.
    max_counts
        Largest sum of a cell's values.
    max_mito
        Largest share of a cell's values in mitochondrial genes, from 0 to 1.
    """

    min_genes: int = 0
    max_counts: float = np.inf
    max_mito: float = 1.0

    def passes(self, counts: FloatArray, genes: IntArray, mito: FloatArray) -> BoolArray:
        """Return which cells pass: ndarray of bool, with the shape of the arguments.

        Parameters
        ----------
        counts, genes, mito
            Sum, number of detected genes and mitochondrial share of each cell.
        """
        passed: BoolArray = (
            (counts > 0)
            & (genes >= self.min_genes)
            & (counts <= self.max_counts)
            & (mito <= self.max_mito)
        )
        return passed


@dataclass(frozen=True)
class MatrixStats:
    """Totals of each cell and moments of each gene, for a matrix of counts or of log values.

    Parameters
    ----------
    cell_counts
        Sum of each cell's values, float64, shape (n_obs,).
    cell_genes
        Number of genes detected in each cell, int32, shape (n_obs,).
    cell_mito
        Share of each cell's values in mitochondrial genes, float32, shape (n_obs,).
    retained
        Cells that pass the filter, bool, shape (n_obs,). The sums below cover only these cells.
    cells_per_batch
        Retained cells of each batch, int64, shape (n_batches,). Without batches there is one entry.
    sums
        Sums for each batch and gene, float64, shape (n_batches, n_vars, 7). The last axis is described by
        `scrcl.prep.stats_kernels.MOMENTS`.
    batches
        Names of the batches.
    has_raw
        Whether the squares of the stored values were summed too.
    is_counts
        Whether all values are integers.
    is_canonical
        Whether the stored rows are in canonical order: ascending columns, no duplicates, no stored zeros.
    already_log
        Whether the values are logarithms, as found (`scrcl.prep.value_kind`) or as asked.
    max_value
        The largest value.
    n_nonzero
        Number of nonzero values in all cells.
    to_natural
        What would turn logarithms into natural ones: other than 1 only where they clearly have another base.
    """

    cell_counts: FloatArray
    cell_genes: IntArray
    cell_mito: FloatArray
    retained: BoolArray
    cells_per_batch: IntArray
    sums: FloatArray
    batches: tuple[str, ...]
    has_raw: bool
    is_counts: bool
    is_canonical: bool
    already_log: bool
    max_value: float
    n_nonzero: int
    to_natural: float = 1.0

    @property
    def gene_cells(self) -> IntArray:
        """Number of retained cells in which each gene is detected: int64, shape (n_vars,)."""
        cells: IntArray = self.batch_gene_cells.sum(axis=0)
        return cells

    @property
    def gene_counts(self) -> FloatArray:
        """Sum of each gene's values over the retained cells: float64, shape (n_vars,)."""
        counts: FloatArray = self.sums[:, :, _SUMS_OF["raw"]].sum(axis=0)
        return counts

    @property
    def batch_gene_cells(self) -> IntArray:
        """Like `gene_cells`, for each batch: int64, shape (n_batches, n_vars)."""
        return np.rint(self.sums[:, :, 0]).astype(np.int64)

    def of_all_rows(self, codes: IntArray) -> NDArray[np.int32]:
        """Return codes of the retained cells for all rows of the input, -1 for the others: shape (n_obs,)."""
        whole = np.full(len(self.retained), -1, np.int32)
        whole[self.retained] = codes
        return whole

    def moments(self, scale: Scale, batch: int | None = None) -> tuple[FloatArray, FloatArray]:
        """Return mean and variance (divisor n - 1) of each gene: two of float64, shape (n_vars,).

        The moments cover all retained cells, or those of one batch. Values are rounded to float32 before
        they are summed, as in scanpy, so a constant gene may have a variance slightly above 0.

        Parameters
        ----------
        scale
            ``"raw"`` needs `has_raw`.
        batch
            Position of the batch; None for all cells.
        """
        assert scale != "raw" or self.has_raw
        column = _SUMS_OF[scale]
        batches = slice(None) if batch is None else slice(batch, batch + 1)
        n_cells = int(self.cells_per_batch[batches].sum())
        sums = self.sums[batches].sum(axis=0)
        mean = sums[:, column] / max(n_cells, 1)
        mean_square = sums[:, column + 1] / max(n_cells, 1)
        var = np.maximum(mean_square - mean**2, 0)
        return mean, var * (n_cells / max(n_cells - 1, 1))

    def save(self, folder: Path) -> None:
        """Write the arrays as ``.npy`` files and everything else as ``stats.json`` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        scalars = {}
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                np.save(folder / f"{name}.npy", value)
            else:
                scalars[name] = value
        write_json(folder / "stats.json", scalars)

    @classmethod
    def load(cls, folder: Path) -> MatrixStats:
        """Read what `save` wrote.

        Raises
        ------
        StoreError
            A file is missing or damaged.
        """
        try:
            values: dict[str, Any] = json.loads((folder / "stats.json").read_text("utf-8"))
            values["batches"] = tuple(values["batches"])
            for field in fields(cls):
                # Folders of earlier versions lack what has a default.
                if field.name not in values and field.default is MISSING:
                    values[field.name] = np.load(folder / f"{field.name}.npy")
        except Exception as error:
            message = (
                f"{folder} must hold matrix statistics; got {error}. "
                "Delete that folder, and repeat the command that made it."
            )
            raise StoreError(message) from error
        return cls(**values)
