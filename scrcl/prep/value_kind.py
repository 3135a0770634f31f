"""Counts or logarithms: what small fractional values are.

Logarithms of normalised counts keep two traces of the counts. Undone by ``expm1``, the values of a cell are whole
multiples of one unit, the value of a single count. And a normalisation makes the totals of all cells alike. Corrected
counts (SoupX, STARsolo, alevin-fry, counts by volume) have neither: ``expm1`` drives their totals apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl._compiled import compiled
from scrcl.prep.stats_kernels import row_evidence

if TYPE_CHECKING:
    from scrcl.typing import FloatArray, IntArray

__all__ = ["MAX_LOG_VALUE", "ValueKind", "evidence_of_rows", "sampled_rows", "value_kind"]

MAX_LOG_VALUE = 20.0
"""No logarithm of a count exceeds this."""

_SAMPLED_CELLS = 20_000
"""About so many cells, evenly spaced, are looked at."""

_BASES = (1.0, float(np.log(2.0)), float(np.log(10.0)))
"""Factors that turn logarithms to the bases e, 2 and 10 into natural ones."""

_NEAR_WHOLE = 0.03
_LARGEST_MULTIPLE = 8.5
"""Larger multiples are too far from exact where values were rounded."""

_FEWEST_MULTIPLES = 3
_ALIKE = 0.02
"""Spread of the logarithms of totals that a normalisation leaves, with rounding."""

_LESS = 0.7
"""Logarithms are likely where the spread of totals falls below this share when they are undone."""

_FEWEST_CELLS = 5
_MIXED_SHARE = 0.05


@dataclass(frozen=True)
class ValueKind:
    """What the values of a matrix are.

    Parameters
    ----------
    already_log
        Whether they are logarithms.
    is_clear
        Whether the values show it. Otherwise it is a guess.
    is_mixed
        Whether some cells clearly hold logarithms and others counts.
    to_natural
        What turns logarithms into natural ones: other than 1 only where another base is clear.
    """

    already_log: bool
    is_clear: bool = True
    is_mixed: bool = False
    to_natural: float = 1.0


# Columns of the evidence of a row.
_WHOLE, _LARGEST, _TOTAL, _OF_COUNTS, _OF_LOGS = range(5)
_LOG_TOTALS = slice(5, 8)
_COLUMNS = 8


def evidence_of_rows(data: np.ndarray, indptr: IntArray, rows: IntArray) -> FloatArray:
    """Return what the values of some rows show: float64, shape (n_rows, 8).

    Parameters
    ----------
    data, indptr
        Rows as CSR, no value zero or negative.
    rows
        Positions of the rows to look at. Empty rows show nothing and are left out.
    """
    rows = rows[np.diff(indptr)[rows] > 0]
    out = np.zeros((len(rows), _COLUMNS))
    compiled(row_evidence)(
        data, indptr, rows, np.array(_BASES), MAX_LOG_VALUE, _NEAR_WHOLE, _LARGEST_MULTIPLE,
        _FEWEST_MULTIPLES, out,
    )  # fmt: skip
    return out


def value_kind(evidence: FloatArray) -> ValueKind:
    """Return what the values are that left this evidence (`evidence_of_rows`).

    Rows of whole numbers and rows with a value above `MAX_LOG_VALUE` hold counts. The other rows are judged together.
    """
    whole = evidence[:, _WHOLE] == 1
    counts = whole | (evidence[:, _LARGEST] > MAX_LOG_VALUE)
    small = evidence[~counts]
    if not len(small):
        return ValueKind(already_log=False)
    base, is_clear = _base(small)
    if base is None:
        return ValueKind(already_log=False, is_clear=is_clear)
    # Logarithms to the base 2 of 1, 3 and 7 counts are whole numbers.
    others = counts.sum() if base != 1 else (evidence[counts, _LARGEST] > MAX_LOG_VALUE).sum()
    is_mixed = is_clear and min(others, len(small)) >= _MIXED_SHARE * len(evidence)
    to_natural = _BASES[base] if is_clear else 1.0
    return ValueKind(
        already_log=True, is_clear=is_clear, is_mixed=bool(is_mixed), to_natural=to_natural
    )


def _base(small: FloatArray) -> tuple[int | None, bool]:
    """Return the position of the base of the logarithms, None for counts, and whether that is clear."""
    tried = small[(small[:, _OF_LOGS] >= 0) | (small[:, _OF_COUNTS] > 0)]
    if len(tried) >= max(_FEWEST_CELLS, _MIXED_SHARE * len(small)):
        of_base = np.array([(tried[:, _OF_LOGS] == i + 1).mean() for i in range(len(_BASES))])
        best, of_counts = int(of_base.argmax()), float((tried[:, _OF_COUNTS] == 1).mean())
        if max(of_base[best], of_counts) >= 0.5:
            return (best, True) if of_base[best] > of_counts else (None, True)
    spreads = np.array([_spread(totals) for totals in small[:, _LOG_TOTALS].T])
    best = int(spreads.argmin())
    before = _spread(small[:, _TOTAL])
    if spreads[best] < _ALIKE < before / 3 and len(small) >= _FEWEST_CELLS:
        return best, True
    if spreads[best] < _LESS * before:
        return best, False
    return None, False


def _spread(totals: FloatArray) -> float:
    """Return how far the middle half of the logarithms of totals lies apart."""
    low, high = np.quantile(np.log(totals), [0.25, 0.75])
    return float(high - low)


def sampled_rows(start: int, n_rows: int, n_obs: int) -> IntArray:
    """Return the positions in a block of the rows that are looked at: int64, ascending."""
    step = max(n_obs // _SAMPLED_CELLS, 1)
    return np.arange(-start % step, n_rows, step)
