"""From a store to principal component scores: time, memory, the share of decoding, and scanpy.

``python -m bench.reduce --atlases DIR --sizes 250000,500000,1000000 --data DATA``

Every timed run is a process of its own, and the sides of a comparison take turns. Atlases that ``DIR`` lacks are
simulated into it.
"""

from __future__ import annotations

import sys
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench._frame.arguments import (
    add_data,
    add_only,
    add_repeats,
    add_sizes,
    choices_of,
    parsed,
    parser_of,
)
from bench._frame.labelled import labelled_files
from bench._frame.sections import Section, Sections, measure_sections
from bench.reduce.decode import decode, decode_table, gzip_of
from bench.reduce.genes import genes, genes_table
from bench.reduce.peers import SIDES, Limits, peers, peers_table
from bench.reduce.runs import atlas_of, plan, plan_table, scale, scale_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

__all__ = ["main"]

LIBRARIES = ("numpy", "scipy", "numba", "zarr", "zarrs", "anndata", "dask", "scanpy")

_log = partial(print, file=sys.stderr, flush=True)


class _Bench:
    """The options, and the runs that two sections share."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args

    @cached_property
    def atlases(self) -> list[Path]:
        """The stores of all sizes, in the order of ``--sizes``."""
        if self.args.atlas is not None:
            return [self.args.atlas]
        return [self.simulated(size) for size in self.args.sizes]

    def simulated(self, n_cells: int) -> Path:
        """Return the store of so many simulated cells."""
        return atlas_of(self.args.atlases, n_cells, self.args.genes)

    @cached_property
    def scaled(self) -> dict[str, Any]:
        """Time and memory of the runs of all sizes."""
        args = self.args
        return scale(self.atlases, memory=args.memory, repeats=args.repeats, log=_log)


def _scale(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    yield bench.scaled, _lines("scale", bench, scale_table(bench.scaled))


def _decode(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    args, atlas = bench.args, bench.atlases[0]
    args.atlases.mkdir(parents=True, exist_ok=True)
    stores = [atlas, gzip_of(atlas, args.atlases, args.gzip_cells)]
    rows = decode(stores, memory=args.memory, workers=args.workers, repeats=args.repeats, log=_log)
    yield rows, _lines("decode", bench, decode_table(rows))


def _peers(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    args = bench.args
    atlas = bench.simulated(args.scanpy) if args.atlas is None else args.atlas
    limits = Limits(chunk_rows=args.dask_rows, limit_gb=args.limit_gb)
    found = peers(
        atlas, limits, sides=args.sides, memory=args.memory, repeats=args.repeats, log=_log
    )
    yield found, _lines("peers", bench, peers_table(found))


def _genes(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    rows = genes(labelled_files(bench.args.data, bench.args.sets), _log)
    yield rows, _lines("genes", bench, genes_table(rows))


def _plan(bench: _Bench) -> Iterator[tuple[Any, list[str]]]:
    rows = plan(bench.atlases, bench.scaled, memory=bench.args.memory)
    yield rows, _lines("plan", bench, plan_table(rows))


SECTIONS: Sections = {
    "scale": Section("From a store to components, by size", _scale),
    "decode": Section("The first pass against decoding alone", _decode),
    "peers": Section("scanpy on the same store", _peers),
    "genes": Section("Genes and components against scanpy in memory, set by set", _genes),
    "plan": Section("Estimates and measurements", _plan),
}

NOTES = {
    "scale": "Seconds are medians. Peaks are the largest: the kernel's for the whole process, the run's own record for "
    "each stage. Stores were read once before each run, so the page cache has as much of them as fits. Libraries are "
    "imported in each process; compiled code comes from its cache.",
    "decode": "Both read the same blocks of rows with the same threads, in one process. Bytes are those of the stored "
    "values and columns. Cold: the kernel was advised to drop the files from the page cache before each pass; caches "
    "below it (of a virtual disk) stay.",
    "peers": "Every side starts from the same store and ends with the scores of up to 100 components of up to 2,000 "
    "genes. Without imports: for scrcl the sum of its stages, for scanpy from the first read. Dask keeps nothing "
    "between its passes, as in scanpy's own tutorial. Ratios compare runs of one round.",
    "genes": "Three batches are drawn at random. The angle is the largest between the principal subspaces; scanpy uses "
    "a full decomposition in float64. It means little where the singular values at the cut hardly differ "
    "(gap: one minus the ratio of the first left out to the last kept).",
    "plan": "Ratios are estimate over measurement, for the runs of the first section. Estimated seconds are for other "
    "cores, so compare the ratios of the stages with each other.",
}


def _lines(name: str, bench: _Bench, table: list[str]) -> list[str]:
    args = bench.args
    how = f"--memory {args.memory}, {args.repeats} rounds. MB are 10^6 bytes."
    return [f"{NOTES[name]} {how}", "", *table]


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("bench.reduce", __doc__)
    add_data(parser, Path("data"))
    add_only(parser, SECTIONS, "sections")
    add_sizes(parser, [250_000, 500_000, 1_000_000], "cells of the simulated atlases")
    add_repeats(parser, 3, "rounds")
    parser.add_argument("--atlases", type=Path, default=Path("out/atlases"), help="cache folder")
    parser.add_argument("--atlas", type=Path, help="a store to use instead of simulated ones")
    parser.add_argument("--genes", type=int, default=20_000, help="of simulated atlases")
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--workers", default="1,2", help="threads of the section decode")
    parser.add_argument("--gzip-cells", type=int, default=50_000, help="of its .h5ad")
    parser.add_argument("--scanpy", type=int, default=250_000, help="cells of the section peers")
    parser.add_argument(
        "--sides", type=choices_of(SIDES, "sides"), default=list(SIDES), help="of the section peers"
    )
    parser.add_argument("--dask-rows", type=int, default=100_000, help="rows of a chunk")
    parser.add_argument("--limit-gb", type=float, default=20.0, help="address space of scanpy")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the sections asked for; the page is written after each."""
    bench = _Bench(parsed(_parser(), arguments))
    print(measure_sections("From a store to components", SECTIONS, bench, libraries=LIBRARIES))


if __name__ == "__main__":
    main()
