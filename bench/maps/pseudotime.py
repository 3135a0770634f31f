"""Diffusion pseudotime of runs against scanpy's, and against a known time.

``python -m bench.maps.pseudotime --data DIR --sizes 5000,100000``

Sets of ``--data`` start at the first cell of their first type. Of each of ``--sizes`` a path is simulated: profiles of
genes that turn into each other, one after the other, so the time of each cell is known. scanpy finds the neighbours,
the diffusion map and the pseudotime of the same components. A second row has a tenth of the cells compared
(``pseudotime.cells``), and the others put among them. Correlations are Spearman's, over the cells that both reach.
"Taken for 1" counts the ten eigenvalues that scanpy takes for 1, the stationary one included.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_data, add_settings, add_sizes, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.labelled import LABELS, labelled_files
from bench._frame.page import table, write_results
from bench._frame.rows import logged

if TYPE_CHECKING:
    from bench._frame.rows import Row

__all__ = ["WEIGHTS", "main", "simulated_path"]

WEIGHTS = "umap"
"""How scanpy weights its edges: as runs do."""

_GENES, _WAYPOINTS, _COUNTS = 500, 6, 2000
_BLOCK = 10_000
_SCANPYS_LIMIT = 0.9994
_KEY = "scrcl_pseudotime"


def simulated_path(n_cells: int, seed: int = 0) -> Any:
    """Return counts along a path as AnnData; its time, 0 to 1, is in ``obs["time"]``."""
    import anndata
    import pandas as pd
    from scipy import sparse

    rng = np.random.default_rng(seed)
    time_of = rng.random(n_cells)
    profiles = rng.gamma(0.4, 1.0, (_WAYPOINTS, _GENES)) + 0.02
    profiles /= profiles.sum(axis=1, keepdims=True)
    at = time_of * (_WAYPOINTS - 1)
    before = np.minimum(at.astype(int), _WAYPOINTS - 2)
    part = (at - before)[:, None]
    counts = [
        sparse.csr_matrix(
            rng.poisson(
                _COUNTS * ((1 - part[i]) * profiles[before[i]] + part[i] * profiles[before[i] + 1])
            ).astype(np.float32)
        )
        for i in (slice(start, start + _BLOCK) for start in range(0, n_cells, _BLOCK))
    ]
    obs = pd.DataFrame({"time": time_of}, index=[f"cell{i}" for i in range(n_cells)])
    var = pd.DataFrame(index=[f"gene{i}" for i in range(_GENES)])
    return anndata.AnnData(sparse.vstack(counts, format="csr"), obs=obs, var=var)


def _theirs(result: Any, root: str, n_neighbors: int) -> tuple[Any, dict[str, Any]]:
    """Return scanpy's pseudotime of the components of a run, and about it."""
    import anndata
    import scanpy as sc

    cells = anndata.AnnData(obs=result.obs[[]].copy(), obsm={"X_pca": result.obsm["X_pca"]})
    start = time.process_time()
    sc.pp.neighbors(cells, n_neighbors=n_neighbors, use_rep="X_pca", method=WEIGHTS)
    sc.tl.diffmap(cells)
    cells.uns["iroot"] = int(cells.obs_names.get_loc(root))
    sc.tl.dpt(cells)
    about = {
        "scanpy_cpu_s": time.process_time() - start,
        "taken_for_1": int((cells.uns["diffmap_evals"][:10] >= _SCANPYS_LIMIT).sum()),
    }
    return cells.obs["dpt_pseudotime"].to_numpy(), about


def _agreement(one: Any, other: Any) -> float | None:
    from scipy.stats import spearmanr

    if other is None:
        return None
    both = np.isfinite(one) & np.isfinite(other)
    return float(spearmanr(np.asarray(one)[both], np.asarray(other)[both]).statistic)


def _measured(name: str, cells: Any, root: str, settings: list[str]) -> list[Row]:
    from scrcl.engine.stages.pseudotime import PseudotimeStage

    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        source, out = Path(folder) / "cells.h5ad", Path(folder) / "out"
        cells.write_h5ad(source)
        theirs: Any = None
        about: dict[str, Any] = {}
        for n_compared in (cells.n_obs, max(cells.n_obs // 10, 100)):
            config = runs.config_of(settings, pseudotime={"root": root, "cells": n_compared})
            start: str | None = None if theirs is None else "pseudotime"
            runs.run(source, out, config, start=start)
            result = runs.result(out)
            if theirs is None:
                theirs, about = _theirs(result, root, config.graph.n_neighbors)
            record = runs.opened(out).record(PseudotimeStage)
            entry = next(
                each for each in runs.manifest(out)["stages"] if each["name"] == "pseudotime"
            )
            ours = result.obs[_KEY].to_numpy()
            rows.append(
                {
                    "dataset": name,
                    "n_cells": result.n_obs,
                    "n_compared": record.n_compared,
                    "n_apart": record.n_apart,
                    "scanpy": _agreement(ours, theirs),
                    "time": _agreement(ours, result.obs.get("time")),
                    "scanpys_time": _agreement(theirs, result.obs.get("time")),
                    "seconds": entry["seconds"],
                    "peak_rss_bytes": entry["peak_rss_bytes"],
                    **about,
                }
            )
    return rows


def _line(row: Row) -> list[object]:
    def shown(value: Any) -> str:
        return "" if value is None else f"{value:.4f}"

    found: dict[str, Any] = dict(row)
    return [
        row["dataset"],
        *(f"{found[name]:,}" for name in ("n_cells", "n_compared", "n_apart")),
        *(shown(found[name]) for name in ("scanpy", "time", "scanpys_time")),
        found["taken_for_1"],
        f"{found['seconds']:.1f}",
        f"{found['peak_rss_bytes'] / 1e6:,.0f}",
        f"{found['scanpy_cpu_s']:.1f}",
    ]


_COLUMNS = (
    "cells of", "cells", "compared", "not reached", "with scanpy", "with time", "scanpy with time", "taken for 1",
    "stage s", "peak MB", "scanpy CPU s",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Measure on each set and each size, and write the page and its rows."""
    parser = parser_of("bench.maps.pseudotime", __doc__)
    add_data(parser)
    add_sizes(parser, [5_000, 100_000], "cells of the simulated paths")
    add_settings(parser)
    args = parsed(parser, arguments)

    def inputs() -> Any:
        import anndata

        for path in labelled_files(args.data, args.sets):
            cells = anndata.read_h5ad(path)
            labels = cells.obs[LABELS].astype(str)
            yield path.stem, cells, str(cells.obs_names[labels == min(labels)][0])
        for n_cells in args.sizes:
            cells = simulated_path(n_cells)
            yield "a simulated path", cells, str(cells.obs["time"].idxmin())

    found = (
        {**stamp(), **row}
        for name, cells, root in inputs()
        for row in _measured(name, cells, root, args.set)
    )
    rows = logged(args.out, found)
    body = table(_COLUMNS, [_line(row) for row in rows])
    write_results(args, "Diffusion pseudotime", body, libraries=["scanpy"])


if __name__ == "__main__":
    main()
