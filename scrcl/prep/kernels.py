"""The loops of the statistics, for `scrcl._compiled`: NumPy could only do them in many passes.

A pass over an atlas has a few nanoseconds a value before it costs more than decoding does, so these
work on the dtypes that are stored.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

__all__ = ["MOMENTS", "WHOLE_NUMBERS", "gene_moments", "row_totals"]

MOMENTS = 7
"""Sums per gene: cells, linear and log values, each plain and squared; values, and their squares."""

WHOLE_NUMBERS = 32
"""Counts below it have their logarithm looked up: a cell has a thousand values and few different ones."""


def row_totals(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    marked: np.ndarray,
    totals: np.ndarray,
    of_marked: np.ndarray,
) -> bool:
    """Fill the sums of the rows, over all genes and over those ``marked``: float64.

    Returns whether the columns ascend in each row, as nothing but a duplicate or disorder prevents.
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
    """Add the sums of `MOMENTS` over the values of each gene to ``out``.

    Parameters
    ----------
    group
        Where the sums of each row go, integers, shape (n_rows,); a row below 0 is left out.
    known
        Linear value and logarithm of each whole number from 0 in each row: float32, shape
        (n_rows, n_known, 2).
    others
        The same of the values that are no such number, in their order: float32, shape (n_others, 2).
    with_squares
        Sum the squares of the values as they are, too; a tenth of the time.
    out
        float64, shape (n_groups, n_vars, MOMENTS).

    Notes
    -----
    Squares are float32, as in scanpy; sums are float64.
    """
    # Elements are named one by one: an array of a gene's sums, however short-lived, halves the rate.
    n_known = known.shape[1]
    next_other = 0
    for row in range(len(indptr) - 1):
        if group[row] < 0:
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
            sums[gene, 2] += linear * linear
            sums[gene, 3] += log
            sums[gene, 4] += log * log
            sums[gene, 5] += value
        if with_squares:
            for at in range(indptr[row], indptr[row + 1]):
                sums[indices[at], 6] += np.float64(data[at]) * data[at]


@register_jitable  # type: ignore[untyped-decorator, unused-ignore]
def _is_known(value: float, n_known: int) -> bool:
    return value < n_known and np.int64(value) == value
