"""From a store to principal components: time, memory, what decoding alone takes, and scanpy beside it.

``python -m bench.reduce --atlases DIR --sizes 250000,500000,1000000 --data DATA --out bench/results/NAME.md``

Every timed run is a process of its own, and the sides of a comparison take turns. Atlases are simulated into
``DIR`` where they are missing there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.process import commit
from bench.reduce_decode import decode, decode_table, gzip_of
from bench.reduce_genes import genes, genes_table
from bench.reduce_peers import peers, peers_table
from bench.reduce_runs import atlas_of, plan, plan_table, scale, scale_table

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SECTIONS", "main"]

_LIBRARIES = ("numpy", "scipy", "numba", "zarr", "zarrs", "anndata", "dask", "scanpy")

_say = partial(print, file=sys.stderr, flush=True)


@dataclass
class _Bench:
    """What was asked for, and the runs that two sections share."""

    args: argparse.Namespace

    @cached_property
    def atlases(self) -> list[Path]:
        """The stores of all sizes, in the order asked for."""
        if self.args.atlas is not None:
            return [self.args.atlas]
        sizes = [int(size) for size in self.args.sizes.split(",")]
        return [self.simulated(size) for size in sizes]

    def simulated(self, n_cells: int) -> Path:
        """Return the store of so many simulated cells."""
        return atlas_of(self.args.atlases, n_cells, self.args.genes)

    @cached_property
    def scaled(self) -> dict[str, Any]:
        """What the runs of all sizes took."""
        args = self.args
        return scale(self.atlases, memory=args.memory, repeats=args.repeats, say=_say)


def _scale(bench: _Bench) -> tuple[dict[str, Any], list[str]]:
    return bench.scaled, scale_table(bench.scaled)


def _decode(bench: _Bench) -> tuple[list[dict[str, Any]], list[str]]:
    args, atlas = bench.args, bench.atlases[0]
    args.atlases.mkdir(parents=True, exist_ok=True)
    stores = [atlas, gzip_of(atlas, args.atlases, args.gzip_cells)]
    rows = decode(stores, memory=args.memory, workers=args.workers, repeats=args.repeats, say=_say)
    return rows, decode_table(rows)


def _peers(bench: _Bench) -> tuple[dict[str, Any], list[str]]:
    args = bench.args
    atlas = bench.simulated(args.scanpy) if args.atlas is None else args.atlas
    found = peers(
        atlas,
        memory=args.memory,
        repeats=args.repeats,
        say=_say,
        chunk_rows=args.dask_rows,
        limit_gb=args.limit_gb,
    )
    return found, peers_table(found)


def _genes(bench: _Bench) -> tuple[list[dict[str, Any]], list[str]]:
    rows = genes(sorted(bench.args.data.glob("*.h5ad")), _say)
    return rows, genes_table(rows)


def _plan(bench: _Bench) -> tuple[list[dict[str, Any]], list[str]]:
    rows = plan(bench.atlases, bench.scaled, memory=bench.args.memory)
    return rows, plan_table(rows)


_Section = tuple[str, "Callable[[_Bench], tuple[Any, list[str]]]"]

SECTIONS: dict[str, _Section] = {
    "scale": ("From a store to components, by size", _scale),
    "decode": ("The first pass against decoding alone", _decode),
    "peers": ("scanpy on the same store", _peers),
    "genes": ("Genes and components against scanpy in memory, set by set", _genes),
    "plan": ("What was planned, and what it took", _plan),
}

CAVEATS = {
    "scale": "Seconds are medians, peaks the largest seen: the kernel's of the whole process, and those that the "
    "run records a stage. Stores were read through before each run, so they lie in the page cache as far as it "
    "holds them; libraries are imported anew in each process, compiled code comes from its cache.",
    "decode": "Both read the same blocks of rows with the same threads, in one process; bytes are of the values "
    "and columns as they are stored. Cold: files put out of the page cache before each pass, by advice to the "
    "kernel; caches below it (of a virtual disk) stay.",
    "peers": "Every side goes from the same store to the scores of up to 100 components of up to 2,000 genes. "
    "Without imports: for scrcl the sum of its stages, for scanpy from the first read. Dask keeps nothing "
    "between its passes, as in scanpy's own tutorial. Ratios are of one round.",
    "genes": "Batches are three, drawn at random. The angle is the largest between the principal subspaces, scanpy's "
    "by a full decomposition in float64; it means little where the singular values at the cut hardly differ "
    "(gap: one minus the ratio of the first left out to the last kept).",
    "plan": "Ratios are of what was planned to what it took (the runs of the first section). Planned seconds are "
    "those of other cores: what tells is how alike the ratios of the stages are.",
}


def _conditions(args: argparse.Namespace) -> str:
    told = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return (
        f"Commit {commit()}; {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, {told}. --memory {args.memory}, {args.repeats} rounds. "
        "MB are 10^6 bytes."
    )


def _write(args: argparse.Namespace, found: dict[str, Any], tables: dict[str, list[str]]) -> str:
    lines = [f"# From a store to components, {time.strftime('%Y-%m-%d')}", ""]
    lines += [f"`python -m bench.reduce {' '.join(args.told)}`", "", _conditions(args), ""]
    for name, table in tables.items():
        lines += [f"## {SECTIONS[name][0]}", "", CAVEATS[name], "", *table, ""]
    text = "\n".join(lines)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
        record = {
            "commit": commit(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            **found,
        }
        args.out.with_suffix(".json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--atlases", type=Path, default=Path("out/atlases"), help="cache folder")
    parser.add_argument("--atlas", type=Path, help="one store to take in place of simulated ones")
    parser.add_argument("--sizes", default="250000,500000,1000000", help="cells")
    parser.add_argument("--genes", type=int, default=20_000, help="of simulated atlases")
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--workers", default="1,2", help="threads of the section decode")
    parser.add_argument("--gzip-cells", type=int, default=50_000, help="of its .h5ad")
    parser.add_argument("--scanpy", type=int, default=250_000, help="cells of the section peers")
    parser.add_argument("--dask-rows", type=int, default=100_000, help="rows of a chunk")
    parser.add_argument("--limit-gb", type=float, default=20.0, help="memory scanpy may address")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of .h5ad files")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections")
    parser.add_argument("--out", type=Path, help="Markdown file to write, with a .json beside it")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the sections asked for; the report is written anew after each."""
    parser = _parser()
    args = parser.parse_args(arguments)
    args.told = sys.argv[1:] if arguments is None else arguments
    asked = args.only.split(",")
    unknown = sorted(set(asked) - set(SECTIONS))
    if unknown:
        parser.error(f"--only must name sections; got {unknown[0]!r}. There are: {list(SECTIONS)}")
    bench = _Bench(args)
    found: dict[str, Any] = {}
    tables: dict[str, list[str]] = {}
    text = ""
    for name in (name for name in SECTIONS if name in asked):
        found[name], tables[name] = SECTIONS[name][1](bench)
        text = _write(args, found, tables)
    print(text)


if __name__ == "__main__":
    main()
