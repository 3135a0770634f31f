"""The neighbour graph of all points: scrcl against pynndescent and FAISS, each tuned to the same recall.

``python -m bench.search --points scores.npy --sizes 100000,300000,1000000``

Points are drawn for every size. The neighbours of a subset of them are searched exactly, and the recall of a system is
the share of these that it finds. scrcl gets the recall to reach and chooses its own settings. For each peer a grid of
settings is tried at that size. The fastest that reaches the recall is used, or the one with the highest recall where
none does. With --narrow N the whole grid is tried only at the first size; after it the N best settings of the size
before, and the one with the highest recall. Then all systems run in turn, in rounds, each in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from bench._frame.arguments import add_repeats, add_sizes, parsed, parser_of, words
from bench._frame.conditions import stamp
from bench._frame.page import table, write_results
from bench._frame.process import bench_command
from bench._frame.rows import write_rows
from bench.search.peers import EFFORTS, grid
from scrcl._random import stream

if TYPE_CHECKING:
    import argparse

__all__ = ["exponent", "main"]

PEERS = ("pynndescent", *EFFORTS)
_LIBRARIES = ("numpy", "numba", "faiss-cpu", "pynndescent")
_MADE_GROUPS = 200
_FINALISTS = 2
_THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class _Task:
    """Points of one size on disk, the true neighbours of a subset, and how systems run on them."""

    folder: Path
    n: int
    k: int
    recall: float
    threads: int
    seed: int

    def run(self, system: str, setting: dict[str, Any]) -> dict[str, Any]:
        """Run one system once, in a process of its own; returns its measurements, or why it failed."""
        found, error = self._child(system, setting)
        _log(f"{self.n:,} {system} {found or error}")
        return {"failed": error, "setting": setting} if found is None else found

    def tune(
        self, system: str, settings: list[dict[str, Any]] | None = None
    ) -> list[dict[str, Any]]:
        """Try settings of a peer, or its grid; returns the measurements of those that ended."""
        settings = settings or grid(system, self.k)
        found, error = self._child(system, settings, "--tune", str(self.recall))
        for one in found or []:
            _log(f"{self.n:,} {system} tried {one}")
        if error is not None:
            _log(f"{self.n:,} {system} {error}")
        return found or []

    def _child(self, system: str, setting: Any, *more: str) -> tuple[Any, str | None]:
        """Return what the process wrote (None if nothing), and its last line of errors if it failed."""
        found = self.folder / "found.json"
        found.unlink(missing_ok=True)
        command = bench_command(
            "search.peers", system, "--points", self.folder / "points.npy",
            "--truth", self.folder / "truth.npz", "--setting", json.dumps(setting),
            "--found", found, "--k", self.k, "--threads", self.threads, *more,
        )  # fmt: skip
        limits = dict.fromkeys(_THREADS, str(self.threads))
        done = subprocess.run(
            command, env={**os.environ, **limits}, stderr=subprocess.PIPE, text=True, check=False
        )
        written = json.loads(found.read_text(encoding="utf-8")) if found.exists() else None
        if not done.returncode:
            return written, None
        errors = [line for line in done.stderr.splitlines() if line.strip()]
        return written, errors[-1] if errors else f"ended with {done.returncode}"

    def reaches(self, found: dict[str, Any]) -> bool:
        """Return whether a run reached the recall."""
        return "failed" not in found and found["recall"] >= self.recall


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _draw(source: Path | None, task: _Task, n_dims: int) -> None:
    """Write ``n`` points: drawn from a file, or made around some centers."""
    random = stream(task.seed, "bench.knn.points", task.n)
    if source is None:
        centers = random.normal(size=(_MADE_GROUPS, n_dims))
        points = centers[random.integers(_MADE_GROUPS, size=task.n)]
        points += 0.5 * random.normal(size=points.shape)
    else:
        stored = np.load(source, mmap_mode="r")
        if not task.n <= len(stored):
            message = (
                f"--sizes must be at most {len(stored)}, the points of {source}; got {task.n}."
            )
            raise SystemExit(message)
        rows = np.sort(random.choice(len(stored), task.n, replace=False, shuffle=False))
        points = stored[rows, :n_dims]
    np.save(task.folder / "points.npy", np.ascontiguousarray(points, dtype=np.float32))


def _find_truth(task: _Task, n_queries: int) -> None:
    """Search the neighbours of a subset exactly."""
    from scrcl.graph.exact import ExactSearcher

    points = np.asarray(np.load(task.folder / "points.npy", mmap_mode="r"))
    random = stream(task.seed, "bench.knn.queries", task.n)
    queries = np.sort(random.choice(task.n, min(n_queries, task.n), replace=False))
    ids, _ = ExactSearcher(points).search(points[queries], task.k + 1)
    apart = points[ids].astype(np.float64) - points[queries][:, None]
    # The nearest is the point itself, or its equal.
    squared = np.sort((apart**2).sum(axis=2), axis=1)[:, task.k]
    np.savez(task.folder / "truth.npz", queries=queries, squared=squared)


def _promising(tried: list[dict[str, Any]], n_settings: int, recall: float) -> list[dict[str, Any]]:
    """Return the settings to try at a larger size: the fastest that reached the recall, and the one with most."""
    fastest = sorted(tried, key=lambda one: (one["recall"] < recall, one["seconds"]))
    best = [*fastest[:n_settings], max(tried, key=lambda one: one["recall"])]
    settings = [{**one["setting"]} for one in best]
    for setting in settings:
        setting.pop("effort", None)
    return [one for i, one in enumerate(settings) if one not in settings[:i]]


def _choose(
    system: str, task: _Task, settings: list[dict[str, Any]] | None
) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Return the setting to run (None where all failed), and all that were tried."""
    if system.partition(":")[0] == "scrcl":
        return {"seed": task.seed, "recall": task.recall}, []
    tried = task.tune(system, settings)
    reached = sorted((one for one in tried if task.reaches(one)), key=lambda one: one["seconds"])
    if not reached:
        return max(tried, key=lambda one: one["recall"])["setting"] if tried else None, tried
    if system in EFFORTS:  # seconds were estimated from the subset: measure the fastest
        whole = [task.run(system, one["setting"]) for one in reached[:_FINALISTS]]
        tried += whole
        reached = [one for one in whole if task.reaches(one)] or reached
    return min(reached, key=lambda one: one["seconds"])["setting"], tried


