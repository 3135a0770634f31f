"""Runs of scrcl from a store to components: each a process of its own, several sizes in turn."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median as _median
from typing import TYPE_CHECKING, Any

from bench.process import timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
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
    """Return how many variable genes are taken: 2,000, or half of fewer than 4,000."""
    return min(2_000, n_genes // 2)


def atlas_of(folder: Path, n_cells: int, n_genes: int) -> Path:
    """Return a simulated atlas of a cache folder, made where it is missing."""
    path = folder / f"simulated_{n_cells}.zarr"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "scrcl", "simulate", "-o", str(path), "--cells",
                   str(n_cells), "--genes", str(n_genes), "--seed", "0", "--quiet"]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


def store_files(path: Path) -> list[Path]:
    """Return the files of a store."""
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def fill_cache(path: Path) -> None:
    """Read a store once, so that its files lie in the page cache as far as this holds them."""
    for name in store_files(path):
        with name.open("rb") as file:
            while file.read(1 << 24):
                pass


def settings_for(atlas: Path) -> list[str]:
    """Return the settings of the runs on a store; those of 4,000 genes or more are the defaults."""
    from scrcl.io.open import open_input

    n_top = n_top_genes(open_input([atlas]).n_vars)
    return [f"features.n_top_genes={n_top}", f"reduce.n_comps={min(N_COMPS, n_top - 1)}"]


def run_scrcl(
    atlas: Path, memory: str, *, look: Callable[[Path], dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Run a store to its components; ``look`` is shown the folder of stages before it goes."""
    fill_cache(atlas)
    with tempfile.TemporaryDirectory(prefix="scrcl-reduce-") as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "scrcl", "run", str(atlas), "-o", str(out), "--quiet",
                   "--memory", memory, "--until", "reduce"]  # fmt: skip
        for setting in settings_for(atlas):
            command += ["--set", setting]
        seconds, peak = timed(command)
        manifest = json.loads((out / "run.json").read_text(encoding="utf-8"))
        keys = ("name", "seconds", "peak_rss_bytes", "bytes_read")
        return {
            "seconds": seconds,
            "peak_rss_bytes": max(peak, manifest["peak_rss_bytes"]),
            "stages": [{key: stage[key] for key in keys} for stage in manifest["stages"]],
            **(look(out / "stages") if look is not None else {}),
        }


def scale(
    atlases: list[Path], *, memory: str, repeats: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Run all sizes in turn, again and again; medians of seconds, largest peaks."""
    from scrcl.io.open import open_input

    run_scrcl(atlases[0], memory)  # compiles what the cache does not hold
    runs: list[list[dict[str, Any]]] = [[] for _ in atlases]
    for _ in range(repeats):
        for atlas, done in zip(atlases, runs, strict=True):
            done.append(run_scrcl(atlas, memory))
            seconds, peak = done[-1]["seconds"], done[-1]["peak_rss_bytes"]
            say(f"scale: {atlas.name}: {seconds:.1f} s, {peak / 1e6:.0f} MB")
    sizes = []
    for atlas, done in zip(atlases, runs, strict=True):
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
    return {"memory": memory, "sizes": sizes, "largest_over_smallest": _ratios(runs, sizes)}


def _stages(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": stage["name"],
            "seconds": median(run["stages"][i]["seconds"] for run in runs),
            "peak_rss_bytes": max(run["stages"][i]["peak_rss_bytes"] for run in runs),
            "bytes_read": stage["bytes_read"],
        }
        for i, stage in enumerate(runs[0]["stages"])
    ]


def _ratios(runs: list[list[dict[str, Any]]], sizes: list[dict[str, Any]]) -> dict[str, float]:
    """Return ratios of the largest to the smallest size, each of one round: their medians."""
    order = sorted(range(len(sizes)), key=lambda i: sizes[i]["n_cells"])
    pairs = list(zip(runs[order[-1]], runs[order[0]], strict=True))
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
    """Markdown: a row a stage, a column a size."""
    sizes = found["sizes"]
    head = " | ".join(f"{size['n_cells']:,} cells: s, MB" for size in sizes)
    lines = [f"| stage | {head} |", "|---" + "|---:" * len(sizes) + "|"]
    for i, stage in enumerate(sizes[0]["stages"]):
        row = [
            f"{size['stages'][i]['seconds']:.2f}, {size['stages'][i]['peak_rss_bytes'] / 1e6:.0f}"
            for size in sizes
        ]
        lines.append(f"| {stage['name']} | " + " | ".join(row) + " |")
    whole = [
        f"**{size['seconds']:.1f}** ({min(size['seconds_of_runs']):.1f} to "
        f"{max(size['seconds_of_runs']):.1f}), **{size['peak_rss_bytes'] / 1e6:.0f}**"
        for size in sizes
    ]
    lines.append("| **whole process** | " + " | ".join(whole) + " |")
    stored = [f"{size['stored_values']:,}; {size['store_bytes'] / 1e6:,.0f}" for size in sizes]
    lines.append("| stored values; MB of the store | " + " | ".join(stored) + " |")
    rates = [f"{size['n_cells'] / size['seconds']:,.0f}" for size in sizes]
    lines.append("| cells a second | " + " | ".join(rates) + " |")
    ratio = found["largest_over_smallest"]
    told = (
        f"Largest over smallest: {ratio['n_cells']:.2f} times the cells, "
        f"{ratio['stored_values']:.2f} times the values, **{ratio['seconds']:.2f}** times the seconds, "
        f"**{ratio['peak_rss_bytes']:.2f}** times the peak."
    )
    return [*lines, "", told]


def plan(atlases: list[Path], scaled: dict[str, Any], *, memory: str) -> list[dict[str, Any]]:
    """Return, for each size, what was predicted and what the runs of `scale` took."""
    from scrcl.engine.load_config import load_config
    from scrcl.engine.plan import plan_run

    rows = []
    for atlas, size in zip(atlases, scaled["sizes"], strict=True):
        config = load_config(settings=settings_for(atlas), overrides={"memory": memory})
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
    """Markdown: a row a size and stage."""
    lines = [
        "| cells | stage | s: planned, took, ratio | peak MB: planned, took, ratio | MB read: planned, took |",
        "|---:|---|---:|---:|---:|",
    ]
    for row in rows:
        cells = (
            f"{row['n_cells']:,}",
            row["stage"],
            _against(row, "planned_seconds", "seconds", 1, 1),
            _against(row, "planned_peak_bytes", "peak_rss_bytes", 1e6, 0),
            f"{row['planned_bytes_read'] / 1e6:.0f}, {row['bytes_read'] / 1e6:.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _against(row: dict[str, Any], planned: str, took: str, unit: float, digits: int) -> str:
    """Return both figures, and how many times what was taken was planned."""
    ratio = row[planned] / max(row[took], 1e-9)
    told = f"{ratio:.2f}" if row[planned] else ""
    return f"{row[planned] / unit:.{digits}f}, {row[took] / unit:.{digits}f}, {told}"
