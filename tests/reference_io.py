"""Naive twins of the routines of `scrcl.io`: whole matrices, dense, one plain step a line."""

from __future__ import annotations

import numpy as np

__all__ = ["features", "log_normalized", "moments"]


def log_normalized(counts: np.ndarray) -> np.ndarray:
    """Log values of dense counts, float64."""
    logs = np.zeros(counts.shape)
    for row, cell in enumerate(counts.astype(np.float64)):
        if cell.sum() > 0:
            logs[row] = np.log(1 + cell / cell.sum() * 10_000)
    return logs


def moments(linear: np.ndarray, filled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each gene over the cells that have counts."""
    kept = linear[filled].astype(np.float64)
    return kept.mean(axis=0), kept.var(axis=0, ddof=1)


def features(counts: np.ndarray, rows: np.ndarray, genes: np.ndarray) -> np.ndarray:
    """What the feature store holds, dense."""
    return log_normalized(counts)[rows][:, genes]
