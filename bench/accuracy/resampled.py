"""Resampled versions of labelled sets, for choices that must hold beyond the sets themselves.

``python -m bench.accuracy.resampled --data DIR --out FOLDER`` writes five files for each set without coordinates.
`bench.accuracy` and `bench.ablation` read them like the sets:

========  =====================================================================================
half      half of the cells, drawn uniformly
flat      large types thinned towards the median size: less imbalance
steep     types thinned, so that each has about a third fewer cells than the one before: more imbalance
thin      half of the counts, drawn one by one
drop      three types in five
========  =====================================================================================

Types with fewer than three cells are left out. Labels decide here which cells are drawn. Methods that run on the files
see no labels.
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
from scipy.sparse import csr_matrix

from bench._frame.labelled import LABELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrcl.typing import BoolArray

__all__ = ["LEAST_CELLS", "main", "versions"]

LEAST_CELLS = 3
FALL = 0.65
KEPT_TYPES = 0.6


def versions(cells: Any, *, seed: int) -> Iterator[tuple[str, Any]]:
    """Yield names and versions of an AnnData of counts; each type has at least `LEAST_CELLS` cells."""
    rng = np.random.default_rng(seed)
    _, codes, sizes = np.unique(cells.obs[LABELS], return_inverse=True, return_counts=True)
    middle = float(np.median(sizes))
    yield "half", _kept(cells, rng.random(len(codes)) < 0.5)
    flat = np.minimum(1, (middle / sizes) ** 0.8)
    yield "flat", _kept(cells, rng.random(len(codes)) < flat[codes])
    falling = np.empty(len(sizes))
    falling[rng.permutation(len(sizes))] = FALL ** np.arange(len(sizes))
    steep = np.clip(falling * float(np.median(sizes / falling)) / sizes, 0.03, 1)
    yield "steep", _kept(cells, rng.random(len(codes)) < steep[codes])
    counts = csr_matrix(cells.X).astype(np.float32)
    counts.data = rng.binomial(np.rint(counts.data).astype(np.int64), 0.5).astype(np.float32)
    counts.eliminate_zeros()
    thin = anndata.AnnData(counts, obs=cells.obs.copy(), var=cells.var.copy())
    yield "thin", _kept(thin, np.ones(len(codes), bool))
    if len(sizes) > 4:
        chosen = rng.permutation(len(sizes))[: max(3, int(len(sizes) * KEPT_TYPES))]
        yield "drop", _kept(cells, np.isin(codes, chosen))


def _kept(cells: Any, mask: BoolArray) -> Any:
    some = cells[mask]
    sizes = some.obs[LABELS].value_counts()
    return some[some.obs[LABELS].isin(sizes.index[sizes >= LEAST_CELLS])].copy()


def main(arguments: list[str] | None = None) -> None:
    """Write all versions of all sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled .h5ad files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    for path in sorted(args.data.glob("*.h5ad")):
        read = anndata.read_h5ad(path)
        if "spatial" in read.obsm:
            continue
        labels = read.obs[[LABELS]].astype(str)
        cells = anndata.AnnData(csr_matrix(read.X), obs=labels, var=read.var[[]].copy())
        for name, version in versions(cells, seed=zlib.crc32(path.stem.encode())):
            version.write_h5ad(args.out / f"{path.stem}__{name}.h5ad")


if __name__ == "__main__":
    main()
