"""An atlas of any size from a real labelled set.

``python -m bench.scale.atlas --from cells.h5ad --cells 200000 --out atlas.h5ad`` draws cells with replacement. Each
count is drawn from a Poisson distribution with the original count as its mean.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

__all__ = ["resample"]


def resample(source: Path, out: Path, n_cells: int, *, seed: int = 0) -> None:
    """Write an ``.h5ad`` of ``n_cells`` cells drawn from ``source``."""
    import anndata
    from scipy import sparse

    rng = np.random.default_rng(seed)
    adata = anndata.read_h5ad(source)
    rows = rng.integers(adata.n_obs, size=n_cells)
    counts = sparse.csr_matrix(adata.X)[rows]
    counts.data = rng.poisson(counts.data).astype(np.float32)
    counts.eliminate_zeros()
    obs = adata.obs.iloc[rows].copy()
    obs.index = [f"cell{i}" for i in range(n_cells)]
    anndata.AnnData(counts, obs=obs, var=adata.var[[]]).write_h5ad(out)


def main() -> None:
    """Write the atlas."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="source", type=Path, required=True, help="labelled .h5ad")
    parser.add_argument("--cells", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    resample(args.source, args.out, args.cells)


if __name__ == "__main__":
    main()
