"""Tissues whose cells are drawn from sets of cell types: whether genes should have unit variance.

``python -m bench.spatial.drawn --data DIR``

Each layer has its own mix of the types of a set, and its cells are measured ones. They lie anywhere, as in imaging. So
this is a tissue with all genes of the set, and with their noise. Each is run up to the stage ``tissue``, with genes as
they vary and of unit variance; layers are found as the stage ``cluster`` finds them. ``--spots`` sums eight cells in
each spot of a hexagonal grid. Sets of fewer than 1,000 cells are left out.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from bench._frame import runs
from bench._frame.arguments import add_data, add_seeds, add_settings, parsed, parser_of
from bench._frame.labelled import LABELS, labelled_files, read_counted, read_labelled
from bench._frame.page import table, write_results
from bench._frame.rows import logged
from bench.spatial.tissue import MIXTURE
from scrcl.cluster.find import cluster
from scrcl.cluster.settings import SMOOTHING_CELLS
from scrcl.engine.evaluate import score
from scrcl.engine.stages.tissue import TissueStage
from scrcl.graph.artifacts import NEIGHBOR_IDS, TISSUE_SPACE
from scrcl.graph.domains import majority_labels

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from bench._frame.rows import Row
    from scrcl.typing import FloatArray

__all__ = ["drawn", "main"]

LEAST_CELLS = 1_000
ACROSS, DOWN = 60, 40
"""Extent of a tissue; a cell, or a spot, takes up one unit of area."""

_N_LAYERS, _CELLS_PER_SPOT = 6, 8
_OWN = 0.75
"""Share of the cells of a layer that follow its own mix; the others are of any type."""

CHANGED = {
    "genes as they vary": ["reduce.unit_variance=no"],
    "genes of unit variance": ["reduce.unit_variance=yes"],
}
"""Settings of each column. The first is the default for cells anywhere, the second that for spots."""


def drawn(cells: anndata.AnnData, seed: int, *, spots: bool = False) -> anndata.AnnData:
    """Return a tissue of drawn cells: counts, ``obs["cell_type"]`` (the layer) and ``obsm["spatial"]``.

    Parameters
    ----------
    cells
        Counts, and ``obs["cell_type"]``.
    spots
        Sum eight cells in each spot of a hexagonal grid, in place of single cells anywhere.
    """
    rng = np.random.default_rng(seed)
    types, names = pd.factorize(cells.obs[LABELS].astype(str), sort=True)
    places = _grid() if spots else rng.random((ACROSS * DOWN, 2)) * [ACROSS, DOWN]
    depth = places[:, 0] + 2 * np.sin(places[:, 1] / 8 + rng.uniform(0, 6.3))
    ends = np.quantile(depth, np.cumsum(rng.dirichlet(np.full(_N_LAYERS, 8.0)))[:-1])
    layer = np.searchsorted(ends, depth)
    # Rare types are in the tissue too, but do not make layers alone.
    usual = np.sqrt(np.bincount(types))
    usual /= usual.sum()
    own = rng.dirichlet(0.8 * len(names) * usual + 0.15, _N_LAYERS)
    mix = _OWN * own + (1 - _OWN) * usual
    per_place = _CELLS_PER_SPOT if spots else 1
    rows = np.empty((len(places), per_place), np.int64)
    members = [np.flatnonzero(types == at) for at in range(len(names))]
    for place, at in enumerate(layer):
        of = rng.choice(len(names), per_place, p=mix[at])
        rows[place] = [rng.choice(members[one]) for one in of]
    sums = sparse.csr_matrix(
        (
            np.ones(rows.size, np.float32),
            (np.repeat(np.arange(len(rows)), per_place), rows.ravel()),
        ),
        shape=(len(rows), cells.n_obs),
    )
    return anndata.AnnData(
        sparse.csr_matrix(sums @ sparse.csr_matrix(cells.X)).astype(np.float32),
        obs=pd.DataFrame(
            {LABELS: pd.Categorical([f"layer {at}" for at in layer])},
            index=[f"place{at}" for at in range(len(rows))],
        ),
        var=cells.var[[]],
        obsm={"spatial": places},
    )


def _grid() -> FloatArray:
    row, column = np.divmod(np.arange(ACROSS * DOWN), ACROSS)
    return np.column_stack([column + 0.5 * (row % 2), row * np.sqrt(0.75)])


def _rows(cells: anndata.AnnData, scratch: Path, settings: list[str]) -> Iterator[Row]:
    """Yield a row for each way to scale the genes, at the number of layers."""
    file, out = scratch / "tissue.h5ad", scratch / "run"
    cells.write_h5ad(file)
    true, places = cells.obs[LABELS].to_numpy(), cells.obsm["spatial"]
    for method, changed in CHANGED.items():
        config = runs.config_of([*settings, *changed], spatial=True, device="cpu")
        runs.run(file, out, config, until="tissue", restart=True)
        run = runs.opened(out)
        points, overlap = np.asarray(run.open(TISSUE_SPACE)), run.record(TissueStage).overlap
        near = np.asarray(run.open(NEIGHBOR_IDS))
        n_genes = len(runs.selected_genes(out))
        labels = cluster(
            points, len(set(true)), settings=MIXTURE, seed=0, overlap=overlap, around=near
        )
        labels = majority_labels(labels, places, SMOOTHING_CELLS)
        yield {"method": method, "selected": n_genes, **score(labels, true)}


def _table(rows: list[Row]) -> list[str]:
    """Return a row for each set: genes, and mean ARI over seeds for each method; and the means over sets."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    sets = list(dict.fromkeys(row["set"] for row in rows))
    lines = []
    for name in [*sets, None]:
        mine = [row for row in rows if name in (None, row["set"])]
        genes = f"{mine[0]['genes']:,} ({mine[0]['selected']:,})" if name else ""
        means = [np.mean([row["ari"] for row in mine if row["method"] == m]) for m in methods]
        texts = [f"{mean:.3f}" if name else f"**{mean:.3f}**" for mean in means]
        lines.append([name or "**mean**", genes, *texts])
    return table(["ARI", "genes (selected)", *methods], lines)


def main(arguments: list[str] | None = None) -> None:
    """Draw and run all tissues; write the table and its rows."""
    parser = parser_of("bench.spatial.drawn", __doc__)
    add_data(parser)
    add_seeds(parser, [0, 1])
    add_settings(parser)
    parser.add_argument("--spots", action="store_true", help="spots of eight cells on a grid")
    args = parsed(parser, arguments)
    rows = logged(args.out, _all_rows(args))
    what = "spots of eight cells" if args.spots else "cells anywhere"
    note = (
        f"Tissues of {ACROSS * DOWN:,} {what}, six layers, seeds {args.seeds}; the mean over seeds, at the number of "
        "layers."
    )
    write_results(args, "Tissues of drawn cells", [note, "", *_table(rows)])


def _all_rows(args: argparse.Namespace) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        for path in labelled_files(args.data, args.sets, spatial=False):
            if read_labelled(path).n_cells < LEAST_CELLS:
                continue
            cells = read_counted(path)
            for seed in args.seeds:
                tissue = drawn(cells, seed, spots=args.spots)
                case = {"set": path.stem, "genes": tissue.n_vars, "seed": seed}
                for row in _rows(tissue, Path(folder), args.set):
                    yield {**case, **row}


if __name__ == "__main__":
    main()
