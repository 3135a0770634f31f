"""Compute `scrcl.prep.stats.MatrixStats` from one read of a matrix.

Counts must be normalised before they are summed; log values must not. Which of the two a matrix holds is
certain only after all blocks were read:

- A block with a value above `MAX_LOG_VALUE` holds counts and is summed as counts.
- A block with smaller fractional values is summed as what these look like (`scrcl.prep.value_kind`).
- A block of small whole numbers may be either and is summed both ways.

If a block was summed another way than all blocks together ask for, the matrix is read a second time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from scrcl._compiled import compiled
from scrcl.errors import InputError
from scrcl.io.rows import StoredRows, canonical_rows, plain_rows
from scrcl.io.stream import Reading, map_rows
from scrcl.prep.normalize import linear_values, size_factors
from scrcl.prep.stats import CellFilter, MatrixStats
from scrcl.prep.stats_kernels import MOMENTS, WHOLE_NUMBERS, gene_moments, row_totals
from scrcl.prep.value_kind import (
    MAX_LOG_VALUE,
    ValueKind,
    evidence_of_rows,
    sampled_rows,
    value_kind,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import dask.array as da

    from scrcl.io.labels import CellLabels
    from scrcl.typing import BoolArray, FloatArray, IntArray

__all__ = ["compute_stats"]

_NameOf: TypeAlias = "Callable[[int], str]"


def compute_stats(
    x: da.Array,
    *,
    keep: CellFilter | None = None,
    mito: BoolArray | None = None,
    batches: CellLabels | None = None,
    with_raw: bool = False,
    already_log: bool | None = None,
    guess: bool | None = None,
    reading: Reading = Reading(),
    cell_name: _NameOf | None = None,
    gene_name: _NameOf | None = None,
    other_layers: Sequence[str] = (),
) -> MatrixStats:
    """Return the statistics of ``x`` from one read.

    Memory: 17 bytes for each cell, and 112 bytes for each gene and batch in each loaded block.

    Parameters
    ----------
    x
        Row blocks of a `CellMatrix`, shape (n_obs, n_vars). Blocks as stored (`CellMatrix.rows`) need no
        conversion.
    keep
        Limits for the cells that enter the moments of the genes. The default retains all with counts.
    mito
        Mitochondrial genes: ndarray of bool, shape (n_vars,).
    batches
        Batch of each cell. Moments are summed for each batch.
    with_raw
        Also sum the squares of the stored values, which `MatrixStats.moments` needs for ``"raw"``.
    already_log
        Whether the values are logarithms; None finds out.
    guess
        The same where the values do not show it clearly; None takes what is more likely.
    cell_name, gene_name
        Return the name of a cell or gene at a position, for the error message. Without them the message
        gives positions.
    other_layers
        Names of other matrices of the input, for the advice where this one does not hold counts.

    Raises
    ------
    InputError
        A value is negative, infinite or NaN. The message names the first. Or some cells hold logarithms, and others
        counts.
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
        n_obs=x.shape[0],
        already_log=already_log,
    )
    read = partial(map_rows, x, reading=reading)
    try:
        total = _Total(x.shape[0]).add_all(read(summarize))
        kind = total.kind(guess) if already_log is None else ValueKind(already_log)
        is_log = kind.already_log
        if total.moments(is_log) is None:
            total = _Total(x.shape[0]).add_all(read(replace(summarize, already_log=is_log)))
    except _FaultyValueError as fault:
        raise fault.named(cell_name, gene_name, other_layers) from None
    moments = total.moments(is_log)
    assert moments is not None
    return MatrixStats(
        cell_counts=total.counts,
        cell_genes=total.genes,
        cell_mito=total.mito,
        retained=total.retained,
        cells_per_batch=total.cells_per_batch,
        sums=moments,
        batches=("",) if batches is None else batches.names,
        has_raw=with_raw,
        is_counts=total.is_integer,
        is_canonical=total.is_canonical,
        already_log=is_log,
        max_value=total.max_value,
        n_nonzero=int(total.genes.sum(dtype=np.int64)),
        to_natural=kind.to_natural,
    )


