"""Runs of scrcl from a store to components: each in a process of its own, several sizes in turn."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from statistics import median as _median
from typing import TYPE_CHECKING, Any

from bench._frame import runs
from bench._frame.page import head, line, table
from bench._frame.process import scrcl_command, timed
from bench._frame.runs import config_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "N_COMPS",
    "atlas_of",
    "fill_cache",
    "median",
    "n_top_genes",
    "plan",
    "plan_table",
    "run_scrcl",
    "scale",
    "scale_table",
    "settings_for",
    "store_files",
]

N_COMPS = 100


def median(values: Iterable[float]) -> float:
    """Return the median."""
    return float(_median(values))


def n_top_genes(n_genes: int) -> int:
    """Return how many variable genes to select: 2,000, or half of fewer than 4,000."""
    return min(2_000, n_genes // 2)


def atlas_of(folder: Path, n_cells: int, n_genes: int) -> Path:
    """Return a simulated atlas of a cache folder; made where it is missing."""
    path = folder / f"simulated_{n_cells}.zarr"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = scrcl_command(
            "simulate", "-o", path, "--cells", n_cells, "--genes", n_genes, "--seed", 0, "--quiet"
        )
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


def store_files(path: Path) -> list[Path]:
    """Return the files of a store."""
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def fill_cache(path: Path) -> None:
    """Read a store once, so that the page cache has as much of its files as fits."""
    for name in store_files(path):
        with name.open("rb") as file:
            while file.read(1 << 24):
                pass


def settings_for(atlas: Path) -> list[str]:
    """Return the settings of the runs on a store; the defaults where it has 4,000 genes or more."""
    from scrcl.io.open import open_input

    n_top = n_top_genes(open_input([atlas]).n_vars)
    return [f"features.n_top_genes={n_top}", f"reduce.n_comps={min(N_COMPS, n_top - 1)}"]


def run_scrcl(
    atlas: Path, memory: str, *, results: Callable[[Path], dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Run a store to its components; ``results`` reads fields for the row from the run, which is removed after."""
    fill_cache(atlas)
    with tempfile.TemporaryDirectory(prefix="scrcl-reduce-") as folder:
        out = Path(folder) / "out"
        command = scrcl_command(
            "run", atlas, "-o", out, "--quiet", "--memory", memory, "--until", "reduce"
        )
        for setting in settings_for(atlas):
            command += ["--set", setting]
        seconds, peak = timed(command)
        manifest = runs.manifest(out)
        keys = ("name", "seconds", "peak_rss_bytes", "bytes_read")
        return {
            "seconds": seconds,
            "peak_rss_bytes": max(peak, manifest["peak_rss_bytes"]),
            "stages": [{key: stage[key] for key in keys} for stage in manifest["stages"]],
            **(results(out) if results is not None else {}),
        }


def scale(
    atlases: list[Path], *, memory: str, repeats: int, log: Callable[[str], None]
) -> dict[str, Any]:
    """Run all sizes in turn, ``repeats`` times; returns medians of seconds and the largest peaks."""
    from scrcl.io.open import open_input

    run_scrcl(atlases[0], memory)  # compiles what the cache does not hold
    rounds: list[list[dict[str, Any]]] = [[] for _ in atlases]
    for _ in range(repeats):
        for atlas, done in zip(atlases, rounds, strict=True):
            done.append(run_scrcl(atlas, memory))
            seconds, peak = done[-1]["seconds"], done[-1]["peak_rss_bytes"]
            log(f"scale: {atlas.name}: {seconds:.1f} s, {peak / 1e6:.0f} MB")
    sizes = []
    for atlas, done in zip(atlases, rounds, strict=True):
        matrix = open_input([atlas])
        sizes.append(
            {
                "n_cells": matrix.n_obs,
                "n_genes": matrix.n_vars,
                "stored_values": matrix.nnz,
                "store_bytes": sum(file.stat().st_size for file in store_files(atlas)),
                "seconds": median(run["seconds"] for run in done),
                "seconds_of_runs": [round(run["seconds"], 3) for run in done],
                "peak_rss_bytes": max(run["peak_rss_bytes"] for run in done),
                "stages": _stages(done),
            }
        )
    return {"memory": memory, "sizes": sizes, "largest_over_smallest": _ratios(rounds, sizes)}


def _stages(done: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": stage["name"],
            "seconds": median(run["stages"][i]["seconds"] for run in done),
            "peak_rss_bytes": max(run["stages"][i]["peak_rss_bytes"] for run in done),
            "bytes_read": stage["bytes_read"],
        }
        for i, stage in enumerate(done[0]["stages"])
    ]


