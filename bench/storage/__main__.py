"""Storage of X: lengths of chunks and shards, codecs and readers, on resampled counts.

``python -m bench.storage --from cells.h5ad --cells 50000``

Every layout has the same cells. A scan reads blocks of about two million values in order with two threads. Random reads
fetch runs of consecutive rows at random positions. Each figure is the best of its repeats.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bench._frame.arguments import add_repeats, numbers, parsed, parser_of
from bench._frame.conditions import stamp
from bench._frame.page import table, write_results
from bench._frame.rows import Row, logged
from bench.scale.atlas import resample

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

__all__ = ["CHOSEN", "CHUNKS", "main"]

CHUNKS = (8_192, 16_384, 32_768, 65_536, 131_072, 262_144)
SHARD = 1 << 23
CHOSEN = "zstd 3"
BLOCK_VALUES = 2_000_000
RANDOM_ROWS = (64, 256, 1_024)
ZARRS = "zarrs.ZarrsCodecPipeline"
VALUE_BYTES = 8
"""Of a decoded value: float32 and an int32 column"""

NOTES = """\
Warm file cache. MB/s are of decoded float32 and int32 (8 bytes a value), for writing from memory and for scans. The
checksum is crc32c; zstd has its own."""

Codecs: TypeAlias = list[Any]


def _codecs() -> dict[str, Callable[[], Codecs]]:
    from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

    return {
        "lz4 byte": lambda: [BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"), Crc32cCodec()],
        "lz4 byte, no checksum": lambda: [BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")],
        "lz4 none": lambda: [BloscCodec(cname="lz4", clevel=5, shuffle="noshuffle"), Crc32cCodec()],
        "lz4 bit": lambda: [BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec()],
        "blosc zstd 1 byte": lambda: [
            BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"), Crc32cCodec()
        ],
        "blosc zstd 1 bit": lambda: [
            BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"), Crc32cCodec()
        ],
        "zstd 1": lambda: [ZstdCodec(level=1, checksum=True)],
        "zstd 3": lambda: [ZstdCodec(level=3, checksum=True)],
    }  # fmt: skip


@contextmanager
def _pipeline(name: str) -> Iterator[None]:
    """Use a codec pipeline; raises if it falls back to another one."""
    import zarr

    if name == "zarr":
        yield
        return
    with zarr.config.set({"codec_pipeline.path": ZARRS}), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def _write_ours(x: Any, path: Path, chunk: int, shard: int, codecs: Codecs) -> float:
    """Write the arrays of X shard by shard; return the seconds."""
    import zarr

    columns = x.indices.astype(np.uint16 if x.shape[1] <= 1 << 16 else np.int32)
    arrays = {"data": x.data.astype(np.uint16 if x.data.max() > 255 else np.uint8),
              "indices": columns, "indptr": x.indptr.astype(np.int64)}  # fmt: skip
    start = time.perf_counter()
    group = zarr.open_group(path, mode="w", zarr_format=3).create_group("X")
    group.attrs.update(
        {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": list(x.shape)}
    )
    for name, values in arrays.items():
        array = group.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=(chunk,), shards=(shard,),
            compressors=codecs,
        )  # fmt: skip
        for first in range(0, len(values), shard):
            array[first : first + shard] = values[first : first + shard]
    return time.perf_counter() - start


def _write_anndata(x: Any, path: Path, kind: str) -> float:
    import anndata

    start = time.perf_counter()
    adata = anndata.AnnData(x)
    version, shards = (3, True) if "v3" in kind else (2, False)
    settings = anndata.settings.override(zarr_write_format=version, auto_shard_zarr_v3=shards)
    with warnings.catch_warnings(), settings:
        warnings.simplefilter("ignore")
        if kind == "h5ad gzip":
            adata.write_h5ad(path, compression="gzip")
        else:
            adata.write_zarr(path)
    return time.perf_counter() - start


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from anndata.io import sparse_dataset

    from scrcl.io.formats.element import store_root

    with store_root(path) as root:
        yield sparse_dataset(root["X"])


def _scan(path: Path, block_rows: int) -> float:
    """Read all rows in order with two threads; return the seconds."""
    with _opened(path) as x:
        starts = range(0, x.shape[0], block_rows)
        began = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            for _ in pool.map(lambda start: x[start : start + block_rows].nnz, starts):
                pass
        return time.perf_counter() - began


def _random(path: Path, n_rows: int, times: int) -> float:
    """Read runs of rows at random positions; return cells a second."""
    with _opened(path) as x:
        rng = np.random.default_rng(0)
        starts = rng.integers(max(x.shape[0] - n_rows, 1), size=times).tolist()
        began = time.perf_counter()
        for start in starts:
            x[start : start + n_rows]
        return n_rows * times / (time.perf_counter() - began)


def _measure(path: Path, shape: tuple[int, int], nnz: int, repeats: int) -> dict[str, float]:
    """Return the rates of one store: cells and decoded MB a second of scans, cells a second of random reads."""
    block_rows = max(BLOCK_VALUES * shape[0] // nnz, 1)
    seconds = min(_scan(path, block_rows) for _ in range(repeats))
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    rates = {
        f"random {rows}": max(_random(path, min(rows, shape[0]), 8) for _ in range(repeats))
        for rows in RANDOM_ROWS
    }
    return {
        "MB": sum(p.stat().st_size for p in files) / 1e6,
        "scan": shape[0] / seconds,
        "scan MB/s": nnz * VALUE_BYTES / seconds / 1e6,
        **rates,
    }


def _layouts(
    x: Any, chunk: int, shards: list[int]
) -> Iterator[tuple[str, Callable[[Path], float]]]:
    def ours(length: int, shard: int, codecs: Callable[[], Codecs]) -> Callable[[Path], float]:
        return lambda path: _write_ours(x, path, length, shard, codecs())

    codecs = _codecs()
    for length in CHUNKS:
        yield f"{CHOSEN}, chunks of {length:,}", ours(length, SHARD, codecs[CHOSEN])
    for shard in shards:
        name = f"{CHOSEN}, chunks of {chunk:,}, shards of {shard:,}"
        yield name, ours(chunk, shard, codecs[CHOSEN])
    for codec, make in codecs.items():
        if codec != CHOSEN:
            yield f"{codec}, chunks of {chunk:,}", ours(chunk, SHARD, make)
    for kind in ("anndata v2 zarr", "anndata v3 zarr, own shards", "h5ad gzip"):
        yield kind, partial(_write_anndata, x, kind=kind)


def _rows(args: argparse.Namespace, pipelines: list[str]) -> Iterator[Row]:
    """Yield a row for each layout: size, rate of writing, and the rates of each pipeline."""
    import anndata
    from scipy import sparse

    with tempfile.TemporaryDirectory(prefix="scrcl-storage-") as name:
        folder = Path(name)
        resample(args.source, folder / "cells.h5ad", args.cells)
        x = sparse.csr_matrix(anndata.read_h5ad(folder / "cells.h5ad").X)
        for layout, write in _layouts(x, args.chunk, args.shards):
            path = folder / ("store.h5ad" if layout.startswith("h5ad") else "store.zarr")
            row = {
                "layout": layout,
                "n_cells": x.shape[0],
                "n_genes": x.shape[1],
                "stored_values": x.nnz,
                "write MB/s": x.nnz * VALUE_BYTES / write(path) / 1e6,
                "pipelines": {},
            }
            # zarrs reads no HDF5.
            for pipeline in [p for p in pipelines if p == "zarr" or "h5ad" not in layout]:
                with _pipeline(pipeline):
                    row["pipelines"][pipeline] = _measure(path, x.shape, x.nnz, args.repeats)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            yield row


def _lines(rows: list[Row], pipelines: list[str]) -> list[str]:
    counts = ", ".join(map(str, RANDOM_ROWS))
    rates = f"scan cells/s (MB/s); random {counts} rows, 1000 cells/s"
    cells = []
    for row in rows:
        found = row["pipelines"]
        shown = [_rates(found[name]) if name in found else "" for name in pipelines]
        size = next(iter(found.values()))["MB"]
        cells.append([row["layout"], f"{size:.1f}", f"{row['write MB/s']:,.0f}", *shown])
    last = rows[-1]
    sizes = (
        f"{last['n_cells']:,} cells, {last['n_genes']:,} genes, "
        f"{last['stored_values']:,} stored values."
    )
    columns = ["layout", "MB", "write MB/s", *(f"{name}: {rates}" for name in pipelines)]
    return [*NOTES.splitlines(), "", *table(columns, cells), "", sizes]


def _rates(found: dict[str, float]) -> str:
    rates = "/".join(f"{found[f'random {rows}'] / 1e3:.1f}" for rows in RANDOM_ROWS)
    return f"{found['scan']:,.0f} ({found['scan MB/s']:,.0f}); {rates}"


def _has_zarrs() -> bool:
    try:
        import zarrs  # noqa: F401
    except ImportError:
        return False
    return True


def main(arguments: list[str] | None = None) -> None:
    """Measure all layouts and write the table."""
    parser = parser_of("bench.storage", __doc__)
    add_repeats(parser, 3, "the best one counts")
    parser.add_argument("--from", dest="source", type=Path, required=True, help=".h5ad of counts")
    parser.add_argument("--cells", type=int, default=50_000)
    parser.add_argument("--chunk", type=int, default=131_072, help="for codecs and shards")
    parser.add_argument("--shards", type=numbers, default=[2_097_152, 33_554_432])
    args = parsed(parser, arguments)
    pipelines = ["zarr", *(["zarrs"] if _has_zarrs() else [])]
    rows = logged(args.out, ({**stamp(), **row} for row in _rows(args, pipelines)))
    lines = _lines(rows, pipelines)
    print(write_results(args, "Storage of X", lines))


if __name__ == "__main__":
    main()
