"""UMAP's layout of a weighted graph: cells that are joined attract each other, random others push apart.

The steps are those of umap-learn with one thread, from compiled code that is cached on disk (see
`scrcl.maps.weights`). Cells start at their first two principal components: this keeps the global arrangement as well
as a spectral start does, and it is the same on all machines.

References
----------
McInnes, Healy, Melville: UMAP. arXiv:1802.03426, algorithm 5.
Kobak, Linderman: Initialization is critical for preserving global data structure in both t-SNE and UMAP. Nature
Biotechnology 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._compiled import compiled
from scrcl._random import derive_seed, stream

if TYPE_CHECKING:
    from scrcl.typing import Csr, FloatArray, IntArray, OnRows

__all__ = ["fitted_curve", "n_epochs_of", "umap_layout"]

_WIDTH = 10.0
"""Width of the start."""

_JITTER = 1e-3
"""Standard deviation that is added to the start, so that no two cells lie on one point."""

_NEGATIVES = 5
_EPOCHS_AT_ONCE = 5
"""Epochs between two looks at signals and at progress."""

_FEW_CELLS, _MORE_EPOCHS, _EPOCHS = 2_000, 500, 200
"""umap-learn takes 500 epochs up to 10,000 cells. On 3,874 cells, 200 kept 1.84 of 15 neighbours and 500 kept 1.87."""


_CURVES = {0.5: (0.5830300203414425, 1.3341669924314914)}
"""a and b by ``min_dist``: that of the default, so that a run does without scipy.optimize."""


def n_epochs_of(n_cells: int) -> int:
    """Return in how many epochs a layout is made."""
    return _MORE_EPOCHS if n_cells <= _FEW_CELLS else _EPOCHS


def umap_layout(
    weights: Csr,
    start: FloatArray,
    *,
    seed: int,
    min_dist: float = 0.5,
    on_epochs: OnRows | None = None,
) -> FloatArray:
    """Return UMAP coordinates; the same for the same seed.

    Parameters
    ----------
    weights
        Symmetric CSR matrix of float32, shape (n, n), with weights above 0.
    start
        ndarray, shape (n, n_dims): its first two columns are where cells start.
    min_dist
        How far apart near cells are laid: 0 for tight clumps, 1 for an even spread.
    on_epochs
        Called with the number of epochs that were just finished.

    Returns
    -------
    ndarray of float32, shape (n, 2)
    """
    n, n_epochs = weights.shape[0], n_epochs_of(weights.shape[0])
    xy = _start(start, n, seed)
    if not weights.nnz:
        return xy
    strength = weights.data / weights.data.max()
    # Edges that would be visited less than once are left out.
    every = np.where(strength * n_epochs >= 1, 1 / np.maximum(strength, 1e-30), np.inf)
    every = every.astype(np.float32)
    due, due_apart = every.copy(), every / _NEGATIVES
    a, b = _curve(min_dist)
    state = np.array([derive_seed(seed, "umap.negatives")], np.uint64)
    for first in range(0, n_epochs, _EPOCHS_AT_ONCE):
        stop = min(first + _EPOCHS_AT_ONCE, n_epochs)
        compiled(_epochs)(
            weights.indptr, weights.indices, every, due, due_apart, xy, first, stop, n_epochs,
            np.float32(a), np.float32(b), state,
        )  # fmt: skip
        if on_epochs is not None:
            on_epochs(stop - first)
    return xy


def _start(start: FloatArray, n: int, seed: int) -> FloatArray:
    """Return the first two columns, scaled to one width, with some jitter; zeros where there are fewer columns."""
    xy = np.zeros((n, 2), np.float64)
    columns = np.asarray(start[:, :2], np.float64)
    columns = columns - columns.min(axis=0)
    xy[:, : columns.shape[1]] = _WIDTH * columns / np.maximum(columns.max(axis=0), 1e-30)
    xy += stream(seed, "umap.start").normal(scale=_JITTER, size=xy.shape)
    return xy.astype(np.float32)


def _curve(min_dist: float) -> tuple[float, float]:
    """Return a and b of the curve 1 / (1 + a d^2b) that falls off beyond ``min_dist``, as umap-learn fits it."""
    if min_dist in _CURVES:
        return _CURVES[min_dist]
    return fitted_curve(min_dist)


def fitted_curve(min_dist: float) -> tuple[float, float]:
    """Return what `_CURVES` holds."""
    from scipy.optimize import curve_fit

    d = np.linspace(0, 3, 300)
    wanted = np.where(d < min_dist, 1.0, np.exp(-(d - min_dist)))
    (a, b), _ = curve_fit(lambda x, a, b: 1 / (1 + a * x ** (2 * b)), d, wanted)
    return float(a), float(b)


def _epochs(
    indptr: IntArray,
    tails: IntArray,
    every: FloatArray,
    due: FloatArray,
    due_apart: FloatArray,
    xy: FloatArray,
    first: int,
    stop: int,
    n_epochs: int,
    a: float,
    b: float,
    state: IntArray,
) -> None:
    """Visit the edges that are due in epochs ``first`` to ``stop``."""
    n, random = len(xy), state[0]
    # All in float32: powers take most of the time.
    one, two, near, far = np.float32(1), np.float32(2), np.float32(0.001), np.float32(4)
    for epoch in range(first, stop):
        rate = np.float32(1 - epoch / n_epochs)
        for head in range(n):
            for edge in range(indptr[head], indptr[head + 1]):
                if due[edge] > epoch:
                    continue
                tail = tails[edge]
                dx, dy = xy[head, 0] - xy[tail, 0], xy[head, 1] - xy[tail, 1]
                squared = dx * dx + dy * dy
                if squared > 0:
                    power = a * squared**b
                    pull = -two * b * power / (squared * (power + one))
                    sx = rate * min(max(pull * dx, -far), far)
                    sy = rate * min(max(pull * dy, -far), far)
                    xy[head, 0] += sx
                    xy[head, 1] += sy
                    xy[tail, 0] -= sx
                    xy[tail, 1] -= sy
                due[edge] += every[edge]
                apart = every[edge] / _NEGATIVES
                n_apart = int((epoch - due_apart[edge]) / apart)
                for _ in range(n_apart):
                    # A linear congruential generator (Knuth); its high bits are good.
                    random = random * np.uint64(6364136223846793005) + np.uint64(
                        1442695040888963407
                    )
                    other = np.int64(random >> np.uint64(33)) % n
                    dx, dy = xy[head, 0] - xy[other, 0], xy[head, 1] - xy[other, 1]
                    squared = dx * dx + dy * dy
                    if squared > 0:
                        push = two * b / ((near + squared) * (a * squared**b + one))
                        xy[head, 0] += rate * min(max(push * dx, -far), far)
                        xy[head, 1] += rate * min(max(push * dy, -far), far)
                due_apart[edge] += n_apart * apart
    state[0] = random
