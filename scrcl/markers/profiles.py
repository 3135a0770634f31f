"""What each cluster expresses, gene by gene: means and shares, small enough to keep for every gene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrcl.io.npz import ArrayFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrcl.markers.values import ClusterValues
    from scrcl.typing import FloatArray, IntArray

__all__ = ["Profiles", "joined", "profiles_of"]


@dataclass(frozen=True, eq=False)
class Profiles(ArrayFile):
    """Log values of the genes by cluster.

    Attributes
    ----------
    cells
        ndarray of int64, shape (n_clusters,): cells of each cluster.
    mean, share
        ndarrays of float32, shape (n_genes, n_clusters): mean of the log values, and share of cells above 0.
    deviation
        ndarray of float32, shape (n_genes,): standard deviation over all cells.
    """

    cells: IntArray
    mean: FloatArray
    share: FloatArray
    deviation: FloatArray


def profiles_of(values: ClusterValues) -> Profiles:
    """Return the profiles of the genes of ``values``."""
    cells = values.cells
    per_cluster, n = np.maximum(cells, 1), max(int(cells.sum()), 1)
    mean = values.total.sum(axis=1) / n
    # Rounding can turn a variance of 0 slightly negative.
    variance = np.maximum(values.squares.sum(axis=1) / n - mean**2, 0)
    return Profiles(
        cells,
        (values.total / per_cluster).astype(np.float32),
        (values.expressing / per_cluster).astype(np.float32),
        np.sqrt(variance).astype(np.float32),
    )


def joined(parts: Sequence[Profiles]) -> Profiles:
    """Return the profiles of the genes of all parts, in their order."""
    return Profiles(
        parts[0].cells,
        *(
            np.concatenate([getattr(p, name) for p in parts])
            for name in ("mean", "share", "deviation")
        ),
    )
