"""The first read of a matrix: `scrcl.prep.stats.MatrixStats` from blocks of rows.

Whether values are counts or logarithms is known only at the end of the pass. A block that shows what
it holds is summed as that; one that could be either (small whole numbers) as both. Should a matrix turn
out to be neither (fractions below `MAX_LOG_VALUE` here, larger values there), it is read once more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from scrcl._compiled import compiled
from scrcl.errors import InputError
from scrcl.io.matrix import StoredRows, canonical_rows, plain_rows
from scrcl.io.stream import map_rows
from scrcl.prep.kernels import MOMENTS, WHOLE_NUMBERS, gene_moments, row_totals
from scrcl.prep.normalize import linear_values, size_factors
from scrcl.prep.stats import MAX_LOG_VALUE, CellFilter, MatrixStats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import dask.array as da

    from scrcl.io.labels import CellLabels
    from scrcl.typing import BoolArray, FloatArray, IntArray, OnRows

__all__ = ["compute_stats"]

NameOf: TypeAlias = "Callable[[int], str]"


def compute_stats(
    x: da.Array,
    *,
    keep: CellFilter | None = None,
    mito: BoolArray | None = None,
    batches: CellLabels | None = None,
    with_raw: bool = False,
    n_workers: int = 2,
    on_rows: OnRows | None = None,
    client: Any = None,
    cell_name: NameOf | None = None,
    gene_name: NameOf | None = None,
) -> MatrixStats:
    """Return the statistics of ``x`` from one read of it.

    Memory grows with ``n_obs`` by 17 bytes a cell, and by 112 bytes a gene, batch and block in flight.

    Parameters
    ----------
    x
        Row blocks of any kind that a `CellMatrix` has, shape (n_obs, n_vars). Blocks as they are
        stored (`CellMatrix.rows`) save the conversion.
    keep
        Cells to take for the genes' moments; all that have counts without it.
    mito
        Mitochondrial genes: ndarray of bool, shape (n_vars,).
    batches
        CellLabels whose moments are wanted apart.
    with_raw
        Sum what the moments of the values as they are need, too.
    client
        See `scrcl.io.stream.reduce_rows`.
    cell_name, gene_name
        Names for the error message, from a position; positions without.

    Raises
    ------
    InputError
        A value is negative, infinite or not a number; the message names the first.
    StoreError
        A block could not be read.
    """
    n_vars = x.shape[1]
    summarize = _Summarize(
        keep=keep or CellFilter(),
        mito=np.zeros(n_vars, dtype=bool) if mito is None else mito,
        codes=None if batches is None else batches.codes,
        n_batches=1 if batches is None else len(batches.names),
        with_raw=with_raw,
    )
    read = partial(map_rows, x, n_workers=n_workers, on_rows=on_rows, client=client)
    try:
        total = _Total(x.shape[0]).add_all(read(summarize))
        if total.moments is None:
            total = _Total(x.shape[0]).add_all(read(replace(summarize, as_counts=True)))
    except _FaultyValueError as fault:
        raise fault.named(cell_name, gene_name) from None
    assert total.moments is not None
    return MatrixStats(
        cell_counts=total.counts,
        cell_genes=total.genes,
        cell_mito=total.mito,
        kept=total.kept,
        batch_cells=total.batch_cells,
        sums=total.moments,
        batches=("",) if batches is None else batches.names,
        has_raw=with_raw,
        is_counts=total.is_integer,
        is_canonical=total.is_canonical,
        already_log=total.already_log,
        max_value=total.max_value,
        n_nonzero=int(total.genes.sum(dtype=np.int64)),
    )


@dataclass
class _BlockSums:
    """What a block of rows tells: totals of its cells, and sums per batch and gene.

    Of the two kinds of moments, those are None that the values show to be out of the question.
    """

    counts: FloatArray
    genes: IntArray
    mito: FloatArray
    kept: BoolArray
    batch_cells: IntArray
    as_counts: FloatArray | None
    as_log: FloatArray | None
    is_integer: bool
    max_value: float
    is_canonical: bool = True


class _Total:
    """The blocks taken together, in their order."""

    def __init__(self, n_obs: int) -> None:
        self.counts = np.zeros(n_obs)
        self.genes = np.zeros(n_obs, dtype=np.int32)
        self.mito = np.zeros(n_obs, dtype=np.float32)
        self.kept = np.zeros(n_obs, dtype=bool)
        self.batch_cells: IntArray = np.zeros(1, dtype=np.int64)
        self.is_integer, self.is_canonical, self.max_value = True, True, 0.0
        self._sums: tuple[FloatArray | None, FloatArray | None] | None = None

    def add_all(self, blocks: Iterable[tuple[int, _BlockSums]]) -> _Total:
        """Take in all blocks, each with the position of its first row; returns this."""
        for start, block in blocks:
            rows = slice(start, start + len(block.counts))
            for name in ("counts", "genes", "mito", "kept"):
                getattr(self, name)[rows] = getattr(block, name)
            self.batch_cells = self.batch_cells + block.batch_cells
            self.is_integer &= block.is_integer
            self.is_canonical &= block.is_canonical
            self.max_value = max(self.max_value, block.max_value)
            more = block.as_counts, block.as_log
            self._sums = (
                more
                if self._sums is None
                else (_sum(self._sums[0], more[0]), _sum(self._sums[1], more[1]))
            )
        return self

    @property
    def already_log(self) -> bool:
        """Whether the values can only be logarithms."""
        return not self.is_integer and self.max_value <= MAX_LOG_VALUE

    @property
    def moments(self) -> FloatArray | None:
        """Sums of what the values turned out to be; None where a block was not summed as that."""
        assert self._sums is not None
        return self._sums[self.already_log]


def _sum(total: FloatArray | None, more: FloatArray | None) -> FloatArray | None:
    return None if total is None or more is None else np.add(total, more, out=total)


@dataclass(frozen=True)
class _Summarize:
    """Maps a block of rows to its `_BlockSums`; ``as_counts`` sums every block as counts, at least."""

    keep: CellFilter
    mito: BoolArray
    codes: IntArray | None
    n_batches: int
    with_raw: bool
    as_counts: bool = False

    def of_rows(self, start: int, stop: int) -> _Summarize:
        """Return what summarizes these rows."""
        return self if self.codes is None else replace(self, codes=self.codes[start:stop])

    def __call__(self, start: int, block: Any) -> _BlockSums:
        rows = plain_rows(block)
        is_integer, largest = _check_values(rows, start)
        n_rows = len(rows.indptr) - 1
        counts, mito = np.zeros(n_rows), np.zeros(n_rows)
        ascending = compiled(row_totals)(
            rows.data, rows.indices, rows.indptr, self.mito, counts, mito
        )
        if not ascending or np.count_nonzero(rows.data) < rows.data.size:
            return replace(self(start, canonical_rows(block)), is_canonical=False)
        genes = np.diff(rows.indptr).astype(np.int32)
        share = (mito / np.maximum(counts, 1e-300)).astype(np.float32)
        kept = self.keep.keeps(counts, genes, share)
        codes = 0 if self.codes is None else self.codes
        group = np.where(kept, codes, -1)
        sums = partial(self._moments, rows, group, size_factors(counts))
        could_be_log = largest <= MAX_LOG_VALUE
        return _BlockSums(
            counts=counts,
            genes=genes,
            mito=share,
            kept=kept,
            batch_cells=np.bincount(group[kept], minlength=self.n_batches),
            as_counts=sums(False) if is_integer or not could_be_log or self.as_counts else None,
            as_log=sums(True) if could_be_log else None,
            is_integer=is_integer,
            max_value=largest,
        )

    def _moments(
        self, rows: StoredRows, group: IntArray, factors: FloatArray, already_log: bool
    ) -> FloatArray:
        n_rows = len(rows.indptr) - 1
        scales = partial(_scales, already_log=already_log)
        whole = np.broadcast_to(np.arange(WHOLE_NUMBERS, dtype=np.float32), (n_rows, WHOLE_NUMBERS))
        is_other = rows.data >= WHOLE_NUMBERS
        if rows.data.dtype.kind == "f":
            is_other |= rows.data != np.rint(rows.data)
        at = np.flatnonzero(is_other)
        of_row = np.searchsorted(rows.indptr, at, side="right") - 1
        out = np.zeros((self.n_batches, rows.n_vars, MOMENTS))
        compiled(gene_moments)(
            rows.data,
            rows.indices,
            rows.indptr,
            group,
            scales(whole, factors[:, None]),
            scales(rows.data[at].astype(np.float32), factors[of_row]),
            self.with_raw,
            out,
        )
        return out


def _scales(values: FloatArray, factors: FloatArray, *, already_log: bool) -> FloatArray:
    """Return linear values and logarithms, side by side, rounded as scanpy's are."""
    logs = values if already_log else np.log1p(values / factors)
    return np.stack([linear_values(logs), logs], axis=-1)


