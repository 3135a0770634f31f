"""Methods run on labelled sets, each case in a process of its own.

Seconds are wall clock from start to end of that process, imports included, and memory is its peak resident memory.
What scVI learns is learned once for a set and a seed, and its time counts in each case that clusters it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.accuracy_cases import ORACLE, OURS, Case, measured
from bench.process import commit, timed

__all__ = ["LABELS", "LabelledFile", "clusters_of", "read_labelled", "run_case"]

LABELS = "cell_type"


@dataclass(frozen=True, eq=False)
class LabelledFile:
    """A file, and what scoring needs of it."""

    path: Path
    labels: Any
    """shape (n_cells,)"""
    has_counts: Any
    """shape (n_cells,): which cells peers do not leave out"""
    n_cells: int
    k: int
    spatial: bool


def read_labelled(path: Path) -> LabelledFile:
    """Read the labels of one file."""
    import anndata

    opened = anndata.read_h5ad(path, backed="r")
    labels, spatial = opened.obs[LABELS].to_numpy(), "spatial" in opened.obsm
    has_counts = np.asarray(opened.X[:].sum(axis=1)).ravel() > 0
    opened.file.close()
    return LabelledFile(path, labels, has_counts, len(labels), len(set(labels)), spatial)


def run_case(
    data: LabelledFile, method: str, seed: int, *, settings: list[str], work: Path
) -> Case:
    """Run one method, and score it; latent spaces are kept in ``work``, and used where they are there."""
    ours = {OURS: _ours, ORACLE: _oracle}
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        if method in ours:
            said = ours[method](data, seed, Path(folder), settings)
        else:
            said = _peer(data, method, seed, Path(folder), work)
    return Case(
        dataset=data.path.stem,
        spatial=data.spatial,
        n_cells=data.n_cells,
        k=data.k,
        method=method,
        seed=seed,
        commit=commit(),
        settings=settings if method in ours else [],
        **said,
    )


def _ours(data: LabelledFile, seed: int, folder: Path, settings: list[str]) -> dict[str, Any]:
    """Run the command line with K, then the stage ``cluster`` again without it."""
    from scrcl.engine.run_folder import read_manifest
    from scrcl.io.stats import MatrixStats

    out = folder / "out"
    command = [sys.executable, "-m", "scrcl", "run", str(data.path), "-o", str(out), "--quiet"]
    command += ["--n-clusters", str(data.k), *(["--spatial"] if data.spatial else [])]
    seconds, peak = timed([*command, *_told(seed, settings)])
    labels = data.labels[MatrixStats.load(out / "stages" / "stats").kept]
    auto = measured(clusters_of(out, data.path, n_clusters="auto"), labels)
    return {
        **measured(np.load(out / "stages" / "cluster" / "labels.npy"), labels),
        "seconds": seconds,
        "peak_rss_bytes": max(peak, read_manifest(out)["peak_rss_bytes"]),
        "auto_clusters": auto["n_clusters"],
        "auto_ari": auto["ari"],
    }


def clusters_of(out: Path, path: Path, *, n_clusters: int | str) -> Any:
    """Return what the stage ``cluster`` of a finished run gives for another number of clusters, or for `auto`.

    No stage before it looks at that number, so a run that was told it from the start gives the same.
    """
    from scrcl._progress import Silent
    from scrcl.engine.budget import plan_budget
    from scrcl.engine.config import load_config
    from scrcl.engine.learn import cluster_cells
    from scrcl.engine.pipeline import shape_of
    from scrcl.engine.run_folder import RunFolder, read_manifest
    from scrcl.engine.stage import Run
    from scrcl.io.open import open_input

    config = load_config(out / "config.toml", overrides={"n_clusters": n_clusters})
    budget = plan_budget(config.memory, shape_of(open_input([path]), config))
    run = Run(
        config,
        RunFolder(out, read_manifest(out)),
        budget,
        Silent(),
        lambda scratch: open_input([path], layer=config.layer, scratch=scratch),
    )
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        cluster_cells(run, Path(folder))
        return np.load(Path(folder) / "labels.npy")


def _oracle(data: LabelledFile, seed: int, folder: Path, settings: list[str]) -> dict[str, Any]:
    out = folder / "best.npz"
    command = [sys.executable, "-m", "bench.accuracy_oracle", str(data.path), "--out", str(out)]
    seconds, peak = timed([*command, *_told(seed, settings)])
    found = np.load(out)
    scores = measured(found["clusters"], data.labels[found["kept"]])
    return {**scores, "seconds": seconds, "peak_rss_bytes": peak, "step": int(found["step"])}


def _told(seed: int, settings: list[str]) -> list[str]:
    return ["--seed", str(seed), *(part for one in settings for part in ("--set", one))]


def _peer(data: LabelledFile, method: str, seed: int, folder: Path, work: Path) -> dict[str, Any]:
    out, took, points = folder / "labels.npy", {"seconds": 0.0, "peak_rss_bytes": 0}, []
    if method.startswith("scvi"):
        latent, took = _latent(data.path, seed, work)
        points = ["--points", str(latent)]
    command = [sys.executable, "-m", "bench.peers", method, str(data.path), "--k", str(data.k)]
    seconds, peak = timed([*command, "--seed", str(seed), "--out", str(out), *points])
    return {
        **measured(np.load(out), data.labels[data.has_counts]),
        "seconds": seconds + took["seconds"],
        "peak_rss_bytes": max(peak, took["peak_rss_bytes"]),
    }


def _latent(path: Path, seed: int, work: Path) -> tuple[Path, dict[str, Any]]:
    """Return where scVI's latent space of a set lies, made where it is not there, and what it took."""
    points = work / f"{path.stem}_{seed}.npy"
    record = points.with_suffix(".json")
    if not record.exists():
        command = [sys.executable, "-m", "bench.peers_scvi", str(path), "--seed", str(seed)]
        seconds, peak = timed([*command, "--out", str(points)])
        took = {"seconds": seconds, "peak_rss_bytes": peak}
        record.write_text(json.dumps(took), encoding="utf-8")
    return points, json.loads(record.read_text(encoding="utf-8"))
