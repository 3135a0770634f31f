"""The first pass over an atlas, against only reading and decoding the same blocks with the same threads.

``python -m bench.reduce.decode STORE --memory 2GB --workers 1,2`` runs both in one process, in turn: with the files in
the page cache, and with the files dropped from it before each pass.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.page import table
from bench._frame.process import bench_command, printed_by
from bench._frame.runs import config_of
from bench.reduce.runs import median, settings_for, store_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrcl.io.matrix import CellMatrix

__all__ = ["block_sizes", "decode", "decode_table", "gzip_of"]

GZIP_CELLS = 50_000


def block_sizes(start: int, block: Any) -> np.ndarray:
    """Return the cells, stored values and bytes of a block as stored; row pointers are not counted."""
    del start
    if isinstance(block, np.ndarray):
        return np.array([len(block), block.size, block.nbytes])
    n_bytes = block.data.nbytes + block.indices.nbytes
    return np.array([len(block.indptr) - 1, len(block.data), n_bytes])


def _rates(path: Path, *, memory: str, workers: list[int], repeats: int) -> list[dict[str, Any]]:
    """Return a row for each number of threads, with and without cached files: medians of ``repeats``."""
    from scrcl.engine.budget import plan_budget
    from scrcl.engine.run import stages_until
    from scrcl.engine.shape import shape_of
    from scrcl.engine.stages import STAGES
    from scrcl.io.open import open_input
    from scrcl.io.stream import Reading, reduce_rows
    from scrcl.prep.compute_stats import compute_stats

    matrix = open_input([path])
    config = config_of(settings_for(path), memory=memory)
    stages, shape = stages_until(STAGES, "reduce"), shape_of(matrix, config)
    block_rows = plan_budget(config.memory, stages, shape, config).block_rows
    sizes = reduce_rows(matrix.rows(block_rows), block_sizes, np.add)  # also fills the page cache
    compute_stats(matrix.rows(block_rows))  # compiles

    def only_decode(n_workers: int) -> None:
        reduce_rows(matrix.rows(block_rows), block_sizes, np.add, Reading(n_workers))

    def first_pass(n_workers: int) -> None:
        compute_stats(matrix.rows(block_rows), reading=Reading(n_workers))

    rows = []
    for cached in (True, False):
        for n_workers in workers:
            taken: tuple[list[float], list[float]] = ([], [])
            for _ in range(repeats):
                for side, seconds in zip((only_decode, first_pass), taken, strict=True):
                    if not cached:
                        _uncache(path)
                    start = time.perf_counter()
                    side(n_workers)
                    seconds.append(time.perf_counter() - start)
            rows.append({"cached": cached, "n_workers": n_workers, **_row(sizes, *taken)})
    return [{"store": path.name, "block_rows": block_rows, **_facts(matrix), **row} for row in rows]


def _facts(matrix: CellMatrix) -> dict[str, Any]:
    return {"n_cells": matrix.n_obs, "layout": matrix.layout, "dtype": str(matrix.dtype)}


def _row(sizes: np.ndarray, decoding: list[float], passing: list[float]) -> dict[str, Any]:
    n_cells, n_values, n_bytes = (int(size) for size in sizes)
    pairs = zip(passing, decoding, strict=True)
    return {
        "stored_values": n_values,
        "decoded_bytes": n_bytes,
        "decode_seconds": median(decoding),
        "stats_seconds": median(passing),
        "decode_cells_per_s": n_cells / median(decoding),
        "stats_cells_per_s": n_cells / median(passing),
        "decode_bytes_per_s": n_bytes / median(decoding),
        "stats_bytes_per_s": n_bytes / median(passing),
        "stats_over_decode": median(one / two for one, two in pairs),
    }


def _uncache(path: Path) -> None:
    """Drop the files of a store from the page cache, as far as the kernel follows the advice."""
    for file in store_files(path):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def gzip_of(atlas: Path, folder: Path, n_cells: int = GZIP_CELLS) -> Path:
    """Return an ``.h5ad`` with gzip of the first cells of an atlas; made in ``folder`` where missing."""
    import anndata

    from scrcl.io.open import open_input
    from scrcl.io.stream import iter_rows

    matrix = open_input([atlas])
    n_cells = min(n_cells, matrix.n_obs)
    path = folder / f"{atlas.stem}_first_{n_cells}_gzip.h5ad"
    if not path.exists():
        unfinished = path.with_suffix(".partial")
        _, counts = next(iter_rows(matrix.x(n_cells), n_ahead=0))
        cells = anndata.AnnData(counts, obs=matrix.obs.iloc[:n_cells], var=matrix.var)
        cells.write_h5ad(unfinished, compression="gzip")
        unfinished.replace(path)
    return path


def decode(
    stores: list[Path], *, memory: str, workers: str, repeats: int, log: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure each store in a process of its own."""
    rows: list[dict[str, Any]] = []
    for store in stores:
        command = bench_command(
            "reduce.decode", store, "--memory", memory, "--workers", workers, "--repeats", repeats
        )
        rows += printed_by(command)
        log(f"decode: {store.name}: {rows[-1]['stats_over_decode']:.2f} times the time of decoding")
    return rows


def decode_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return a table with a row for each store, state of the cache and number of threads."""
    columns = ["store", "cells", "page cache", "threads", "decoding: cells/s (MB/s)"]
    columns += ["first pass: cells/s (MB/s)", "first pass / decoding, s"]
    lines = [
        [
            row["store"],
            f"{row['n_cells']:,}",
            "warm" if row["cached"] else "cold",
            row["n_workers"],
            *(
                f"{row[f'{side}_cells_per_s']:,.0f} ({row[f'{side}_bytes_per_s'] / 1e6:,.0f})"
                for side in ("decode", "stats")
            ),
            f"**{row['stats_over_decode']:.2f}**",
        ]
        for row in rows
    ]
    return table(columns, lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure one store, and print the rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(arguments)
    workers = [int(n) for n in args.workers.split(",")]
    print(json.dumps(_rates(args.store, memory=args.memory, workers=workers, repeats=args.repeats)))


if __name__ == "__main__":
    main()
