"""Simulated atlases whose types are known, as files that the other benchmarks take like labelled sets.

``python -m bench.simulated --out FOLDER`` writes 2,500 cells of 6 to 24 invented types, three seeds each, whose sizes
fall from most of the cells to a dozen. A type has programs and cells halfway to its parent (`scrcl simulate`), so
there is structure inside large types that small ones have to be told from. No default was chosen on them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import anndata

from scrcl.engine.simulate import simulate

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that the files go to")
    parser.add_argument("--cells", type=int, default=2500)
    parser.add_argument("--genes", type=int, default=4000)
    parser.add_argument("--types", default="6,10,16,24", help="numbers of types")
    parser.add_argument("--seeds", type=int, default=3, help="atlases of each number of types")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    for n_types in map(int, args.types.split(",")):
        for seed in range(args.seeds):
            with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
                store = Path(folder) / "atlas.zarr"
                simulate(
                    store,
                    n_cells=args.cells,
                    n_genes=args.genes,
                    n_types=n_types,
                    n_samples=1,
                    seed=100 * n_types + seed,
                )
                cells = anndata.read_zarr(store)
            name = f"sim{n_types:02d}_{seed}.h5ad"
            cells.write_h5ad(args.out / name)
            print(name, cells.obs["cell_type"].value_counts().tolist())


if __name__ == "__main__":
    main()