def _compare(
    task: _Task,
    systems: list[str],
    repeats: int,
    settings: dict[str, list[dict[str, Any]]] | None = None,
) -> dict[str, Any]:
    """Tune each system (over ``settings``, or its grid), then run all in turn."""
    chosen = {system: _choose(system, task, (settings or {}).get(system)) for system in systems}
    runs: dict[str, list[dict[str, Any]]] = {system: [] for system in systems}
    for number in range(repeats):
        # Each round begins with another system.
        for system in [*systems[number % len(systems) :], *systems[: number % len(systems)]]:
            setting = chosen[system][0]
            if setting is None or any("failed" in run for run in runs[system]):
                continue
            runs[system].append(task.run(system, setting))
    reference = runs[systems[0]]
    return {
        "n": task.n,
        "systems": {
            system: {**_summary(runs[system], reference, task), "tried": chosen[system][1]}
            for system in systems
        },
    }


def _summary(
    runs: list[dict[str, Any]], reference: list[dict[str, Any]], task: _Task
) -> dict[str, Any]:
    failed = next((run["failed"] for run in runs if "failed" in run), None)
    if failed is not None or not runs:
        return {"failed": failed or "no setting ran"}
    pairs = zip(runs, reference, strict=False)
    return {
        "seconds": median(run["seconds"] for run in runs),
        "seconds_of_runs": [run["seconds"] for run in runs],
        "over_first": median(
            run["seconds"] / first["seconds"] for run, first in pairs if "failed" not in first
        ),
        "peak_rss_bytes": max(run["peak_rss_bytes"] for run in runs),
        "recall": min(run["recall"] for run in runs),
        "reached": all(task.reaches(run) for run in runs),
        "setting": runs[0]["setting"],
        "backend": runs[0].get("backend"),
        "effort": runs[0].get("effort"),
    }


def exponent(sizes: list[int], seconds: list[float]) -> float | None:
    """Return b of ``seconds ~ n^b``, fitted to the logarithms; None of fewer than two sizes."""
    if len(set(sizes)) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _exponents(found: list[dict[str, Any]], systems: list[str]) -> dict[str, float | None]:
    result = {}
    for system in systems:
        done = [(size["n"], size["systems"][system]) for size in found]
        done = [(n, one["seconds"]) for n, one in done if "failed" not in one]
        result[system] = exponent([n for n, _ in done], [seconds for _, seconds in done])
    return result