def _ratios(rounds: list[list[dict[str, Any]]], sizes: list[dict[str, Any]]) -> dict[str, float]:
    """Return medians over rounds of the ratios of the largest to the smallest size."""
    order = sorted(range(len(sizes)), key=lambda i: sizes[i]["n_cells"])
    pairs = list(zip(rounds[order[-1]], rounds[order[0]], strict=True))
    small, large = sizes[order[0]], sizes[order[-1]]
    return {
        "n_cells": large["n_cells"] / small["n_cells"],
        "stored_values": large["stored_values"] / small["stored_values"],
        "seconds": median(one["seconds"] / two["seconds"] for one, two in pairs),
        "peak_rss_bytes": median(
            one["peak_rss_bytes"] / two["peak_rss_bytes"] for one, two in pairs
        ),
    }


def scale_table(found: dict[str, Any]) -> list[str]:
    """Return a table with a row for each stage and a column for each size."""
    sizes = found["sizes"]
    lines = head("stage", *(f"{size['n_cells']:,} cells: s, MB" for size in sizes))
    for i, stage in enumerate(sizes[0]["stages"]):
        row = [
            f"{size['stages'][i]['seconds']:.2f}, {size['stages'][i]['peak_rss_bytes'] / 1e6:.0f}"
            for size in sizes
        ]
        lines += line(stage["name"], *row)
    whole = [
        f"**{size['seconds']:.1f}** ({min(size['seconds_of_runs']):.1f} to "
        f"{max(size['seconds_of_runs']):.1f}), **{size['peak_rss_bytes'] / 1e6:.0f}**"
        for size in sizes
    ]
    lines += line("**whole process**", *whole)
    stored = [f"{size['stored_values']:,}; {size['store_bytes'] / 1e6:,.0f}" for size in sizes]
    lines += line("stored values; MB of the store", *stored)
    rates = [f"{size['n_cells'] / size['seconds']:,.0f}" for size in sizes]
    lines += line("cells a second", *rates)
    ratio = found["largest_over_smallest"]
    compared = (
        f"Largest over smallest: {ratio['n_cells']:.2f} times the cells, "
        f"{ratio['stored_values']:.2f} times the values, **{ratio['seconds']:.2f}** times the seconds, "
        f"**{ratio['peak_rss_bytes']:.2f}** times the peak."
    )
    return [*lines, "", compared]


def plan(atlases: list[Path], scaled: dict[str, Any], *, memory: str) -> list[dict[str, Any]]:
    """Return the estimates for each size, and the measurements of `scale`."""
    from scrcl.engine.plan import plan_run

    rows = []
    for atlas, size in zip(atlases, scaled["sizes"], strict=True):
        config = config_of(settings_for(atlas), memory=memory)
        planned = plan_run([atlas], config, until="reduce")
        rows += [
            {
                "n_cells": size["n_cells"],
                "stage": stage.name,
                "planned_seconds": stage.seconds,
                "seconds": took["seconds"],
                "planned_peak_bytes": stage.peak_bytes,
                "peak_rss_bytes": took["peak_rss_bytes"],
                "planned_bytes_read": stage.read_bytes,
                "bytes_read": took["bytes_read"],
            }
            for stage, took in zip(planned.stages, size["stages"], strict=True)
        ]
    return rows


def plan_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return a table with a row for each size and stage."""
    columns = ["cells", "stage", "s: estimate, measured, ratio"]
    columns += ["peak MB: estimate, measured, ratio", "MB read: estimate, measured"]
    lines = [
        [
            f"{row['n_cells']:,}",
            row["stage"],
            _against(row, "planned_seconds", "seconds", 1, 1),
            _against(row, "planned_peak_bytes", "peak_rss_bytes", 1e6, 0),
            f"{row['planned_bytes_read'] / 1e6:.0f}, {row['bytes_read'] / 1e6:.0f}",
        ]
        for row in rows
    ]
    return table(columns, lines)


def _against(row: dict[str, Any], planned: str, took: str, unit: float, digits: int) -> str:
    """Return the estimate, the measurement, and the ratio of the two."""
    ratio = row[planned] / max(row[took], 1e-9)
    shown = f"{ratio:.2f}" if row[planned] else ""
    return f"{row[planned] / unit:.{digits}f}, {row[took] / unit:.{digits}f}, {shown}"
