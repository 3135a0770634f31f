"""Small simulated cells of known types, as AnnData with counts."""

import anndata
import numpy as np
import pandas as pd
from scipy import sparse


def make_cells(n_cells=240, n_genes=150, n_types=4, *, seed=0, spatial=False):
    """Poisson counts around one profile a type; the labels are in ``obs["cell_type"]``."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_types, size=n_cells)
    profiles = rng.gamma(0.4, 1.0, size=(n_types, n_genes)) + 0.02
    profiles /= profiles.sum(axis=1, keepdims=True)
    depth = rng.lognormal(6.5, 0.3, size=(n_cells, 1))
    counts = sparse.csr_matrix(rng.poisson(depth * profiles[labels]).astype(np.float32))
    adata = anndata.AnnData(
        counts,
        obs=pd.DataFrame(
            {"cell_type": pd.Categorical([f"type {label}" for label in labels])},
            index=[f"cell{i}" for i in range(n_cells)],
        ),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]),
    )
    if spatial:
        centres = rng.normal(scale=5, size=(n_types, 2))
        adata.obsm["spatial"] = centres[labels] + rng.normal(size=(n_cells, 2))
    return adata


FAST = {
    "reduce": {"n_comps": 12},
    "graph": {"n_neighbors": 8},
    "train": {"steps": 8, "checkpoint_every": 2, "report_every": 2},
    "scrcl": {"dim": 16, "refined_dim": 8},
    "cluster": {"restarts": 2, "algorithm": "kmeans"},
    "umap": {"cells": 0},
    "report": {"umap_cells": 0},
}
"""Settings that make a run take a second: what is tested is not how well it clusters."""

FAST_SETTINGS = [
    f"{group}.{name}={value}" for group, inner in FAST.items() for name, value in inner.items()
]


def fast(*arguments):
    """Return arguments of the command line with those of `FAST_SETTINGS`."""
    return [*arguments, *(part for setting in FAST_SETTINGS for part in ("--set", setting))]


def write_slices(folder):
    """Write two slices whose coordinates are the same, and return their files."""
    paths = [folder / "left.h5ad", folder / "right.h5ad"]
    for seed, path in enumerate(paths):
        make_cells(90, 30, seed=seed, spatial=True).write_h5ad(path)
    return paths
