"""Cells that are not laid out themselves are put among those that are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scrcl.typing import FloatArray, IntArray

__all__ = ["placed"]


def placed(ids: IntArray, squared: FloatArray, layout: FloatArray) -> FloatArray:
    """Return positions of cells: means of the positions of near cells, the nearer the heavier.

    Parameters
    ----------
    ids, squared
        ndarrays of int and float, shape (n, k): near cells that have a position, nearest first, and squared
        distances. An id of -1 is none; the first is never -1.
    layout
        ndarray of float32, shape (n_placed, 2).

    Returns
    -------
    ndarray of float32, shape (n, 2)
    """
    apart = np.sqrt(np.maximum(squared, 0, dtype=np.float64))
    found = ids >= 0
    apart = np.where(found, apart, np.inf)
    # How far the neighbours lie beyond the nearest, in units of their mean: as UMAP weighs edges.
    beyond = apart - apart[:, :1]
    scale = np.sum(np.where(found, beyond, 0), axis=1) / np.maximum(found.sum(axis=1), 1)
    weights = np.exp(-beyond / np.maximum(scale, 1e-12)[:, None])
    weights /= weights.sum(axis=1, keepdims=True)
    near = layout[np.maximum(ids, 0)]
    return np.asarray((weights[:, :, None] * near).sum(axis=1), np.float32)
