"""What is known of a matrix after one read: totals per cell, moments per gene, what the values are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from scrcl._atomic import write_json
from scrcl.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["MAX_LOG_VALUE", "CellFilter", "MatrixStats", "Scale"]

MAX_LOG_VALUE = 20.0
"""No logarithm of a count exceeds this; values that are no integers and stay below it are logs."""

Scale: TypeAlias = Literal["raw", "linear", "log"]
"""Values as they are; normalised; logarithms of these."""

_PLAIN = {"linear": 1, "log": 3, "raw": 5}


@dataclass(frozen=True)
class CellFilter:
    """Which cells are kept; those without counts never are.

    Parameters
    ----------
    min_genes
        Fewest genes that a cell has.
    max_counts
        Largest sum of a cell's values.
    max_mito
        Largest share of a cell's values in mitochondrial genes, 0 to 1.
    """

    min_genes: int = 0
    max_counts: float = np.inf
    max_mito: float = 1.0

    def keeps(self, counts: FloatArray, genes: IntArray, mito: FloatArray) -> BoolArray:
        """Return which cells pass: ndarray of bool, of the shape of the arguments."""
        passed: BoolArray = (
            (counts > 0)
            & (genes >= self.min_genes)
            & (counts <= self.max_counts)
            & (mito <= self.max_mito)
        )
        return passed


@dataclass(frozen=True)
class MatrixStats:
    """Totals per cell and gene of a matrix of counts or of log values.

    Parameters
    ----------
    cell_counts
        Sum of each cell's values, float64, shape (n_obs,).
    cell_genes
        Genes that each cell has, int32, shape (n_obs,).
    cell_mito
        Share of each cell's values in mitochondrial genes, float32, shape (n_obs,).
    kept
        Cells that pass the filter, bool, shape (n_obs,); what follows is of these alone.
    batch_cells
        Cells of each batch, int64, shape (n_batches,); one batch where none were told apart.
    sums
        Sums per batch and gene (`scrcl.prep.kernels.MOMENTS`), float64, shape (n_batches, n_vars, 7).
    batches
        Names of the batches.
    has_raw
        The squares of the values as they are were summed too.
    is_counts
        All values are integers.
    is_canonical
        The rows lie in the store as CSR rows should: columns ascend, none twice, no zeros.
    already_log
        The values are logarithms: not integers, and none above `MAX_LOG_VALUE`.
    max_value
        The largest value.
    n_nonzero
        Values other than zero, of all cells.
    """

    cell_counts: FloatArray
    cell_genes: IntArray
    cell_mito: FloatArray
    kept: BoolArray
    batch_cells: IntArray
    sums: FloatArray
    batches: tuple[str, ...]
    has_raw: bool
    is_counts: bool
    is_canonical: bool
    already_log: bool
    max_value: float
    n_nonzero: int

    @property
    def gene_cells(self) -> IntArray:
        """Kept cells that have each gene: int64, shape (n_vars,)."""
        cells: IntArray = self.batch_gene_cells.sum(axis=0)
        return cells

    @property
    def gene_counts(self) -> FloatArray:
        """Sum of each gene's values: float64, shape (n_vars,)."""
        counts: FloatArray = self.sums[:, :, _PLAIN["raw"]].sum(axis=0)
        return counts

    @property
    def batch_gene_cells(self) -> IntArray:
        """Kept cells of each batch that have each gene: int64, shape (n_batches, n_vars)."""
        return np.rint(self.sums[:, :, 0]).astype(np.int64)

    def moments(self, scale: Scale, batch: int | None = None) -> tuple[FloatArray, FloatArray]:
        """Return mean and variance (divisor n - 1) per gene: two of float64, shape (n_vars,).

        Over the kept cells, or those of one batch; raw ones where they were asked for. Values are
        rounded to float32 before they are summed, as scanpy's are, so a gene that does not vary may
        come out a little above 0.
        """
        assert scale != "raw" or self.has_raw
        at = _PLAIN[scale]
        batches = slice(None) if batch is None else slice(batch, batch + 1)
        n_cells = int(self.batch_cells[batches].sum())
        sums = self.sums[batches].sum(axis=0)
        mean, mean_square = sums[:, at] / max(n_cells, 1), sums[:, at + 1] / max(n_cells, 1)
        var = np.maximum(mean_square - mean**2, 0)
        return mean, var * (n_cells / max(n_cells - 1, 1))

    def save(self, folder: Path) -> None:
        """Write the arrays as ``.npy`` files and the rest as ``stats.json`` into ``folder``."""
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
            for name in cls.__dataclass_fields__.keys() - values.keys():
                values[name] = np.load(folder / f"{name}.npy")
        except (OSError, ValueError, KeyError) as error:
            msg = f"{folder} must hold matrix statistics; got {error}. Compute them again."
            raise StoreError(msg) from error
        return cls(**values)