class _FaultyValueError(Exception):
    """A value that is negative, infinite or not a number; arguments: value, row, gene."""

    def named(self, cell_name: NameOf | None, gene_name: NameOf | None) -> InputError:
        """Return the error for people."""
        value, row, gene = self.args
        where = f"{_name('cell', row, cell_name)}, {_name('gene', gene, gene_name)}"
        if value < 0 and np.isfinite(value):
            return InputError(
                f"Values must be counts or log values, not below 0; got {value:.4g} at {where}. "
                "The matrix looks scaled: choose counts by --layer raw, or by the name of a layer "
                "of counts."
            )
        return InputError(
            f"Values must be finite; got {value} at {where}. Repair the matrix, or choose another "
            "by --layer."
        )


def _check_values(rows: StoredRows, start: int) -> tuple[bool, float]:
    """Return whether all values are whole, and the largest; raises at the first faulty one."""
    values = rows.data
    largest = float(values.max(initial=0))
    if values.dtype.kind == "u":
        return True, largest
    # A comparison with NaN is False: the two extremes show every kind of fault.
    if values.size and not (values.min() >= 0 and np.isfinite(largest)):
        at = int(np.flatnonzero(~((values >= 0) & np.isfinite(values)))[0])
        row = start + int(np.searchsorted(rows.indptr, at, side="right")) - 1
        raise _FaultyValueError(float(values[at]), row, int(rows.indices[at]))
    return bool(np.array_equal(values, np.rint(values))), largest


def _name(kind: str, position: int, name_of: NameOf | None) -> str:
    return f"{kind} {position:,}" if name_of is None else f"{kind} {name_of(position)!r}"
