"""scGPCL as published. Light to import: no torch."""

from __future__ import annotations

from typing import Any

__all__ = ["PAPER"]

_ALL = 10**6

PAPER: dict[str, Any] = {
    "features": {"n_top_genes": 0.2, "flavor": "variance"},
    "train": {
        "epochs": 400,
        "steps": "auto",
        "minibatch_cells": 1024,
        "lr": 1e-4,
        "weight_decay": 1e-4,
        "fanout": 1024,
        "stop_every": 5,
        "stop_cells": _ALL,
    },
    "scgpcl": {
        "context_cells": 2048,
        "cells_per_gene": 2048,
        "reconstructed_genes": _ALL,
        "warmup_share": 0.5,
        "finetune_share": 0.5,
        "refresh_every": 5,
    },
    "cluster": {"algorithm": "kmeans", "n_init": 20},
}
"""The 20 % of the genes with the largest variance of their counts; 100 epochs without and 100 with prototypes; at most
200 epochs of fine-tuning, with targets by sizes of clusters of about an epoch ago; and k-means on the final
embedding. About once an epoch all cells are clustered, to decide when a phase ends. The number of clusters is in
``examples/paper`` for each data set."""
