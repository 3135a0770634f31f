"""Neighbours in order: by distance, equal distances by id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import FloatArray, IntArray

__all__ = ["sort_by_distance", "without_self"]


def sort_by_distance(
    ids: IntArray, squared: FloatArray
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Sort every row by distance, equal distances by id.

    Parameters
    ----------
    ids, squared
        ndarrays of int and float, shape (n, k), left as they are. Rows come nearly in order or are
        short: an insertion sort takes a tenth of the time of `numpy.lexsort` there.

    Returns
    -------
    ids, squared
        ndarrays of int64 and float32, shape (n, k).
    """
    in_order = np.array(ids, np.int64), np.array(squared, np.float32)
    compiled(_insert)(*in_order)
    return in_order


def without_self(ids: IntArray, squared: FloatArray, rows: IntArray) -> tuple[IntArray, FloatArray]:
    """Leave out of each row of neighbours the point itself, or the last where it is not among them.

    Parameters
    ----------
    ids, squared
        ndarrays, shape (n, k + 1), ascending. Among many equal points a point may not find itself.
    rows
        ndarray of int, shape (n,): the points that were searched for.

    Returns
    -------
    ids, squared
        The same, shape (n, k).
    """
    drop = ids == rows[:, None]
    drop[~drop.any(axis=1), -1] = True
    shape = (len(ids), ids.shape[1] - 1)
    return ids[~drop].reshape(shape), squared[~drop].reshape(shape)


def _insert(ids: IntArray, squared: FloatArray) -> None:
    for row in range(ids.shape[0]):
        for last in range(1, ids.shape[1]):
            far, who, place = squared[row, last], ids[row, last], last
            while place > 0 and (
                squared[row, place - 1] > far
                or (squared[row, place - 1] == far and ids[row, place - 1] > who)
            ):
                squared[row, place] = squared[row, place - 1]
                ids[row, place] = ids[row, place - 1]
                place -= 1
            squared[row, place], ids[row, place] = far, who