def _graphs_table(found: list[dict[str, Any]], exponents: dict[str, float | None]) -> list[str]:
    """Return a table with a row for each size and system."""
    first = next(iter(found[0]["systems"]))
    columns = ["points", "system", "seconds", f"seconds / {first}", "peak MB", "recall", "setting"]
    rows = []
    for size in found:
        for system, one in size["systems"].items():
            if "failed" in one:
                rows.append([f"{size['n']:,}", system, one["failed"], "", "", "", ""])
                continue
            rows.append(
                [
                    f"{size['n']:,}",
                    f"{system} ({one['backend']})" if one["backend"] else system,
                    f"{one['seconds']:.1f}",
                    f"{one['over_first']:.2f}",
                    f"{one['peak_rss_bytes'] / 1e6:,.0f}",
                    f"{one['recall']:.4f}{'' if one['reached'] else ' (missed)'}",
                    ", ".join(f"{key} {value}" for key, value in one["setting"].items()),
                ]
            )
    lines = table(columns, rows)
    fits = [f"{system} {value:.2f}" for system, value in exponents.items() if value is not None]
    if fits:
        lines += ["", f"Seconds grow as n to the power of: {', '.join(fits)}."]
    return lines


def _write(args: argparse.Namespace, found: list[dict[str, Any]]) -> str:
    """Write the page and a row for each size."""
    notes = (
        f"{args.threads} threads, {args.k} neighbours, {args.dims} dimensions, float32. Recall is measured on "
        f"{args.queries:,} points; {args.recall} is to be reached. Seconds are medians of {args.repeats} rounds, from "
        "the memory map of the points to the ids of all neighbours, without imports and compilation. Ratios compare "
        "runs of one round. Peaks are resident memory of the whole process, including pages of the file of points. "
        "MB are 10^6 bytes."
    )
    lines = _graphs_table(found, _exponents(found, args.systems))
    write_rows(args.out, [{**stamp(), **size} for size in found])
    return write_results(args, "Neighbour graphs", [notes, "", *lines], libraries=_LIBRARIES)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("bench.search", __doc__)
    add_sizes(parser, [100_000, 300_000, 1_000_000], "numbers of points")
    add_repeats(parser, 3, "rounds")
    parser.add_argument("--points", type=Path, help=".npy of points; made where not given")
    parser.add_argument("--dims", type=int, default=50, help="first columns of the points to use")
    parser.add_argument("--k", type=int, default=15)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument(
        "--systems",
        type=words,
        default=["scrcl", *PEERS],
        help=f"scrcl, scrcl:BACKEND, {', '.join(PEERS)}; ratios are to the first",
    )
    parser.add_argument("--queries", type=int, default=2_000, help="points with known neighbours")
    parser.add_argument(
        "--narrow",
        type=int,
        help="after the first size, try so many of the best settings instead of the grid",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _narrowed(
    found: list[dict[str, Any]], args: argparse.Namespace
) -> dict[str, list[dict[str, Any]]]:
    """Return the settings to try after the size before; empty where whole grids are tried."""
    if not found or args.narrow is None:
        return {}
    tried = {name: one["tried"] for name, one in found[-1]["systems"].items()}
    tried = {name: [one for one in all_ if "failed" not in one] for name, all_ in tried.items()}
    return {
        name: _promising(all_, args.narrow, args.recall) for name, all_ in tried.items() if all_
    }


def main(arguments: list[str] | None = None) -> None:
    """Compare at every size; the page is written after each."""
    parser = _parser()
    args = parsed(parser, arguments)
    for system in args.systems:
        if system.partition(":")[0] != "scrcl" and system not in PEERS:
            parser.error(
                f"--systems must name scrcl, scrcl:BACKEND, {', '.join(PEERS)}; got {system!r}"
            )
    found: list[dict[str, Any]] = []
    text = ""
    for n in args.sizes:
        with tempfile.TemporaryDirectory(prefix="scrcl-knn-") as folder:
            task = _Task(Path(folder), n, args.k, args.recall, args.threads, args.seed)
            _draw(args.points, task, args.dims)
            _find_truth(task, args.queries)
            found.append(_compare(task, args.systems, args.repeats, _narrowed(found, args)))
        text = _write(args, found)
    print(text)


if __name__ == "__main__":
    main()
