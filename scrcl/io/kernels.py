"""The loops of the statistics, for `scrcl.io.compiled`: NumPy could only do them in many passes.

A pass over an atlas has a few nanoseconds a value before it costs more than decoding does, so these
work on the dtypes that are stored.
"""

from __future__ import annotations

import numpy as np

__all__ = ["MOMENTS", "WHOLE_NUMBERS", "gene_moments", "row_totals"]

MOMENTS = 7
"""Sums per gene: cells, values, values squared, then linear and log values, each plain and squared."""

WHOLE_NUMBERS = 256
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
    factors: np.ndarray,
    already_log: bool,
    out: np.ndarray,
) -> None:
    """Add the sums of `MOMENTS` over the values of each gene to ``out``.

    Parameters
    ----------
    group
        Where the sums of each row go, int64, shape (n_rows,); a row below 0 is left out.
    factors
        Size factors of the rows, float32; unused where the values are logarithms.
    out
        float64, shape (n_groups, n_vars, MOMENTS).

    Notes
    -----
    Normalised values, logarithms and their squares are float32, as in scanpy; sums are float64.
    """
    seen = np.full(WHOLE_NUMBERS, -1, dtype=np.int64)
    known = np.empty((WHOLE_NUMBERS, MOMENTS))
    for row in range(len(indptr) - 1):
        if group[row] < 0:
            continue
        sums, factor = out[group[row]], factors[row]
        for at in range(indptr[row], indptr[row + 1]):
            value = np.float32(data[at])
            place = np.int64(value) if value < WHOLE_NUMBERS else 0
            if np.float32(place) != value:
                place = 0  # what is no small whole number is worked out each time
            terms = known[place]
            if place == 0 or seen[place] != row:
                seen[place] = row
                log = value if already_log else np.float32(np.log1p(np.float64(value / factor)))
                linear = np.float32(np.expm1(np.float64(log)))
                terms[0], terms[1], terms[2] = 1.0, value, np.float64(value) * value
                terms[3], terms[4] = linear, linear * linear
                terms[5], terms[6] = log, log * log
            gene = sums[indices[at]]
            for k in range(MOMENTS):
                gene[k] += terms[k]
