"""The effect of ordering cells by partition on contiguous reads of them.

``python -m bench.search.order --points scores.npy --n 1000000``

The neighbour graph of the points is built once. Then the points are cut into reads of equal length: in the order of
the file, and in the order of partitions into lists of several sizes. The rows that a read needs beyond its own are
counted.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.arguments import numbers, parsed, parser_of
from bench._frame.page import table, write_results
from bench._frame.rows import write_rows
from scrcl._random import stream
from scrcl.graph.csr import symmetric_graph
from scrcl.graph.divide import partition
from scrcl.graph.knn import knn
from scrcl.graph.locality import locality

if TYPE_CHECKING:
    from scrcl.graph.csr import Graph
    from scrcl.typing import FloatArray, IntArray

__all__ = ["main"]


def _measure(
    points: FloatArray, graph: Graph, reads: list[int], lists: list[int]
) -> list[dict[str, Any]]:
    """Return locality for each order and size of a read."""
    shuffled = stream(0, "bench.order").permutation(len(points))
    orders: dict[str, tuple[IntArray | None, float]] = {
        "order of the file": (None, 0.0),
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
    columns = ["order", "rows of a read", "edges inside", "halo rows per own row"]
    return table(
        [*columns, "halo share of all rows", "s to order"],
        [
            [
                one["order"],
                f"{one['read_rows']:,}",
                f"{one['inside']:.1%}",
                f"{one['halo']:.2f}",
                f"{one['halo'] / (1 + one['halo']):.1%}",
                f"{one['seconds']:.1f}",
            ]
            for one in found
        ],
    )


def main(arguments: list[str] | None = None) -> None:
    """Build the graph, measure, and write the table."""
    parser = parser_of("bench.search.order", __doc__)
    parser.add_argument("--points", type=Path, required=True, help=".npy of points")
    parser.add_argument("--n", type=int, help="points drawn; all where not given")
    parser.add_argument("--dims", type=int, default=50, help="first columns to use")
    parser.add_argument("--k", type=int, default=15)
    parser.add_argument("--reads", type=numbers, default=[1_024, 4_096, 16_384])
    parser.add_argument("--lists", type=numbers, default=[128, 512, 2_048])
    args = parsed(parser, arguments)
    stored = np.load(args.points, mmap_mode="r")
    rows = np.arange(len(stored))
    if args.n is not None:
        rows = np.sort(stream(0, "bench.order.points").choice(len(stored), args.n, replace=False))
    points = np.ascontiguousarray(stored[rows, : args.dims], dtype=np.float32)
    with tempfile.TemporaryDirectory(prefix="scrcl-order-") as folder:
        found = knn(points, args.k, seed=0, folder=Path(folder))
        graph = symmetric_graph(found.ids, Path(folder) / "graph")
        measured = _measure(points, graph, args.reads, args.lists)
    notes = (
        f"{len(points):,} points of {points.shape[1]} dimensions, {args.k} neighbours "
        f"({found.backend}, recall {found.recall:.3f}), symmetric union. A halo row is a neighbour "
        "outside the read, counted once in each read."
    )
    write_rows(args.out, measured)
    write_results(args, "Order of cells", [notes, "", *_table(measured)])


if __name__ == "__main__":
    main()
