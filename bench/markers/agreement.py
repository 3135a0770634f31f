"""Scores of markers against scanpy's tests, on every set: rank correlation over all genes of each labelled type.

``python -m bench.markers.agreement --data DIR``

Types are only groups to compare here. Both read the same log values; cells without counts and types of one cell are
left out. Spearman's correlation of the scores, the lowest and the mean over types; the lowest after scores are rounded
to four decimals, since rounding errors part genes with equal scores; the largest difference of two scores; that of ours
and of scanpy's to Welch's t in float64 (`scipy.stats`); and the CPU seconds of both, where the first set of ours
includes compilation.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_data, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.labelled import LABELS, labelled_files
from bench._frame.page import table, write_results
from bench._frame.rows import logged

if TYPE_CHECKING:
    from bench._frame.rows import Row

__all__ = ["TESTS", "codes_of", "main"]

TESTS = ("wilcoxon", "t-test")


def _theirs(cells: Any, codes: Any, test: str, *, is_log: bool) -> Any:
    """Return scanpy's scores, shape (n_genes, n_groups)."""
    import anndata
    import pandas as pd
    import scanpy as sc

    kept = codes >= 0
    logs = anndata.AnnData(
        cells.X[kept].astype(np.float32), var=pd.DataFrame(index=cells.var_names)
    )
    logs.obs["group"] = pd.Categorical(codes[kept].astype(str))
    if not is_log:
        sc.pp.normalize_total(logs, target_sum=1e4)
        sc.pp.log1p(logs)
    with np.errstate(invalid="ignore"):  # scanpy divides 0 by 0 for a gene that no cell has
        sc.tl.rank_genes_groups(logs, "group", method=test)
    by_group = [
        sc.get.rank_genes_groups_df(logs, str(group)).set_index("names")["scores"]
        for group in range(int(codes.max()) + 1)
    ]
    return np.column_stack([each.reindex(logs.var_names).fillna(0) for each in by_group])


def _exact_t(cells: Any, codes: Any, *, is_log: bool) -> Any:
    """Return Welch's t of float64 log values, shape (n_genes, n_groups); 0 where it is not defined."""
    from scipy.stats import ttest_ind_from_stats

    kept = codes >= 0
    values, group = cells.X[kept].astype(np.float64).tocsr(), codes[kept]
    if not is_log:
        values = values.multiply(1e4 / values.sum(axis=1)).tocsr()
        values.data = np.log1p(values.data)

    def moments(rows: Any) -> tuple[Any, Any, int]:
        n = rows.shape[0]
        mean = np.asarray(rows.mean(axis=0)).ravel()
        squares = np.asarray(rows.power(2).mean(axis=0)).ravel()
        return mean, np.sqrt(np.maximum(squares - mean**2, 0) * n / (n - 1)), n

    found = []
    for each in range(int(group.max()) + 1):
        sides = *moments(values[group == each]), *moments(values[group != each])
        with np.errstate(all="ignore"):  # genes without any difference
            t = ttest_ind_from_stats(*sides, equal_var=False).statistic
        found.append(np.where(np.isfinite(t), t, 0))
    return np.column_stack(found)


def _measured(path: Path) -> list[Row]:
    import anndata

    from scrcl.engine.compare_genes import compared
    from scrcl.engine.stages.markers import MarkersSettings
    from scrcl.io.open import open_input
    from scrcl.io.stream import Reading
    from scrcl.prep.artifacts import STATS

    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder) / "out"
        runs.run(path, out, runs.config_of(), until="stats")
        stats = runs.opened(out).open(STATS)
        matrix = open_input([path], layer=None, join="inner", scratch=Path(folder))
        cells = anndata.read_h5ad(path)
        cells.var_names_make_unique()
        codes = codes_of(cells.obs[LABELS], stats.retained)
        rows: list[Row] = []
        for test in TESTS:
            start = time.process_time()
            found = compared(
                matrix,
                stats,
                codes,
                MarkersSettings(test=test),
                block_rows=2048,
                reading=lambda: Reading(1),
            ).scores.score
            ours, start = time.process_time() - start, time.process_time()
            other = _theirs(cells, codes, test, is_log=stats.already_log)
            seconds = time.process_time() - start
            rho = _correlation(found, other)
            exact = _exact_t(cells, codes, is_log=stats.already_log) if test == "t-test" else None
            rows.append(
                {
                    "dataset": path.stem,
                    "n_cells": int((codes >= 0).sum()),
                    "n_genes": cells.n_vars,
                    "n_groups": len(rho),
                    "test": test,
                    "lowest": float(min(rho)),
                    "mean": float(np.mean(rho)),
                    "rounded": float(min(_correlation(found.round(4), other.round(4)))),
                    "largest": float(np.abs(found - other).max()),
                    "from_exact": None if exact is None else float(np.abs(found - exact).max()),
                    "scanpy_from_exact": None
                    if exact is None
                    else float(np.abs(other - exact).max()),
                    "cpu_s": ours,
                    "scanpy_cpu_s": seconds,
                }
            )
    return rows


def _correlation(one: Any, other: Any) -> list[float]:
    from scipy.stats import spearmanr

    return [float(spearmanr(a, b).statistic) for a, b in zip(one.T, other.T, strict=True)]


def codes_of(labels: Any, retained: Any) -> Any:
    """Return the group of each cell, -1 for cells without counts and types of one cell."""
    names, codes = np.unique(np.asarray(labels, str), return_inverse=True)
    codes = np.where(retained, codes, -1)
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    number = np.full(len(names) + 1, -1, np.int32)
    number[np.flatnonzero(sizes > 1)] = np.arange(np.count_nonzero(sizes > 1))
    return number[codes]


_COLUMNS = (
    "set", "cells", "genes", "types", "test", "lowest", "mean", "lowest, rounded", "largest difference",
    "ours to float64", "scanpy's to float64", "CPU s", "scanpy's",
)  # fmt: skip


def _line(row: Row) -> list[object]:
    return [
        row["dataset"],
        f"{row['n_cells']:,}",
        f"{row['n_genes']:,}",
        row["n_groups"],
        row["test"],
        *(f"{row[name]:.6f}" for name in ("lowest", "mean", "rounded")),
        f"{row['largest']:.1e}",
        *(_power(row[name]) for name in ("from_exact", "scanpy_from_exact")),
        *(f"{row[name]:.1f}" for name in ("cpu_s", "scanpy_cpu_s")),
    ]


def _power(value: Any) -> str:
    return "" if value is None else f"{value:.0e}"


def main(arguments: list[str] | None = None) -> None:
    """Compare on every set, and write the page and its rows."""
    parser = parser_of("bench.markers.agreement", __doc__)
    add_data(parser)
    args = parsed(parser, arguments)
    files = labelled_files(args.data, args.sets)
    rows = logged(args.out, ({**stamp(), **row} for path in files for row in _measured(path)))
    body = table(_COLUMNS, [_line(row) for row in rows])
    write_results(args, "Markers against scanpy", body, libraries=["scanpy"])


if __name__ == "__main__":
    main()
