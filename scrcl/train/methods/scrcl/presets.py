"""scRCL as published. Light to import: no torch."""

from __future__ import annotations

from typing import Any

__all__ = ["PAPER"]

_ALL = 10**9

PAPER: dict[str, Any] = {
    "features": {"n_top_genes": 1000},
    "graph": {"n_neighbors": 15},
    "genes": {"n_neighbors": 5, "metric": "euclidean", "source": "gram"},
    "train": {
        "epochs": 500,
        "minibatch_cells": _ALL,
        "lr": 1e-4,
        "weight_decay": 1e-3,
        "stop": "never",
        "max_grad_norm": 1e9,
    },
    "scrcl": {
        "features": "counts",
        "dim": 1500,
        "dropout": 0.1,
        "temperature": 1.0,
        "alpha": 10.0,
        "beta": 1.0,
        "cvc_negatives": _ALL,
        "negatives": "batch",
    },
    "cluster": {"algorithm": "kmeans", "on": "refined", "n_init": 20},
}
"""Full batches of raw counts for 500 epochs, Eq. 9 as printed, and k-means on the final Z. What the paper sets for each
data set (smoothing of the inputs, width of Z, number of clusters) is in ``examples/paper``."""
