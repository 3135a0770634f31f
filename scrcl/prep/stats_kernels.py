"""Compiled loops over the stored values that sum what `scrcl.prep.compute_stats` needs.

Decoding an atlas takes a few nanoseconds for each value. The loops must not take longer, so they work on
the stored dtypes and visit each value once or twice. NumPy would need many passes and large copies.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

__all__ = ["MOMENTS", "WHOLE_NUMBERS", "gene_moments", "row_evidence", "row_totals"]

MOMENTS = 7
"""Number of sums for each gene, in this order: detected cells; linear values and their squares; log values
and their squares; stored values and their squares."""

WHOLE_NUMBERS = 32
"""Logarithms of whole numbers below this are looked up. A cell has a thousand values but few distinct ones."""


def row_totals(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    marked: np.ndarray,
    totals: np.ndarray,
    of_marked: np.ndarray,
) -> bool:
    """Fill in the sum of each row and the sum of its ``marked`` genes.

    Parameters
    ----------
    data, indices, indptr
        Rows as CSR of any dtype.
    marked
        Bool, shape (n_vars,).
    totals, of_marked
        Outputs, float64, shape (n_rows,). ``of_marked`` must hold zeros.

    Returns
    -------
    bool
        Whether the columns of each row ascend strictly: the row is sorted and has no duplicates.
    """
    ascending = True
    for row in range(len(indptr) - 1):
        total, before = 0.0, np.int64(-1)
        for at in range(indptr[row], indptr[row + 1]):
            gene = np.int64(indices[at])
            if gene <= before:
                ascending = False
            before = gene
            total += data[at]
        totals[row] = total
    # A loop of its own: most inputs have no marked genes, and the lookup would slow down the first loop.
    if marked.any():
        for row in range(len(indptr) - 1):
            total = 0.0
            for at in range(indptr[row], indptr[row + 1]):
                if marked[indices[at]]:
                    total += data[at]
            of_marked[row] = total
    return ascending


def gene_moments(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    group: np.ndarray,
    known: np.ndarray,
    others: np.ndarray,
    with_squares: bool,
    out: np.ndarray,
) -> None:
    """Add the sums of `MOMENTS` for each group and gene to ``out``.

    Parameters
    ----------
    data, indices, indptr
        Rows as canonical CSR of any dtype, no value negative.
    group
        Group that each row is added to, integers, shape (n_rows,). Rows with -1 are skipped.
    known
        Linear value and logarithm of the whole numbers from 0, for each row (its size factor differs):
        float32, shape (n_rows, n_known, 2).
    others
        The same for all other values, in the order of ``data``: float32, shape (n_others, 2). It includes
        those of skipped rows.
    with_squares
        Whether to sum the squares of the stored values. This takes a tenth of the time.
    out
        float64, shape (n_groups, n_vars, MOMENTS).

    Notes
    -----
    Squares are computed in float32, as in scanpy. Sums are float64.
    """
    # The seven sums are addressed one by one. A temporary array with the sums of a gene halves the speed.
    n_known = known.shape[1]
    next_other = 0
    for row in range(len(indptr) - 1):
        if group[row] < 0:
            # A skipped row still uses up its entries of `others`.
            for at in range(indptr[row], indptr[row + 1]):
                next_other += not _is_known(data[at], n_known)
            continue
        sums, looked_up = out[group[row]], known[row]
        for at in range(indptr[row], indptr[row + 1]):
            value = data[at]
            if _is_known(value, n_known):
                linear, log = looked_up[np.int64(value), 0], looked_up[np.int64(value), 1]
            else:
                linear, log = others[next_other, 0], others[next_other, 1]
                next_other += 1
            gene = indices[at]
            sums[gene, 0] += 1.0
            sums[gene, 1] += linear
            # float32 times float32: rounded before it is added, as scanpy rounds it.
            sums[gene, 2] += linear * linear
            sums[gene, 3] += log
            sums[gene, 4] += log * log
            sums[gene, 5] += value
        if with_squares:
            # Counts of uint8 would overflow, so their squares are float64.
            for at in range(indptr[row], indptr[row + 1]):
                sums[indices[at], 6] += np.float64(data[at]) * data[at]


def row_evidence(
    data: np.ndarray,
    indptr: np.ndarray,
    rows: np.ndarray,
    factors: np.ndarray,
    most: float,
    near: float,
    largest: float,
    fewest: int,
    out: np.ndarray,
) -> None:
    """Look for traces of counts in ``rows``; `scrcl.prep.value_kind` reads them.

    Parameters
    ----------
    data, indptr
        Rows as CSR of any dtype, no value zero or negative.
    rows
        Positions of rows, none empty.
    factors
        Factors that turn logarithms to several bases into natural ones.
    most
        Rows with a larger value are not tried as logarithms.
    near, largest, fewest
        A row has a unit if all of its multiples up to ``largest`` are ``near`` whole numbers, and at least ``fewest``
        of them exceed 1.
    out
        float64, shape (n_rows, 5 + n_factors), zeros: whether all values are whole, the largest value, the total,
        1 where the values have a unit or a fifth of them is whole, the number of the first factor (from 1) with which
        ``expm1`` of the values has a unit, and the totals of ``expm1`` for each factor. Instead of these two, 0 is no
        unit, and -1 too few values to see one.
    """
    for i in range(len(rows)):
        values = data[indptr[rows[i]] : indptr[rows[i] + 1]].astype(np.float64)
        n_whole = 0
        for value in values:
            n_whole += value == np.rint(value)
        out[i, 0] = n_whole == len(values)
        out[i, 1] = values.max()
        out[i, 2] = values.sum()
        if out[i, 0] or out[i, 1] > most:
            continue
        out[i, 3] = _has_unit(values, near, largest, fewest)
        out[i, 4] = -1
        for j in range(len(factors)):
            linear = np.expm1(values * factors[j])
            out[i, 5 + j] = linear.sum()
            if out[i, 4] <= 0:
                found = _has_unit(linear, near, largest, fewest)
                out[i, 4] = j + 1 if found == 1 else max(out[i, 4], found)
        if out[i, 4] <= 0 and 5 * n_whole >= len(values):
            out[i, 3] = 1


@register_jitable  # type: ignore[untyped-decorator, unused-ignore]
def _has_unit(values: np.ndarray, near: float, largest: float, fewest: int) -> int:
    """Return 1 if the values are whole multiples of the smallest, 0 if not, and -1 if too few are between the two."""
    unit, n_more, n_off = values.min(), 0, 0
    for value in values:
        multiple = value / unit
        if multiple > largest:
            continue
        n_more += multiple > 1.5
        n_off += abs(multiple - np.rint(multiple)) > near
    return -1 if n_more < fewest else int(20 * n_off <= n_more)


@register_jitable  # type: ignore[untyped-decorator, unused-ignore]
def _is_known(value: float, n_known: int) -> bool:
    return value < n_known and np.int64(value) == value
