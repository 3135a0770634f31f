"""What the stages from rows to components leave for later stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._contract import Artifact, loaded_by
from scrcl.io.arrays import stored_array

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.prep.feature_store import FeatureStore
    from scrcl.prep.pca import Pca
    from scrcl.prep.stats import MatrixStats

__all__ = [
    "COMPONENTS",
    "FACTORS",
    "FACTORS_FILE",
    "FEATURES",
    "PCA",
    "PLAIN_COMPONENTS",
    "PRESENT_GENES",
    "SELECTED_GENES",
    "STATS",
]


FACTORS_FILE = "factors.npy"


def _load_factors(folder: Path) -> NDArray[np.float32] | None:
    path = folder / FACTORS_FILE
    return np.load(path) if path.exists() else None


STATS: Artifact[MatrixStats] = Artifact(
    "matrix statistics", loaded_by("scrcl.prep.stats:MatrixStats.load")
)
"""Totals of each cell, moments of each gene, and which cells are retained."""

FEATURES: Artifact[FeatureStore] = Artifact(
    "feature store", loaded_by("scrcl.prep.feature_store:FeatureStore")
)
"""Log values of the selected genes."""

SELECTED_GENES: Artifact[Any] = stored_array("selected genes", "genes.npy")
"""ndarray of int, shape (n_selected,): their positions among all genes, ascending."""

PCA: Artifact[Pca] = Artifact(
    "principal components", loaded_by("scrcl.prep.pca:Pca.load", "pca.npz")
)
"""Loadings, mean and variances."""

FACTORS: Artifact[NDArray[np.float32] | None] = Artifact("factors of the genes", _load_factors)
"""ndarray of float32, shape (n_selected,): what log values are multiplied by for the components; None: by 1."""

COMPONENTS: Artifact[Any] = stored_array("component scores", "scores.npy")
"""Memory map of float32, shape (n_cells, n_comps): the space in which cells are compared."""

PLAIN_COMPONENTS: Artifact[Any] = stored_array(
    "component scores before any correction", "scores.npy"
)
"""Like COMPONENTS, as they were before batches were corrected."""

PRESENT_GENES: Artifact[Any] = stored_array("genes that new cells have", "present.npy")
"""ndarray of bool, shape (n_selected,): which of the run's selected genes the new cells of a prediction have."""
