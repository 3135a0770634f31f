"""An invented tree of cell types. The profile of a leaf sums log fold changes of gene modules along its path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import ndtri

from scrcl.simulation.profiles import TypeProfiles

if TYPE_CHECKING:
    from scrcl.typing import FloatArray

__all__ = ["tree_profiles"]

_LOG_MEAN_SD = 2.2
_MODULE_SHARE = 0.03
_FOLD_CHANGE_SD = 1.5
_N_PROGRAMS = 6
_STATE_WEIGHTS = (0.25, 0.6, 0.15)
"""Shares of a type's cells with an active program, without one, and halfway to the parent."""
_DEPTH_SD = 0.45
_TYPE_DEPTH_SD = 0.2
_N_QUANTILES = 257


def tree_profiles(
    n_genes: int,
    shares: FloatArray,
    rng: np.random.Generator,
    *,
    median_genes: int,
    signal: float = 1.0,
) -> TypeProfiles:
    """Return profiles of invented types, one for each of ``shares``.

    Parameters
    ----------
    n_genes
        Number of genes.
    shares
        Share of each type in the atlas, shape (n_types,).
    rng
        Generator of the tree.
    median_genes
        Approximate number of detected genes in the median cell; it determines the depth.
    signal
        Factor of all log fold changes.
    """
    n_types = len(shares)
    root = rng.normal(0, _LOG_MEAN_SD, n_genes)
    logs, parents, branches = _grow(n_types, root, rng)
    programs = [_change(n_genes, 1.0, rng) for _ in range(_N_PROGRAMS)]
    profiles = np.empty((n_types, len(_STATE_WEIGHTS), n_genes), dtype=np.float32)
    for kind, (leaf, parent) in enumerate(zip(logs, parents, strict=True)):
        program = programs[rng.integers(_N_PROGRAMS)]
        for state, log in enumerate((leaf + program, leaf, (leaf + parent) / 2)):
            profiles[kind, state] = _shares(log if signal == 1 else root + signal * (log - root))
    mean = np.einsum("t,s,tsg->g", shares / shares.sum(), _STATE_WEIGHTS, profiles, optimize=True)
    dispersion = _dispersion(mean, rng)
    shifts = rng.normal(0, _TYPE_DEPTH_SD, n_types)
    centre = _log_depth(profiles[:, 1], dispersion, shifts, shares, median_genes)
    spread = _DEPTH_SD * ndtri((np.arange(_N_QUANTILES) + 0.5) / _N_QUANTILES)
    width = len(str(n_types))
    return TypeProfiles(
        genes=pd.Index([f"gene{gene}" for gene in range(1, n_genes + 1)]),
        names=tuple(f"type {kind:0{width}d}" for kind in range(1, n_types + 1)),
        branches=tuple(f"branch {branch}" for branch in branches),
        profiles=profiles.reshape(-1, n_genes),
        starts=np.arange(n_types + 1, dtype=np.int64) * len(_STATE_WEIGHTS),
        weights=np.tile(_STATE_WEIGHTS, n_types),
        dispersion=dispersion,
        log_depth=centre + shifts[:, None] + spread,
    )


def _grow(
    n_types: int, root: FloatArray, rng: np.random.Generator
) -> tuple[list[FloatArray], list[FloatArray], list[int]]:
    """Return log profiles of the leaves and of their parents, and the branch of each leaf.

    An inner node has two to four children. Changes are larger near the root. Leaves are in the order of the tree.
    """
    logs: list[FloatArray] = []
    parents: list[FloatArray] = []
    branches: list[int] = []
    waiting = [(n_types, 0, 0, root, root)]  # leaves, level, branch, own log profile, parent's
    while waiting:
        n_leaves, level, branch, log, parent = waiting.pop()
        if n_leaves == 1:
            logs.append(log)
            parents.append(parent)
            branches.append(max(branch, 1))
            continue
        n_children = min(int(rng.integers(2, 5)), n_leaves)
        cuts = np.sort(rng.choice(n_leaves - 1, n_children - 1, replace=False)) + 1
        sizes = np.diff([0, *cuts, n_leaves])
        children = [
            (
                int(size),
                level + 1,
                branch or number + 1,
                log + _change(len(root), 1 / (1 + level / 4), rng),
                log,
            )
            for number, size in enumerate(sizes)
        ]
        waiting.extend(reversed(children))  # a stack: the first child is taken first
    return logs, parents, branches


def _change(n_genes: int, scale: float, rng: np.random.Generator) -> FloatArray:
    """Return log fold changes of a random module of genes, three quarters of them positive; 0 for other genes."""
    size = min(n_genes, max(3, round(_MODULE_SHARE * n_genes)))
    module = rng.choice(n_genes, size, replace=False)
    signs = np.where(rng.random(size) < 0.75, 1, -1)
    change = np.zeros(n_genes, dtype=np.float32)
    change[module] = signs * np.abs(rng.normal(0, _FOLD_CHANGE_SD * scale, size))
    return change


def _shares(log: FloatArray) -> FloatArray:
    means: FloatArray = np.exp(log - log.max())
    means /= means.sum()
    return means


def _dispersion(mean: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return dispersions that fall with the mean down to a minimum, as in real counts.

    References
    ----------
    Love, Huber, Anders (2014), Genome Biology 15:550, equation 6: the trend a1 / mean + a0.
    """
    trend = 0.1 + 0.02 / np.maximum(2_500 * mean, 0.02)
    return (trend * rng.lognormal(0, 0.3, len(mean))).astype(np.float32)


def _log_depth(
    profiles: FloatArray,
    dispersion: FloatArray,
    shifts: FloatArray,
    shares: FloatArray,
    median_genes: int,
) -> float:
    """Return the log of the total counts at which a cell has ``median_genes`` detected genes on average.

    A gene is not detected with probability (1 + phi mu)^(-1 / phi). The mean number of detected genes rises with the
    depth, so bisection finds it. Only the eight largest types are used, which hold most cells.
    """
    largest = np.argsort(shares)[-8:]
    low, high = 0.0, 20.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        detected = 0.0
        for kind in largest:
            means = np.exp(middle + shifts[kind]) * profiles[kind]
            missing = np.exp(-np.log1p(dispersion * means) / dispersion)
            detected += shares[kind] * float(np.sum(1 - missing))
        if detected < median_genes * shares[largest].sum():
            low = middle
        else:
            high = middle
    return low
