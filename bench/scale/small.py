"""A whole run of a small set, with its report, beside scanpy's usual steps up to markers and UMAP.

``python -m bench.scale.small FILE --repeats 3``

Both run as processes of their own, in turn, after one run of each that is not counted: it fills the caches of compiled
loops and of files. Seconds are from outside, so they include starting Python. CPU seconds count all threads; they
depend less on other work on the machine than seconds do. scanpy reads the file, selects 2,000 genes and makes 50
components, neighbours, UMAP, Leiden clusters (igraph) and Wilcoxon markers, and writes the result. It has no report.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench._frame.arguments import add_repeats, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.page import table, write_results
from bench._frame.process import bench_command, scrcl_command, used
from bench._frame.rows import logged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench._frame.rows import Row

__all__ = ["by_scanpy", "main"]


def by_scanpy(path: Path, out: Path) -> None:
    """Cluster a file as scanpy's tutorials do, and write the result."""
    import anndata
    import scanpy as sc

    cells = anndata.read_h5ad(path)
    sc.pp.filter_cells(cells, min_counts=1)
    sc.pp.filter_genes(cells, min_cells=1)
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    sc.pp.highly_variable_genes(cells, n_top_genes=min(2_000, cells.n_vars // 2))
    sc.pp.pca(cells, n_comps=min(50, cells.n_vars // 4))
    sc.pp.neighbors(cells)
    sc.tl.umap(cells)
    sc.tl.leiden(cells, flavor="igraph", n_iterations=2, directed=False)
    sc.tl.rank_genes_groups(cells, "leiden", method="wilcoxon")
    cells.write_h5ad(out)


def _measured(command: list[str]) -> dict[str, float]:
    seconds, usage = used(command)
    return {
        "wall_s": seconds,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "load": os.getloadavg()[0],
    }


def _commands(path: Path, folder: Path) -> dict[str, list[str]]:
    return {
        "scrcl": scrcl_command("run", path, "--out", folder / "out", "--restart", "--quiet"),
        "scanpy": bench_command("scale.small", path, "--scanpy-to", folder / "theirs.h5ad"),
    }


def _line(side: str, rows: list[Row]) -> list[object]:
    of_side: list[Any] = [row for row in rows if row["side"] == side]
    values = [f"{median(row[key] for row in of_side):.1f}" for key in ("wall_s", "cpu_s")]
    least = [f"{min(row[key] for row in of_side):.1f}" for key in ("wall_s", "cpu_s")]
    return [side, *values, *least, f"{median(row['load'] for row in of_side):.1f}"]


_COLUMNS = ("by", "s, median", "CPU s, median", "s, least", "CPU s, least", "load of the machine")


def main(arguments: list[str] | None = None) -> None:
    """Measure both; the page is written at the end."""
    parser = parser_of("bench.scale.small", __doc__)
    parser.add_argument("file", type=Path, help="an .h5ad with counts")
    add_repeats(parser, 3, "measured runs of each")
    parser.add_argument("--scanpy-to", type=Path, help="only cluster by scanpy, to this file")
    args = parsed(parser, arguments)
    if args.scanpy_to is not None:
        by_scanpy(args.file, args.scanpy_to)
        return
    rows = logged(args.out, _rows(args.file, args.repeats))
    body = table(_COLUMNS, [_line(side, rows) for side in ("scrcl", "scanpy")])
    title = f"A whole run of {args.file.stem}"
    write_results(args, title, body, libraries=["scanpy", "torch"])


def _rows(file: Path, repeats: int) -> Iterator[Row]:
    """Yield what each side takes; a first round, which warms the caches, is left out."""
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        for repeat in range(repeats + 1):
            for side, command in _commands(file, Path(folder)).items():
                found = _measured(command)
                if repeat:
                    yield {**stamp(), "side": side, "file": file.stem, **found}


if __name__ == "__main__":
    main()
