"""Accuracy on labelled sets: PCA + k-means, PCA + Leiden at K, and scrcl in its one default configuration.

``python -m bench.accuracy --data DIR --out bench/results/NAME.md``

Protocol (honest): the number of classes is given to every method; nothing else of the labels is seen before the
scores are taken, once, from the final state. Every case is a process of its own: seconds are wall clock from
start to end of it, imports included; memory is the peak resident memory of it. Sets with
``obsm["spatial"]`` are run with ``--spatial`` and kept apart in the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.process import commit, timed

__all__ = ["Case", "run_case", "table"]

LABELS = "cell_type"
METHODS = ("pca_kmeans", "pca_leiden", "scrcl")
SCORES = ("acc", "nmi", "ari", "macro_f1")


@dataclass(frozen=True)
class Case:
    """One method on one set with one seed, and what came of it."""

    dataset: str
    spatial: bool
    n_cells: int
    k: int
    method: str
    seed: int
    acc: float
    nmi: float
    ari: float
    macro_f1: float
    n_clusters: int
    seconds: float
    peak_rss_bytes: int


def run_case(path: Path, method: str, seed: int, settings: list[str]) -> Case:
    """Run one method on one file in a process of its own, and score it."""
    import anndata

    from scrcl.engine.evaluate import score
    from scrcl.engine.run_folder import read_manifest

    obs = anndata.read_h5ad(path, backed="r")
    labels, spatial = obs.obs[LABELS].to_numpy(), "spatial" in obs.obsm
    has_counts = np.asarray(obs.X[:].sum(axis=1)).ravel() > 0
    k = len(set(labels))
    obs.file.close()
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        found = Path(folder) / ("out" if method == "scrcl" else "labels.npy")
        command = _command(
            path, method, k=k, seed=seed, out=found, spatial=spatial, settings=settings
        )
        seconds, peak = timed(command)
        if method == "scrcl":
            clusters = np.load(found / "stages" / "cluster" / "labels.npy")
            peak = max(peak, read_manifest(found)["peak_rss_bytes"])
        else:
            clusters = np.load(found)
        scores = score(clusters, labels[has_counts])
    return Case(
        dataset=path.stem,
        spatial=spatial,
        n_cells=len(labels),
        k=k,
        method=method,
        seed=seed,
        **{name: scores[name] for name in SCORES},
        n_clusters=int(scores["n_clusters"]),
        seconds=seconds,
        peak_rss_bytes=peak,
    )


def table(cases: list[Case]) -> str:
    """Markdown: a row a set, then the mean over sets; mean and deviation over seeds in each cell."""
    lines = []
    for spatial in (False, True):
        chosen = [case for case in cases if case.spatial is spatial]
        if not chosen:
            continue
        methods = [m for m in METHODS if any(case.method == m for case in chosen)]
        lines += ["", "### Spatial sets" if spatial else "### Sets without coordinates", ""]
        lines += _score_table(chosen, methods)
    return "\n".join(lines)


def _score_table(cases: list[Case], methods: list[str]) -> list[str]:
    head = "| set | cells | K | " + " | ".join(f"{m}: ACC / NMI / **ARI**, s, MB" for m in methods)
    lines = [head + " |", "|---" * (3 + len(methods)) + "|"]
    for name in sorted({case.dataset for case in cases}):
        rows = [case for case in cases if case.dataset == name]
        cells = [_cell([row for row in rows if row.method == m]) for m in methods]
        lines.append(f"| {name} | {rows[0].n_cells} | {rows[0].k} | " + " | ".join(cells) + " |")
    cells = [_cell([case for case in cases if case.method == m], over_sets=True) for m in methods]
    return [*lines, "| **mean over sets** | | | " + " | ".join(cells) + " |"]


def _cell(cases: list[Case], *, over_sets: bool = False) -> str:
    """Mean (and deviation over seeds) of the scores, median seconds and peak memory."""
    text = " / ".join(_mean_and_spread(cases, name) for name in ("acc", "nmi"))
    seconds = float(np.median([case.seconds for case in cases]))
    memory = float(np.max([case.peak_rss_bytes for case in cases])) / 1e6
    off = sum(case.n_clusters != case.k for case in cases)
    remark = "" if over_sets or not off else f" (K missed in {off})"
    return f"{text} / **{_mean_and_spread(cases, 'ari')}**, {seconds:.0f}, {memory:.0f}{remark}"


def _mean_and_spread(cases: list[Case], name: str) -> str:
    """Mean over sets of the mean over seeds; the deviation is that over seeds, averaged over sets."""
    by_set = [
        [getattr(case, name) for case in cases if case.dataset == dataset]
        for dataset in sorted({case.dataset for case in cases})
    ]
    mean = float(np.mean([np.mean(values) for values in by_set]))
    spread = float(np.mean([np.std(values) for values in by_set]))
    return f"{mean:.3f} ± {spread:.3f}"


def _command(
    path: Path, method: str, *, k: int, seed: int, out: Path, spatial: bool, settings: list[str]
) -> list[str]:
    if method != "scrcl":
        return [
            sys.executable, "-m", "bench.peers", method, str(path), "--k", str(k), "--seed",
            str(seed), "--out", str(out),
        ]  # fmt: skip
    command = [
        sys.executable, "-m", "scrcl", "run", str(path), "-o", str(out), "--n-clusters", str(k),
        "--seed", str(seed), "--quiet",
    ]  # fmt: skip
    for setting in settings:
        command += ["--set", setting]
    return [*command, "--spatial"] if spatial else command


def _report(cases: list[Case], args: argparse.Namespace) -> str:
    command = "python -m bench.accuracy " + " ".join(sys.argv[1:])
    return "\n".join(
        [
            f"# Accuracy, K given, {time.strftime('%Y-%m-%d')}",
            "",
            f"`{command}`",
            "",
            f"Commit {commit()}; {platform.machine()}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}; seeds {args.seeds}. Mean ± deviation over seeds; "
            "seconds are the median of whole processes, MB the largest peak of resident memory. "
            "scrcl ran in its one default configuration"
            + (f" but for {', '.join(args.set)}." if args.set else ".")
            + " Rows of all cases: the `.jsonl` file beside this one.",
            table(cases),
            "",
        ]
    )


def main(arguments: list[str] | None = None) -> None:
    """Run all cases and write the table and its rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled .h5ad files")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--only", default="", help="name part of the sets to run")
    parser.add_argument("--set", action="append", default=[], help="a setting of scrcl")
    args = parser.parse_args(arguments)
    cases = []
    rows = args.out.with_suffix(".jsonl")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with rows.open("w", encoding="utf-8") as log:
        for path in sorted(args.data.glob("*.h5ad")):
            if args.only not in path.stem:
                continue
            for method in args.methods.split(","):
                for seed in map(int, args.seeds.split(",")):
                    case = run_case(path, method, seed, args.set)
                    cases.append(case)
                    log.write(json.dumps(asdict(case)) + "\n")
                    log.flush()
                    print(
                        f"{case.dataset} {method} {seed}: ARI {case.ari:.3f}, {case.seconds:.0f} s"
                    )
    args.out.write_text(_report(cases, args), encoding="utf-8")
    print(table(cases))


if __name__ == "__main__":
    main()
