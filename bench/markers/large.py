"""Markers of a large atlas: seconds and peak memory, next to scanpy and illico on cells that they can hold.

``python -m bench.markers.large STORE --sizes 1000000 --peers scanpy,illico --peer-sizes 20000``

STORE is one that ``scrcl simulate`` wrote; its cell types are the groups. All do Wilcoxon's test of each group against
all other cells, over all genes. Each measurement is a process of its own, whose peak memory includes the libraries.
scrcl reads the first cells of the store in blocks; totals of cells and moments of genes are there, as they are in a run
after its stage ``stats``. Peers get the same cells as log values in memory. Times are those of the test alone.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.arguments import numbers, parsed, parser_of, words
from bench._frame.conditions import conditions, stamp
from bench._frame.page import table, write_page
from bench._frame.process import bench_command, found_by, peak_rss_bytes
from bench._frame.rows import RowLog
from bench.markers.agreement import codes_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from bench._frame.rows import Row

__all__ = ["main", "measured"]

_N_WORKERS = 2


def _codes(store: Path, n_cells: int) -> Any:
    """Return the cell type of each of the first cells as a number, -1 for types of one cell."""
    import anndata
    import zarr

    obs = anndata.io.read_elem(zarr.open_group(store, mode="r")["obs"])
    return codes_of(obs["cell_type"][:n_cells], np.ones(n_cells, bool))


def _scrcl(store: Path, n_cells: int) -> Callable[[], Any]:
    from scrcl.engine.compare_genes import compared
    from scrcl.engine.memory import block_rows_of
    from scrcl.engine.stages.markers import MarkersSettings
    from scrcl.io.open import open_input
    from scrcl.io.stream import Reading
    from scrcl.io.subset import some_cells
    from scrcl.prep.compute_stats import compute_stats

    matrix, codes = open_input([store]), _codes(store, n_cells)
    per_row = (matrix.nnz or matrix.n_vars * matrix.n_obs) / matrix.n_obs
    if n_cells < matrix.n_obs:
        some = np.arange(n_cells)
        matrix = some_cells(
            matrix, some, nnz=int(per_row * n_cells), label="first cells", digest="first"
        )
    block_rows = block_rows_of(per_row, n_cells)
    stats = compute_stats(matrix.rows(block_rows), reading=Reading(_N_WORKERS))
    return lambda: compared(
        matrix,
        stats,
        codes,
        MarkersSettings(),
        block_rows=block_rows,
        reading=lambda: Reading(_N_WORKERS),
    )


def _logs(store: Path, n_cells: int) -> Any:
    """Return the first cells as AnnData with log values, and the groups in ``obs["group"]``."""
    import anndata
    import pandas as pd
    import scanpy as sc

    from scrcl.io.open import open_input
    from scrcl.io.rows import as_csr

    matrix = open_input([store])
    rows = as_csr(matrix.x(n_cells)[:n_cells].compute()).astype(np.float32)
    logs = anndata.AnnData(rows, var=pd.DataFrame(index=matrix.var.index))
    codes = _codes(store, n_cells)
    logs = logs[codes >= 0].copy()
    logs.obs["group"] = pd.Categorical(codes[codes >= 0].astype(str))
    sc.pp.normalize_total(logs, target_sum=1e4)
    sc.pp.log1p(logs)
    return logs


def _scanpy(store: Path, n_cells: int) -> Callable[[], Any]:
    import scanpy as sc

    logs = _logs(store, n_cells)
    return lambda: sc.tl.rank_genes_groups(logs, "group", method="wilcoxon")


def _illico(store: Path, n_cells: int) -> Callable[[], Any]:
    from illico import asymptotic_wilcoxon

    logs = _logs(store, n_cells)
    return lambda: asymptotic_wilcoxon(
        logs,
        is_log1p=True,
        group_keys="group",
        reference=None,
        n_threads=_N_WORKERS,
        tie_correct=False,
        use_continuity=False,
    )


_SIDES = {"scrcl": _scrcl, "scanpy": _scanpy, "illico": _illico}


def measured(side: str, store: Path, n_cells: int) -> Row:
    """Return seconds and peak memory of one side's test on the first cells, in this process."""
    test = _SIDES[side](store, n_cells)
    before, wall, cpu = peak_rss_bytes(), time.perf_counter(), time.process_time()
    test()
    return {
        "side": side,
        "n_cells": n_cells,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_before_bytes": before,
    }


def _line(row: Row) -> list[object]:
    return [
        row["side"],
        f"{row['n_cells']:,}",
        f"{row['wall_s']:.1f}",
        f"{row['cpu_s']:.1f}",
        f"{row['peak_rss_bytes'] / 1e6:,.0f}",
        f"{row['peak_before_bytes'] / 1e6:,.0f}",
        f"{row['n_cells'] / row['cpu_s']:,.0f}",
    ]


_COLUMNS = ("by", "cells", "wall s", "CPU s", "peak MB", "before the test", "cells a CPU s")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = parser_of("bench.markers.large", __doc__)
    parser.add_argument("store", type=Path, help="store of `scrcl simulate`")
    parser.add_argument("--sizes", type=numbers, default=[1_000_000], help="cells for scrcl")
    parser.add_argument("--peers", type=words, default=[], help="scanpy, illico")
    parser.add_argument("--peer-sizes", type=numbers, default=[20_000], help="cells for all")
    parser.add_argument("--side", choices=sorted(_SIDES), help="measure one, in this process")
    parser.add_argument("--found", type=Path, help="file for what --side finds")
    return parsed(parser, arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure each side at each size; the page is written after each."""
    args = _options(arguments)
    if args.side:
        found = measured(args.side, args.store, args.sizes[0])
        args.found.write_text(json.dumps(found), encoding="utf-8")
        return
    work = [(side, size) for size in args.peer_sizes for side in ("scrcl", *args.peers)]
    work = [each for each in work if args.peers] + [("scrcl", size) for size in args.sizes]
    rows: list[Row] = []
    with RowLog(args.out) as log:
        for side, size in work:
            command = bench_command("markers.large", args.store, "--side", side, "--sizes", size)
            rows.append({**stamp(), **found_by(command)})
            log.append(rows[-1])
            print(rows[-1], file=sys.stderr, flush=True)
            write_page(
                args.out,
                "Markers of a large atlas",
                args.command,
                conditions(libraries=["scanpy"]),
                table(_COLUMNS, [_line(row) for row in rows]),
            )


if __name__ == "__main__":
    main()
