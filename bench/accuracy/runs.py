"""Methods run on labelled sets, in processes of their own.

Seconds are wall clock, imports included. Memory is the peak resident memory of the process. scrcl runs as users run
it, one process for each case. Peers share a process for all seeds of a set. Their cases still count the imports, and
what scVI learns once for a set and a seed, as if each had run alone. Their memory is that of the largest process.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame import runs
from bench._frame.conditions import commit
from bench._frame.labelled import has_counts
from bench._frame.process import bench_command, scrcl_command, timed
from bench.accuracy.cases import ORACLE, Case, measured
from bench.accuracy.peers import SECONDS_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench._frame.labelled import Labelled

__all__ = ["run_ours", "run_peers"]

_Cost = dict[str, Any]
"""``seconds`` and ``peak_rss_bytes``"""


def run_ours(
    data: Labelled,
    method: str,
    seed: int,
    *,
    settings: list[str],
    algorithms: Sequence[str] = (),
) -> Case:
    """Run scrcl, or the oracle, and score it. ``{k}`` in a setting stands for the number of classes.

    A run of scrcl is also clustered by each of ``algorithms``.
    """
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        given = [one.replace("{k}", str(data.k)) for one in settings]
        if method == ORACLE:
            found = _oracle(data, seed, Path(folder), given)
        else:
            found = _ours(data, seed, Path(folder), given, algorithms)
    return _case(data, method, seed, found, settings)


def run_peers(data: Labelled, methods: list[str], seeds: list[int], *, work: Path) -> list[Case]:
    """Run peers with each seed, in one process, and score them.

    What scVI has learned is kept in ``work`` as ``STEM_SEED.npy``, and used again from there.
    """
    cases = []
    for space in dict.fromkeys(method.partition("_")[0] for method in methods):
        own = [method for method in methods if method.startswith(f"{space}_")]
        learned: dict[int, _Cost] = {seed: {"seconds": 0.0, "peak_rss_bytes": 0} for seed in seeds}
        if space == "scvi":
            learned = {seed: _latent(data.path, seed, work) for seed in seeds}
        cases += _clustered(data, own, learned, ["--points", str(work)] if space == "scvi" else [])
    return cases


def _case(
    data: Labelled, method: str, seed: int, found: dict[str, Any], settings: list[str]
) -> Case:
    return Case(
        dataset=data.name,
        spatial=data.spatial,
        n_cells=data.n_cells,
        k=data.k,
        method=method,
        seed=seed,
        commit=commit(),
        settings=settings,
        **found,
    )


def _ours(
    data: Labelled, seed: int, folder: Path, settings: list[str], algorithms: Sequence[str]
) -> dict[str, Any]:
    """Run the command line with K, then redo the stage ``cluster`` without it."""
    out = folder / "out"
    command = scrcl_command("run", data.path, "-o", out, "--quiet", "--n-clusters", data.k)
    command += ["--spatial"] if data.spatial else []
    seconds, peak = timed([*command, *_options(seed, settings)])
    labels = data.labels[runs.retained(out)]
    given = measured(runs.labels(out), labels)
    peak = max(peak, runs.manifest(out)["peak_rss_bytes"])
    auto = measured(runs.cluster_again(data.path, out, n_clusters="auto"), labels)
    others = {}
    for algorithm in algorithms:
        again = runs.cluster_again(data.path, out, n_clusters=data.k, algorithm=algorithm)
        scores = measured(again, labels)
        others[algorithm] = [scores[name] for name in ("acc", "nmi", "ari")]
    return {
        **given,
        "seconds": seconds,
        "peak_rss_bytes": peak,
        "auto_clusters": auto["n_clusters"],
        "auto_ari": auto["ari"],
        "by_algorithm": others,
    }


def _oracle(data: Labelled, seed: int, folder: Path, settings: list[str]) -> dict[str, Any]:
    out = folder / "best.npz"
    command = bench_command("accuracy.oracle", data.path, "--out", out)
    seconds, peak = timed([*command, *_options(seed, settings)])
    found = np.load(out)
    scores = measured(found["clusters"], data.labels[found["retained"]])
    return {**scores, "seconds": seconds, "peak_rss_bytes": peak, "step": int(found["step"])}


def _options(seed: int, settings: list[str]) -> list[str]:
    return ["--seed", str(seed), *(part for one in settings for part in ("--set", one))]


def _clustered(
    data: Labelled, methods: list[str], learned: dict[int, _Cost], points: list[str]
) -> list[Case]:
    """Cluster in one process; each case counts the imports, as if it had run alone."""
    counted = data.labels[has_counts(data.path)]
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        command = bench_command(
            "accuracy.peers", ",".join(methods), data.path, "--k", data.k, "--seeds",
            ",".join(map(str, learned)), "--out", folder, *points,
        )  # fmt: skip
        seconds, peak = timed(command)
        took = json.loads((Path(folder) / SECONDS_FILE).read_text(encoding="utf-8"))
        imports = max(seconds - sum(took.values()), 0.0)
        cases = []
        for method in methods:
            for seed, before in learned.items():
                labels = np.load(Path(folder) / f"{method}_{seed}.npy")
                found = measured(labels, counted) | {
                    "seconds": imports + took[f"{method}_{seed}"] + before["seconds"],
                    "peak_rss_bytes": max(peak, before["peak_rss_bytes"]),
                }
                cases.append(_case(data, method, seed, found, []))
    return cases


def _latent(path: Path, seed: int, work: Path) -> _Cost:
    """Make scVI's latent space of a set where it is missing; returns its cost."""
    points = work / f"{path.stem}_{seed}.npy"
    record = points.with_suffix(".json")
    if not record.exists():
        seconds, peak = timed(bench_command("accuracy.scvi", path, "--seed", seed, "--out", points))
        record.write_text(
            json.dumps({"seconds": seconds, "peak_rss_bytes": peak}), encoding="utf-8"
        )
    found: _Cost = json.loads(record.read_text(encoding="utf-8"))
    return found
