"""What the values of an input are, in words: counts, logarithms, or other. Also of its other layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._warnings import logger_of
from scrcl.errors import ScrclError

if TYPE_CHECKING:
    from scrcl.io.matrix import CellMatrix
    from scrcl.prep.stats import MatrixStats
    from scrcl.typing import Csr

__all__ = ["COUNTS", "SAMPLE_ROWS", "kinds_of_others", "look_at", "values_note"]

_LOG = logger_of(__name__)

COUNTS = "counts"
SAMPLE_ROWS = 1_000
_ROWS_OF_OTHERS = 200
"""Rows of each other layer that are looked at; in a run they come on top of the blocks that are planned."""


def look_at(matrix: CellMatrix, n_rows: int = SAMPLE_ROWS) -> tuple[str, float | None]:
    """Return the kind of the values and the largest one, from the first rows."""
    if matrix.layout == "csc":
        return "unknown (column-major)", None
    from scrcl.io.stream import iter_rows

    _, block = next(iter_rows(matrix.x(min(n_rows, matrix.n_obs)), n_ahead=0))
    data = block.data
    if not data.size:
        return "all zero", 0.0
    if not np.isfinite(data).all():
        return "some are NaN or infinite", None
    whole = bool(np.all(data >= 0) and np.all(data == np.floor(data)))
    return COUNTS if whole else _not_counts(block), float(data.max())


def _not_counts(block: Csr) -> str:
    """Return as what a run would take values that are not all whole numbers."""
    from scrcl.prep.value_kind import MAX_LOG_VALUE, evidence_of_rows, value_kind

    if block.data.min() < 0:
        return "not counts (some are negative, as scaled or corrected values are)"
    rows = np.arange(block.shape[0])
    kind = value_kind(evidence_of_rows(block.data, block.indptr.astype(np.int64), rows))
    if kind.is_mixed:
        return "logarithms in some cells, counts in others"
    if block.data.max() > MAX_LOG_VALUE:
        return "counts that are not whole numbers"
    name = (
        "logarithms of normalised counts"
        if kind.already_log
        else "counts that are not whole numbers"
    )
    if kind.to_natural != 1:
        name += f" (base {np.exp(kind.to_natural):.0f})"
    return name if kind.is_clear else f"{name}, as a guess"


def kinds_of_others(matrix: CellMatrix, layer: str | None) -> dict[str, str]:
    """Return the kind of the values of each other matrix of the input, by name: X, ``raw`` and layers.

    Parameters
    ----------
    layer
        The one that ``matrix`` is.
    """
    kinds = {}
    for name in (None, *matrix.layers):
        if name == layer:
            continue
        try:
            kinds[name or "X"] = look_at(matrix.open_layer(name), _ROWS_OF_OTHERS)[0]
        except ScrclError:  # what is not read need not be readable; there may be no X
            if name is not None:
                kinds[name] = "unknown (it cannot be read)"
    return kinds


def values_note(
    stats: MatrixStats, asked: str, counts_elsewhere: list[str] | None = None
) -> tuple[str, ...]:
    """Return a note on what the values are taken as, if that was guessed and may be wrong; also as a warning.

    Parameters
    ----------
    stats, asked
        What was found, and the setting ``features.values``.
    counts_elsewhere
        Other matrices of the input that hold counts, by name.
    """
    from scrcl.prep.value_kind import MAX_LOG_VALUE

    if asked != "auto":
        return ()
    if stats.is_counts:
        return _of_binary(stats)
    taken, other, value = (
        ("logarithms of normalised counts", "counts", "counts")
        if stats.already_log
        else ("counts that are not whole numbers", "logarithms", "log")
    )
    note = f"The values are taken as {taken}. {_of_base(stats)}{_elsewhere(counts_elsewhere or [])}"
    # Of batches by several technologies, some may have fractions. Larger values say that they are no logarithms.
    if stats.max_value <= MAX_LOG_VALUE:
        note += f'If they are {other}, give `features.values="{value}"`.'
    note = note.rstrip()
    _LOG.warning(note)
    return (note,)


def _of_base(stats: MatrixStats) -> str:
    """Return what is wrong with logarithms to another base than e, as the beginning of a sentence."""
    if stats.to_natural == 1 or not stats.already_log:
        return ""
    return (
        f"Their base is {np.exp(stats.to_natural):.0f}, but fold changes and scalings are those of natural logarithms: "
        f"multiply the values by {stats.to_natural:.4f} before, or give counts. "
    )


def _of_binary(stats: MatrixStats) -> tuple[str, ...]:
    if stats.max_value > 1:
        return ()
    note = (
        "No count is above 1: the matrix may only say which genes were seen in a cell. If you have counts, give those, "
        "in X or with `layer`."
    )
    _LOG.warning(note)
    return (note,)


def _elsewhere(names: list[str]) -> str:
    """Return which other matrix has counts, and how it is clustered, as the beginning of a sentence."""
    if not names:
        return ""
    shown = [name if name in ("X", "raw") else f'layers["{name}"]' for name in names]
    if len(names) == 1:
        how = "leave out `layer`" if names == ["X"] else f'give `layer="{names[0]}"`'
        return f"{shown[0]} has counts: {how} to cluster those. "
    # Spliced and unspliced counts may lie next to those of both.
    best = next((name for name in names if "count" in name.lower()), names[-1])
    return f'{" and ".join(shown)} have counts: give one to cluster those, as `layer="{best}"`. '
