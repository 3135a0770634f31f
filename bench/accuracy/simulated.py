"""Simulated atlases with known types, as files that the other benchmarks read like labelled sets.

``python -m bench.accuracy.simulated --out FOLDER`` writes 2,500 cells of 6 to 24 invented types, three seeds each. The
largest type has most of the cells, the smallest a dozen. A type has programs, and cells halfway to its parent
(`scrcl simulate`), so large types have structure of their own. No default was chosen on these atlases.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import anndata

from scrcl.engine.simulate import simulate

__all__ = ["main", "write_simulated"]


def write_simulated(path: Path, **settings: Any) -> list[int]:
    """Write cells of ``scrcl simulate`` as ``.h5ad``; return the sizes of their types, the largest first."""
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        store = Path(folder) / "atlas.zarr"
        simulate(store, **settings)
        cells = anndata.read_zarr(store)
    cells.write_h5ad(path)
    sizes: list[int] = cells.obs["cell_type"].value_counts().tolist()
    return sizes


def main(arguments: list[str] | None = None) -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--cells", type=int, default=2500)
    parser.add_argument("--genes", type=int, default=4000)
    parser.add_argument("--types", default="6,10,16,24", help="numbers of types")
    parser.add_argument("--seeds", type=int, default=3, help="atlases for each number of types")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    for n_types in map(int, args.types.split(",")):
        for seed in range(args.seeds):
            name = f"sim{n_types:02d}_{seed}.h5ad"
            sizes = write_simulated(
                args.out / name,
                n_cells=args.cells,
                n_genes=args.genes,
                n_types=n_types,
                n_samples=1,
                seed=100 * n_types + seed,
            )
            print(name, sizes)


if __name__ == "__main__":
    main()
