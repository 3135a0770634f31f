"""What one pass over the rows tells: totals per cell, moments per gene, and what the values are.

Whether values are counts or logarithms is known only at the end of the pass, so both sets of
moments are gathered: of the normalised counts, and of the values taken as logarithms. The second is
given up as soon as a value shows that the matrix cannot hold logarithms.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._atomic import write_json
from scrcl.errors import InputError, StoreError
from scrcl.io.normalize import linear_values, log_normalize, row_sums, size_factors, sum_by
from scrcl.io.stream import reduce_rows

if TYPE_CHECKING:
    from pathlib import Path

    import dask.array as da
    import pandas as pd

    from scrcl.typing import Csr, FloatArray, IntArray, OnRows

__all__ = ["MAX_LOG_VALUE", "MatrixStats", "compute_stats"]

MAX_LOG_VALUE = 20.0
"""No logarithm of a count exceeds this; values that are no integers and stay below it are logs."""


@dataclass(frozen=True)
class MatrixStats:
    """Totals per cell and gene of a matrix of counts or of log values.

    Parameters
    ----------
    cell_counts
        Sum of each cell's values, float64, shape (n_obs,).
    cell_genes
        Genes that each cell has, int32, shape (n_obs,).
    gene_cells
        Cells that have each gene, int64, shape (n_vars,).
    gene_counts
        Sum of each gene's values, float64, shape (n_vars,).
    gene_mean, gene_var
        Mean and variance (divisor n - 1) of the normalised values, not of their logarithms, over
        the cells that have counts: float64, shape (n_vars,).
    is_counts
        All values are integers.
    already_log
        The values are logarithms: not integers, and none above `MAX_LOG_VALUE`.
    max_value
        The largest value.
    n_nonzero
        Values other than zero.
    """

    cell_counts: FloatArray
    cell_genes: IntArray
    gene_cells: IntArray
    gene_counts: FloatArray
    gene_mean: FloatArray
    gene_var: FloatArray
    is_counts: bool
    already_log: bool
    max_value: float
    n_nonzero: int

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
            for name in cls.__dataclass_fields__.keys() - values.keys():
                values[name] = np.load(folder / f"{name}.npy")
        except (OSError, ValueError) as error:
            msg = f"{folder} must hold matrix statistics; got {error}. Compute them again."
            raise StoreError(msg) from error
        return cls(**values)


def compute_stats(
    x: da.Array,
    *,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
    cell_names: pd.Index | None = None,
    gene_names: pd.Index | None = None,
) -> MatrixStats:
    """Return the statistics of ``x`` from one read of it.

    Memory grows with ``n_obs`` by 12 bytes a cell, and by 80 bytes a gene and worker.

    Parameters
    ----------
    x
        Row blocks of CSR float32, shape (n_obs, n_vars).
    cell_names, gene_names
        Names for the error message; positions without.

    Raises
    ------
    InputError
        A value is negative, infinite or not a number; the message names the first.
    StoreError
        A block could not be read.
    """
    n_obs = x.shape[0]
    cell_counts = np.zeros(n_obs)
    cell_genes = np.zeros(n_obs, dtype=np.int32)

    def summarize(start: int, block: Csr) -> _Sums:
        _check_values(block, start, cell_names, gene_names)
        sums = row_sums(block)
        rows = slice(start, start + block.shape[0])
        cell_counts[rows] = sums
        cell_genes[rows] = np.diff(block.indptr)
        return _sum_genes(block, sums)

    total = reduce_rows(x, summarize, _Sums.add, n_workers=n_workers, on_rows=on_rows)
    already_log = not total.is_integer and total.max_value <= MAX_LOG_VALUE
    sums = total.as_log if already_log else total.as_counts
    assert sums is not None
    mean, var = _mean_var(sums, int(np.count_nonzero(cell_counts)))
    return MatrixStats(
        cell_counts=cell_counts,
        cell_genes=cell_genes,
        gene_cells=total.cells.astype(np.int64, copy=False),
        gene_counts=total.counts,
        gene_mean=mean,
        gene_var=var,
        is_counts=total.is_integer,
        already_log=already_log,
        max_value=total.max_value,
        n_nonzero=int(cell_genes.sum(dtype=np.int64)),
    )


@dataclass
class _Sums:
    """Sums per gene over some rows; ``as_log`` is None once the values cannot be logarithms."""

    cells: IntArray
    counts: FloatArray
    as_counts: FloatArray
    as_log: FloatArray | None
    is_integer: bool
    max_value: float

    def add(self, other: _Sums) -> _Sums:
        """Add the sums of further rows to these and return them."""
        self.cells += other.cells
        self.counts += other.counts
        self.as_counts += other.as_counts
        if self.as_log is not None:
            self.as_log = None if other.as_log is None else self.as_log + other.as_log
        self.is_integer &= other.is_integer
        self.max_value = max(self.max_value, other.max_value)
        return self


def _sum_genes(block: Csr, cell_sums: FloatArray) -> _Sums:
    """Return the sums of one block, whose values have been checked."""
    n_vars = block.shape[1]
    genes = block.indices.astype(np.intp)  # bincount would convert them at each call
    max_value = float(block.data.max(initial=0.0))
    logs = log_normalize(block, already_log=False, factors=size_factors(cell_sums)).data
    return _Sums(
        cells=np.bincount(genes, minlength=n_vars),
        counts=sum_by(genes, block.data, n_vars),
        as_counts=_first_two_moments(genes, linear_values(logs), n_vars),
        as_log=_first_two_moments(genes, linear_values(block.data), n_vars)
        if max_value <= MAX_LOG_VALUE
        else None,
        is_integer=np.array_equal(block.data, np.rint(block.data)),
        max_value=max_value,
    )


def _first_two_moments(genes: IntArray, values: FloatArray, n_vars: int) -> FloatArray:
    """Return sums of values and of squares per gene: ndarray of float64, shape (2, n_vars)."""
    # Squares in float32, sums in float64: what scanpy does.
    return np.stack([sum_by(genes, values, n_vars), sum_by(genes, values * values, n_vars)])


def _mean_var(sums: FloatArray, n_cells: int) -> tuple[FloatArray, FloatArray]:
    """Return mean and unbiased variance per gene from the sums over ``n_cells`` cells."""
    mean, mean_square = sums / max(n_cells, 1)
    # The squares are rounded to float32, so a gene that does not vary can come out below 0.
    var = np.maximum(mean_square - mean**2, 0)
    return mean, var * (n_cells / max(n_cells - 1, 1))


def _check_values(
    block: Csr, start: int, cell_names: pd.Index | None, gene_names: pd.Index | None
) -> None:
    """Raise InputError on the first value that is negative, infinite or not a number."""
    values = block.data
    # A comparison with NaN is False: the two extremes show every kind of fault.
    if not values.size or (values.min() >= 0 and np.isfinite(values.max())):
        return
    at = int(np.flatnonzero(~((values >= 0) & np.isfinite(values)))[0])
    row = start + int(np.searchsorted(block.indptr, at, side="right")) - 1
    gene = int(block.indices[at])
    where = f"{_name('cell', row, cell_names)}, {_name('gene', gene, gene_names)}"
    if values[at] < 0 and np.isfinite(values[at]):
        msg = (
            f"Values must be counts or log values, not below 0; got {values[at]:.4g} at {where}. "
            "The matrix looks scaled: choose counts by --layer raw, or by the name of a layer of "
            "counts."
        )
    else:
        msg = (
            f"Values must be finite; got {values[at]} at {where}. Repair the matrix, or choose "
            "another by --layer."
        )
    raise InputError(msg)


def _name(kind: str, position: int, names: pd.Index | None) -> str:
    return f"{kind} {position:,}" if names is None else f"{kind} {names[position]!r}"
