"""What ordering cells by partition brings to contiguous reads of them.

``python -m bench.order --points scores.npy --n 1000000 --out bench/results/NAME.md``

The neighbour graph of the points is built once. Then the points are cut into reads of so many rows, as they came and
in the order of partitions into lists of several sizes, and what a read needs beyond its own rows is counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.process import commit
from scrcl._random import stream
from scrcl.graph.csr import symmetric_graph
from scrcl.graph.knn import knn
from scrcl.graph.locality import locality
from scrcl.graph.partition import partition

if TYPE_CHECKING:
    from scrcl.graph.csr import Graph
    from scrcl.typing import FloatArray, IntArray

__all__ = ["main", "measure"]


def measure(
    points: FloatArray, graph: Graph, reads: list[int], lists: list[int]
) -> list[dict[str, Any]]:
    """Return locality by order and size of a read."""
    shuffled = stream(0, "bench.order").permutation(len(points))
    orders: dict[str, tuple[IntArray | None, float]] = {
        "as they came": (None, 0.0),
        "shuffled": (shuffled, 0.0),
    }
    for rows in lists:
        start = time.perf_counter()
        lists_of_rows = partition(points, seed=0, list_rows=rows)
        orders[f"lists of {rows:,}"] = lists_of_rows.order, time.perf_counter() - start
    found = []
    for name, (order, seconds) in orders.items():
        for rows in reads:
            inside, halo = locality(graph, rows, order)
            found.append(
                {
                    "order": name,
                    "read_rows": rows,
                    "inside": inside,
                    "halo": halo,
                    "seconds": seconds,
                }
            )
            print(found[-1], file=sys.stderr, flush=True)
    return found


def _table(found: list[dict[str, Any]]) -> list[str]:
    names = "order, rows of a read, edges inside, halo rows for each own row, halo share of all rows, s to order"
    lines = [f"| {names.replace(', ', ' | ')} |", "|---|---:|---:|---:|---:|---:|"]
    for one in found:
        share = one["halo"] / (1 + one["halo"])
        lines.append(
            f"| {one['order']} | {one['read_rows']:,} | {one['inside']:.1%} | {one['halo']:.2f} | {share:.1%} | "
            f"{one['seconds']:.1f} |"
        )
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Build the graph, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=Path, required=True, help=".npy of points")
    parser.add_argument("--n", type=int, help="points drawn; all where not given")
    parser.add_argument("--dims", type=int, default=50, help="first columns taken")
    parser.add_argument("--k", type=int, default=15)
    parser.add_argument("--reads", default="1024,4096,16384")
    parser.add_argument("--lists", default="128,512,2048")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    stored = np.load(args.points, mmap_mode="r")
    rows = np.arange(len(stored))
    if args.n is not None:
        rows = np.sort(stream(0, "bench.order.points").choice(len(stored), args.n, replace=False))
    points = np.ascontiguousarray(stored[rows, : args.dims], dtype=np.float32)
    with tempfile.TemporaryDirectory(prefix="scrcl-order-") as folder:
        found = knn(points, args.k, seed=0, folder=Path(folder))
        graph = symmetric_graph(found.ids, Path(folder) / "graph")
        sizes = [[int(size) for size in text.split(",")] for text in (args.reads, args.lists)]
        measured = measure(points, graph, *sizes)
    told = sys.argv[1:] if arguments is None else arguments
    conditions = (
        f"Commit {commit()}. {len(points):,} points of {points.shape[1]} dimensions, {args.k} neighbours "
        f"({found.backend}, recall {found.recall:.3f}), symmetric union. A halo row is a neighbour outside the "
        "read, counted once a read."
    )
    lines = [f"# Order of cells, {time.strftime('%Y-%m-%d')}", ""]
    lines += [f"`python -m bench.order {' '.join(told)}`", "", conditions, ""]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join([*lines, *_table(measured), ""]), encoding="utf-8")
    args.out.with_suffix(".json").write_text(json.dumps(measured, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