@dataclass
class _BlockSums:
    """Statistics of a block of rows.

    ``as_counts`` and ``as_log`` are the sums for each batch and gene under the two assumptions. A sum is None
    where the values of the block rule the assumption out.
    """

    counts: FloatArray
    genes: IntArray
    mito: FloatArray
    retained: BoolArray
    cells_per_batch: IntArray
    as_counts: FloatArray | None
    as_log: FloatArray | None
    is_integer: bool
    max_value: float
    evidence: FloatArray
    is_canonical: bool = True


class _Total:
    """Statistics of all blocks so far, in the order of the rows."""

    def __init__(self, n_obs: int) -> None:
        self.counts = np.zeros(n_obs)
        self.genes = np.zeros(n_obs, dtype=np.int32)
        self.mito = np.zeros(n_obs, dtype=np.float32)
        self.retained = np.zeros(n_obs, dtype=bool)
        self.cells_per_batch: IntArray = np.zeros(1, dtype=np.int64)
        self.is_integer, self.is_canonical, self.max_value = True, True, 0.0
        self._evidence: list[FloatArray] = []
        self._sums: tuple[FloatArray | None, FloatArray | None] | None = None

    def add_all(self, blocks: Iterable[tuple[int, _BlockSums]]) -> _Total:
        """Add all ``(first_row, block)`` and return this object."""
        for start, block in blocks:
            rows = slice(start, start + len(block.counts))
            for name in ("counts", "genes", "mito", "retained"):
                getattr(self, name)[rows] = getattr(block, name)
            self.cells_per_batch = self.cells_per_batch + block.cells_per_batch
            self.is_integer &= block.is_integer
            self.is_canonical &= block.is_canonical
            self.max_value = max(self.max_value, block.max_value)
            self._evidence.append(block.evidence)
            more = block.as_counts, block.as_log
            self._sums = (
                more
                if self._sums is None
                else (_sum(self._sums[0], more[0]), _sum(self._sums[1], more[1]))
            )
        return self

    def kind(self, guess: bool | None) -> ValueKind:
        """Return what the values are; ``guess`` decides where they do not show it.

        Raises
        ------
        InputError
            Some cells hold logarithms, and others counts.
        """
        kind = value_kind(np.concatenate(self._evidence))
        if kind.is_mixed:
            message = (
                "Values must be of one kind in all cells; got log values in some cells and counts in others. "
                "Choose a layer of counts by `layer`, or convert one kind. To take all values for one kind, "
                "give `features.values`."
            )
            raise InputError(message)
        if self.is_integer or self.max_value > MAX_LOG_VALUE:
            return ValueKind(already_log=False)
        return kind if guess is None or kind.is_clear else replace(kind, already_log=guess)

    def moments(self, already_log: bool) -> FloatArray | None:
        """Return the sums under one assumption; None if a block was not summed that way."""
        assert self._sums is not None
        return self._sums[already_log]


def _sum(total: FloatArray | None, more: FloatArray | None) -> FloatArray | None:
    return None if total is None or more is None else np.add(total, more, out=total)


