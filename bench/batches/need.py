"""Random batches of even and uneven sizes, and moved ones: how often the stage ``correct`` finds a need to correct.

``python -m bench.batches.need --data DIR --draws 100``

The components of each set are computed once. Batches are then drawn at random among its cells: of equal shares, of
shares that halve from batch to batch (geometric), of shares from a Dirichlet distribution with .3, and one or two large
ones with some of 1 to 5 cells. There is nothing to correct. In the last rows one of two random batches is moved in a
random direction, by a part of the mean distance from a cell to its fifteenth neighbour: an effect. Each draw is decided
as in cells, and as in a tissue, where any mixing below chance counts. Labels are not used.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.arguments import add_data, add_settings, parsed, parser_of
from bench._frame.labelled import labelled_files
from bench._frame.page import table, write_results
from bench._frame.rows import logged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from bench._frame.rows import Row

__all__ = ["main"]

_SIZES = (2, 4, 8, 20, 50)
_TINY = {
    "1 large, 1 tiny": (1, 1),
    "1 large, 3 tiny": (1, 3),
    "1 large, 10 tiny": (1, 10),
    "2 large, 3 tiny": (2, 3),
}
_MOVED = {
    f"share {share:g} moved by {by:g}": (share, by)
    for by in (0.5, 1.0)
    for share in (0.5, 0.1, 0.02)
}
_MOVED_DRAWS = 5
_ALPHA = 0.3


def _random_batches(
    n_cells: int, rng: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield the name of each case and one draw of it."""
    for k in _SIZES:
        halves = 0.5 ** np.arange(k)
        shares = {
            "even": np.full(k, 1 / k),
            "geometric": halves / halves.sum(),
            "Dirichlet": rng.dirichlet(np.full(k, _ALPHA)),
        }
        for name, p in shares.items():
            yield f"{k} {name}", rng.choice(k, size=n_cells, p=p)
    for name, (n_large, n_tiny) in _TINY.items():
        codes = rng.integers(n_large, size=n_cells)
        sizes = rng.integers(1, 6, size=n_tiny)
        tiny = np.repeat(np.arange(n_tiny), sizes)
        codes[rng.permutation(n_cells)[: len(tiny)]] = n_large + tiny
        yield name, codes


def _needs(points: Any, ids: Any, codes: Any, *, tissue: bool) -> bool:
    """Return the decision of the stage."""
    from scrcl.engine.stages.batches_apart import TestedCells
    from scrcl.prep.batch_effect import MIXED

    codes = np.unique(codes, return_inverse=True)[1]
    if codes.max() == 0:
        return False
    test = TestedCells(np.arange(len(points)), ids, codes, 0, 1.0 if tissue else MIXED)
    return test.batches_to_correct(codes)[1].differ


def _rows(path: Path, args: Any) -> Iterator[Row]:
    from scrcl.engine.stages.correct_fit import neighbours_among
    from scrcl.graph.knn import knn

    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        runs.run(path, Path(folder) / "out", runs.config_of(args.set), until="reduce")
        points = np.array(runs.components(Path(folder) / "out"))
    cells = np.arange(len(points))
    found: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    ids = neighbours_among(points, cells, 0)
    for draw in range(args.draws):
        for case, codes in _random_batches(len(points), np.random.default_rng(draw)):
            found[case].append(_both(points, ids, codes))
    unit = float(knn(points, min(15, len(points) - 1), seed=0).distances[:, -1].mean())
    for draw in range(min(args.draws, _MOVED_DRAWS)):
        rng = np.random.default_rng(draw)
        for case, (share, by) in _MOVED.items():
            codes = (rng.permutation(len(points)) < share * len(points)).astype(int)
            way = rng.normal(size=points.shape[1])
            moved = points + codes[:, None] * (way * by * unit / np.linalg.norm(way))
            moved = moved.astype(np.float32)
            found[case].append(_both(moved, neighbours_among(moved, cells, 0), codes))
    for case, needs in found.items():
        in_cells, in_tissue = np.sum(needs, axis=0).tolist()
        yield {
            "dataset": path.stem, "case": case, "draws": len(needs), "cells": in_cells, "tissue": in_tissue,
        }  # fmt: skip


def _both(points: Any, ids: Any, codes: Any) -> tuple[bool, bool]:
    return _needs(points, ids, codes, tissue=False), _needs(points, ids, codes, tissue=True)


def _tables(rows: list[Row]) -> list[str]:
    columns = ["batches", "sets", "draws", "corrected", "in a tissue"]
    columns += ["most of one set", "most of one set, tissue"]
    body = []
    for case in dict.fromkeys(row["case"] for row in rows):
        own = [row for row in rows if row["case"] == case]
        sums = [sum(row[key] for row in own) for key in ("draws", "cells", "tissue")]
        most = [f"{max(row[key] / row['draws'] for row in own):.0%}" for key in ("cells", "tissue")]
        body.append([case, len(own), *sums, *most])
    return table(columns, body)


def main(arguments: list[str] | None = None) -> None:
    """Decide all draws and write the table and its rows."""
    parser = parser_of("bench.batches.need", __doc__)
    add_data(parser)
    add_settings(parser)
    parser.add_argument("--draws", type=int, default=100, help="of each kind of random batches")
    args = parsed(parser, arguments)
    paths = labelled_files(args.data, args.sets)
    rows = logged(args.out, (row for path in paths for row in _rows(path, args)))
    note = "Draws in which the batches would be corrected. Rows of moved batches have an effect; the others have none."
    write_results(args, "The need to correct", [note, "", *_tables(rows)])


if __name__ == "__main__":
    main()
