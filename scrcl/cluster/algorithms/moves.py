"""Moves out of a local maximum of a mixture: two components become one, and a third one becomes two.

Climbing the likelihood never moves a mean across another one. So where two means start in one layer, and one mean in
two layers, it ends there.

References
----------
Ueda, Nakano, Ghahramani and Hinton: SMEM algorithm for mixture models, Neural Computation 12 (2000), 2109-2128.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl.cluster.algorithms.one_covariance import Mixture
    from scrcl.typing import FloatArray, IntArray

__all__ = ["moved_partitions"]

_LEAST_CELLS = 20
"""Cells of a component that is halved."""


def moved_partitions(points: FloatArray, model: Mixture, n_pairs: int) -> Iterator[IntArray]:
    """Yield partitions in which two near components are joined, and another is halved where it varies most.

    Parameters
    ----------
    points
        ndarray of float64, shape (n_points, n_dims).
    model
        Its components are moved. Distances and directions are in units of its covariance.
    n_pairs
        Pairs of components that are joined, the nearest ones.
    """
    labels, unit = model.labels(points), np.linalg.cholesky(model.precision)
    scaled, means = points @ unit, model.means @ unit
    uppers = {
        component: cells[_upper_half(scaled[cells])]
        for component in range(len(means))
        for cells in [np.flatnonzero(labels == component)]
        if len(cells) >= _LEAST_CELLS
    }
    pairs = sorted(
        combinations(range(len(means)), 2),
        key=lambda pair: float(np.square(means[pair[0]] - means[pair[1]]).sum()),
    )
    for kept, free in pairs[:n_pairs]:
        for component, upper in uppers.items():
            if component not in (kept, free):
                moved = np.where(labels == free, kept, labels)
                moved[upper] = free
                yield moved


def _upper_half(points: FloatArray) -> FloatArray:
    """Return which points lie above the mean in the direction of largest variance: bool, shape (n_points,)."""
    centred = points - points.mean(axis=0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    return np.asarray(centred @ axis > 0)
