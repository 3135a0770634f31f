"""How deep the valley between two groups of cells is: evidence that they are two types, and not one that was cut.

Two halves of one type that a clustering has cut have their most cells where they were cut. Between two types there are
few. So both groups are projected on the axis that separates them best, and the density of the cells between the two
medians is compared with that at the medians. The axis is found on one half of the cells, and the density is that of the
other half. Otherwise noise alone would show a valley, as soon as there are many dimensions and few cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scrcl.typing import FloatArray

__all__ = ["valley_depth"]

_RIDGE = 0.1
"""Added to the variances within the groups, as a share of their mean. It keeps the axis stable for few cells."""

_BINS = 512
"""Bins of a density."""

_FEWEST_CELLS = 4
"""Cells of a group: two for the axis and two for the density."""


def valley_depth(a: FloatArray, b: FloatArray, *, share_a: float = 1, share_b: float = 1) -> float:
    """Return the depth of the valley between two groups of cells: at most 1, and 0 or less if there is none.

    Parameters
    ----------
    a, b
        ndarrays of float, shapes (n_a, n_dims) and (n_b, n_dims): cells of the groups, in random order.
    share_a, share_b
        Which share of each group these cells are.

    Returns
    -------
    float
        Mean of two numbers, one for each half as the one that the axis is found on. A number is 1 minus the lowest
        density between the medians, over the lower of the densities at the medians. NaN if a group has fewer than
        four cells.
    """
    if min(len(a), len(b)) < _FEWEST_CELLS:
        return float("nan")
    halves = [(a[::2], b[::2]), (a[1::2], b[1::2])]
    depths = []
    for (a_axis, b_axis), (a_held, b_held) in (halves, halves[::-1]):
        axis = _discriminant(a_axis, b_axis)
        depths.append(_depth(a_held @ axis, b_held @ axis, 1 / share_a, 1 / share_b))
    return float(np.mean(depths))


def _discriminant(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the axis of Fisher's linear discriminant, with a ridge."""
    away = np.concatenate([a - a.mean(axis=0), b - b.mean(axis=0)]).astype(np.float64)
    within = away.T @ away / len(away)
    # Where all cells of both groups are equal, any ridge will do.
    ridge = _RIDGE * np.trace(within) / len(within) or 1.0
    within[np.diag_indices_from(within)] += ridge
    axis: FloatArray = np.linalg.solve(within, a.mean(axis=0) - b.mean(axis=0))
    return axis


def _depth(a: FloatArray, b: FloatArray, weight_a: float, weight_b: float) -> float:
    low, high = np.median(b), np.median(a)
    if low >= high:
        return 0.0  # the axis means nothing about cells that it was not found on
    first, last = min(a.min(), b.min()), max(a.max(), b.max())
    width = (last - first) / _BINS
    density = weight_a * _density(a, first, width) + weight_b * _density(b, first, width)
    at_low, at_high = (min(int((at - first) / width), _BINS - 1) for at in (low, high))
    between = density[at_low : at_high + 1]
    return float(1 - between.min() / min(density[at_low], density[at_high]))


def _density(values: FloatArray, first: float, width: float) -> FloatArray:
    """Return cells by bin, smoothed by a Gaussian of Silverman's width."""
    from scipy.ndimage import gaussian_filter1d

    bins = np.minimum(((values - first) / width).astype(np.int64), _BINS - 1)
    quarter, three_quarters = np.percentile(values, [25, 75])
    deviation = min(values.std(), (three_quarters - quarter) / 1.34) or values.std()
    sigma = 0.9 * deviation * len(values) ** -0.2 / width
    counts = np.bincount(bins, minlength=_BINS).astype(np.float64)
    smooth: FloatArray = gaussian_filter1d(counts, max(sigma, 1.0), mode="constant")
    return smooth
