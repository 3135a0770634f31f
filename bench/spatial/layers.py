"""Simulated tissues in layers, some of them thin, to study smoothing in space.

Layers are bands of a sheet of cells. Each has its own mix of cell types, and shares types with the layers around it. So
the class of a cell (its layer) depends more on its surroundings than on its own counts.
"""

from __future__ import annotations

from typing import NamedTuple

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

__all__ = ["LAYERED", "N_ACROSS", "layered"]

N_ACROSS = 40
"""Cells along a layer."""
N_TYPES, N_GENES, DEPTH = 8, 300, 300
OWN_SHARE = 0.75
"""Share of a layer's cells that are of its own type, in the clearest tissues"""


class _Tissue(NamedTuple):
    widths: tuple[int, ...]
    """Of the layers, in cells"""
    own: float
    """Share of cells that are of the layer's own type; the others are of any type"""


LAYERED = {
    "layers_thick": _Tissue((8, 8, 8, 8, 8), OWN_SHARE),
    "layers_thin": _Tissue((10, 3, 10, 4, 12, 2), OWN_SHARE),
    "layers_thin_mixed": _Tissue((10, 3, 10, 4, 12, 2), 0.5),
}


def layered(name: str, *, seed: int = 0) -> anndata.AnnData:
    """Return a tissue of `LAYERED`: counts, ``obs["cell_type"]`` (the layer) and ``obsm["spatial"]``."""
    tissue, rng = LAYERED[name], np.random.default_rng(seed)
    depth = np.repeat(np.arange(sum(tissue.widths)), N_ACROSS)
    layer = np.repeat(np.arange(len(tissue.widths)), tissue.widths)[depth]
    across = np.tile(np.arange(N_ACROSS), sum(tissue.widths)) + 0.5 * (depth % 2)
    coordinates = np.column_stack([across, depth * np.sqrt(0.75)])
    coordinates += rng.normal(scale=0.15, size=coordinates.shape)
    own = rng.random(len(layer)) < tissue.own
    types = np.where(own, layer, rng.integers(N_TYPES, size=len(layer)))
    profiles = rng.gamma(0.3, 1.0, size=(N_TYPES, N_GENES)) + 0.05
    profiles /= profiles.sum(axis=1, keepdims=True)
    totals = DEPTH * rng.lognormal(0, 0.4, size=(len(layer), 1))
    counts = rng.poisson(totals * profiles[types]).astype(np.float32)
    names = [f"cell{i}" for i in range(len(layer))]
    return anndata.AnnData(
        sparse.csr_matrix(counts),
        obs=pd.DataFrame({"cell_type": pd.Categorical([f"layer {i}" for i in layer])}, index=names),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)]),
        obsm={"spatial": coordinates},
    )
