"""Methods run on labelled sets, in processes of their own.

Seconds are wall clock, imports included, and memory is the peak resident memory of the process. scrcl is run as a user
would, a process a case. Peers share one for all seeds of a set; imports, and what scVI learns once for a set and a
seed, count in each case as if it had been alone. Memory is then that of the largest.
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
from bench.peers import TOOK
from bench.process import commit, timed

__all__ = ["LabelledFile", "clusters_of", "read_labelled", "run_ours", "run_peers"]

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


def run_ours(data: LabelledFile, method: str, seed: int, *, settings: list[str]) -> Case:
    """Run scrcl, or the oracle, and score it."""
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        run = {OURS: _ours, ORACLE: _oracle}[method]
        said = run(data, seed, Path(folder), settings)
    return _case(data, method, seed, said, settings)


def run_peers(
    data: LabelledFile, methods: list[str], seeds: list[int], *, work: Path
) -> list[Case]:
    """Run peers with each seed, in one process, and score them.

    What scVI has learned lies in ``work`` as ``STEM_SEED.npy``, and is used where it is there.
    """
    cases = []
    for space in dict.fromkeys(method.partition("_")[0] for method in methods):
        own = [method for method in methods if method.startswith(f"{space}_")]
        learned = {seed: _nothing() for seed in seeds}
        if space == "scvi":
            learned = {seed: _latent(data.path, seed, work) for seed in seeds}
        cases += _clustered(data, own, learned, ["--points", str(work)] if space == "scvi" else [])
    return cases


def _case(
    data: LabelledFile, method: str, seed: int, said: dict[str, Any], settings: list[str]
) -> Case:
    return Case(
        dataset=data.path.stem,
        spatial=data.spatial,
        n_cells=data.n_cells,
        k=data.k,
        method=method,
        seed=seed,
        commit=commit(),
        settings=settings,
        **said,
    )


def _ours(data: LabelledFile, seed: int, folder: Path, settings: list[str]) -> dict[str, Any]:
    """Run the command line with K, then the stage ``cluster`` again without it."""
    from scrcl.engine.run_folder import read_manifest
    from scrcl.prep.stats import MatrixStats

    out = folder / "out"
    command = [sys.executable, "-m", "scrcl", "run", str(data.path), "-o", str(out), "--quiet"]
    command += ["--n-clusters", str(data.k), *(["--spatial"] if data.spatial else [])]
    seconds, peak = timed([*command, *_told(seed, settings)])
    labels = data.labels[MatrixStats.load(out / "stages" / "stats").retained]
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
    from scrcl.engine.learn import cluster_cells
    from scrcl.engine.load_config import load_config
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


def _clustered(
    data: LabelledFile, methods: list[str], learned: dict[int, dict[str, Any]], points: list[str]
) -> list[Case]:
    """Cluster in one process; imports count in the seconds of each case, as if it had been alone."""
    seeds = ",".join(map(str, learned))
    command = [sys.executable, "-m", "bench.peers", ",".join(methods), str(data.path)]
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        command += ["--k", str(data.k), "--seeds", seeds, "--out", folder, *points]
        seconds, peak = timed(command)
        took = json.loads((Path(folder) / TOOK).read_text(encoding="utf-8"))
        imports = max(seconds - sum(took.values()), 0.0)
        cases = []
        for method in methods:
            for seed, before in learned.items():
                labels = np.load(Path(folder) / f"{method}_{seed}.npy")
                said = measured(labels, data.labels[data.has_counts]) | {
                    "seconds": imports + took[f"{method}_{seed}"] + before["seconds"],
                    "peak_rss_bytes": max(peak, before["peak_rss_bytes"]),
                }
                cases.append(_case(data, method, seed, said, []))
    return cases


def _nothing() -> dict[str, Any]:
    return {"seconds": 0.0, "peak_rss_bytes": 0}


def _latent(path: Path, seed: int, work: Path) -> dict[str, Any]:
    """Make scVI's latent space of a set where it is not there; returns what it took."""
    points = work / f"{path.stem}_{seed}.npy"
    record = points.with_suffix(".json")
    if not record.exists():
        command = [sys.executable, "-m", "bench.peers_scvi", str(path), "--seed", str(seed)]
        seconds, peak = timed([*command, "--out", str(points)])
        took = {"seconds": seconds, "peak_rss_bytes": peak}
        record.write_text(json.dumps(took), encoding="utf-8")
    found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    return found