@dataclass(frozen=True)
class _Summarize:
    """Maps a block of rows to its `_BlockSums`. ``already_log`` says what all blocks hold; None looks at each."""

    keep: CellFilter
    mito: BoolArray
    codes: IntArray | None
    n_batches: int
    with_raw: bool
    n_obs: int
    already_log: bool | None = None

    def of_rows(self, start: int, stop: int) -> _Summarize:
        """Return the mapper of these rows, with only their batch codes."""
        return self if self.codes is None else replace(self, codes=self.codes[start:stop])

    def __call__(self, start: int, block: Any) -> _BlockSums:
        rows = plain_rows(block)
        is_integer, largest = _check_values(rows, start)
        n_rows = len(rows.indptr) - 1
        counts, mito = np.zeros(n_rows), np.zeros(n_rows)
        ascending = compiled(row_totals)(
            rows.data, rows.indices, rows.indptr, self.mito, counts, mito
        )
        # Rare, and slow to repair: only then convert the block and start again.
        if not ascending or np.count_nonzero(rows.data) < rows.data.size:
            return replace(self(start, canonical_rows(block)), is_canonical=False)
        genes = np.diff(rows.indptr).astype(np.int32)
        share = (mito / np.maximum(counts, 1e-300)).astype(np.float32)
        retained = self.keep.passes(counts, genes, share)
        codes = 0 if self.codes is None else self.codes
        group = np.where(retained, codes, -1)
        sums = partial(self._moments, rows, group, size_factors(counts))
        evidence = evidence_of_rows(rows.data, rows.indptr, sampled_rows(start, n_rows, self.n_obs))
        as_counts, as_log = self._assumptions(evidence, is_integer, largest)
        return _BlockSums(
            counts=counts,
            genes=genes,
            mito=share,
            retained=retained,
            cells_per_batch=np.bincount(group[retained], minlength=self.n_batches),
            as_counts=sums(False) if as_counts else None,
            as_log=sums(True) if as_log else None,
            is_integer=is_integer,
            max_value=largest,
            evidence=evidence,
        )

    def _assumptions(
        self, evidence: FloatArray, is_integer: bool, largest: float
    ) -> tuple[bool, bool]:
        """Return whether a block is summed as counts, and whether as logarithms."""
        if self.already_log is not None:
            return not self.already_log, self.already_log
        if largest > MAX_LOG_VALUE:
            return True, False
        if is_integer:
            return True, True
        is_log = value_kind(evidence).already_log
        return not is_log, is_log

    def _moments(
        self, rows: StoredRows, group: IntArray, factors: FloatArray, already_log: bool
    ) -> FloatArray:
        """Return the sums for each batch and gene: float64, shape (n_batches, n_vars, MOMENTS).

        Logarithms cost more than all else. Those of small whole numbers, which are most counts, are computed
        once for each row; only the other values are transformed one by one.
        """
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
    """Return linear values and logarithms on a new last axis, in float32 as scanpy computes them."""
    logs = values if already_log else np.log1p(values / factors)
    return np.stack([linear_values(logs), logs], axis=-1)


class _FaultyValueError(Exception):
    """A value is negative, infinite or NaN. Arguments: value, row, gene."""

    def named(
        self, cell_name: _NameOf | None, gene_name: _NameOf | None, layers: Sequence[str]
    ) -> InputError:
        """Return the error for the user."""
        value, row, gene = self.args
        where = f"{_name('cell', row, cell_name)}, {_name('gene', gene, gene_name)}"
        if value < 0 and np.isfinite(value):
            cause = (
                "Counts may have been stored in a type that is too small for them, such as int8"
                if value == round(value)
                else "The matrix looks scaled or corrected"
            )
            message = (
                f"Values must be counts or log values, not below 0; got {value:.4g} at {where}. "
                f"{cause}: {_advice(layers)}."
            )
        else:
            message = f"Values must be finite; got {value} at {where}. Repair the matrix" + (
                f", or {_advice(layers)}." if layers else "."
            )
        return InputError(message)


def _advice(layers: Sequence[str]) -> str:
    if not layers:
        return "give a file of counts or log values, as this one has no other layer"
    return f"choose one of counts or log values with `layer` ({', '.join(layers)})"


def _check_values(rows: StoredRows, start: int) -> tuple[bool, float]:
    """Return whether all values are whole numbers, and the largest. Raises at the first faulty value."""
    values = rows.data
    largest = float(values.max(initial=0))
    if values.dtype.kind == "u":
        return True, largest
    # Comparisons with NaN are False, so the two extremes reveal every kind of fault.
    if values.size and not (values.min() >= 0 and np.isfinite(largest)):
        at = int(np.flatnonzero(~((values >= 0) & np.isfinite(values)))[0])
        row = start + int(np.searchsorted(rows.indptr, at, side="right")) - 1
        raise _FaultyValueError(float(values[at]), row, int(rows.indices[at]))
    return bool(np.array_equal(values, np.rint(values))), largest


def _name(kind: str, position: int, name_of: _NameOf | None) -> str:
    return f"{kind} {position:,}" if name_of is None else f"{kind} {name_of(position)!r}"
