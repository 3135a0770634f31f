"""One neighbour search in a process of its own: scrcl, pynndescent, or an index of FAISS.

``python -m bench.search.peers SYSTEM --points P.npy --truth T.npz --setting JSON --found OUT.json``

Every system gets the same float32 points as a memory map, and searches the neighbours of all of them (without the
point itself). Its recall is measured on the same subset. Imports and compilation come first, on a few of the points,
and are not timed.

With ``--tune`` several settings are tried in one process. An index of FAISS is built with each setting, and its search
effort is raised until the subset reaches the recall. The time of a full search is estimated from the subset.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.engine.usage import UsageMeter

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EFFORTS", "grid", "recall_of"]

WARM_ROWS = 25_000
"""More rows than scrcl searches exactly by default"""

TRAINING_ROWS_PER_LIST = 64

EFFORTS = {
    "hnsw": [16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768],
    "ivf": [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256, 512],
}
"""``efSearch`` and ``nprobe``, tried in this order."""


def grid(system: str, k: int) -> list[dict[str, Any]]:
    """Return the settings to try: of pynndescent for whole searches, of FAISS for indices.

    ``n_neighbors`` counts a point itself; ``lists_per_root`` times the root of the number of points
    is the number of lists.
    """
    if system == "ivf":
        return [{"lists_per_root": factor} for factor in (1, 2, 4)]
    if system == "hnsw":
        pairs = ((6, 20), (8, 20), (8, 40), (12, 20), (12, 40), (16, 40), (16, 80), (24, 80))
        return [{"M": links, "efConstruction": effort} for links, effort in pairs]
    few, more, many, most = (round(factor * (k + 1)) for factor in (1, 1.25, 2, 3))
    return [
        {"n_neighbors": few},
        {"n_neighbors": few, "n_trees": 4, "max_candidates": 2 * few},
        {"n_neighbors": more},
        {"n_neighbors": more, "n_trees": 4, "max_candidates": few},
        {"n_neighbors": more, "n_trees": 4, "max_candidates": 2 * few},
        {"n_neighbors": more, "n_trees": 16, "n_iters": 6},
        {"n_neighbors": many, "n_trees": 4, "max_candidates": more},
        {"n_neighbors": many, "n_iters": 5},
        {"n_neighbors": most},
    ]


def _search(
    system: str, points: Any, k: int, setting: dict[str, Any], threads: int
) -> tuple[Any, dict[str, Any]]:
    """Return the ids of the ``k`` neighbours of every point, shape (n, k), and what scrcl reports."""
    name, _, backend = system.partition(":")
    if name == "scrcl":
        return _scrcl(points, k, backend or "auto", setting)
    if name == "pynndescent":
        return _pynndescent(points, k, setting, threads), {}
    index = _index(name, points, setting)
    return _neighbours(index, points, np.arange(len(points)), k), {}


def _scrcl(
    points: Any, k: int, backend: str, setting: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    from scrcl.graph.backends import Search
    from scrcl.graph.knn import knn

    with TemporaryDirectory(prefix="scrcl-knn-") as folder:  # as in a run, results are files
        found = knn(
            points,
            k,
            seed=setting["seed"],
            search=Search(backend, setting["recall"]),
            folder=Path(folder),
        )
        reported = {"backend": found.backend, "own_recall": found.recall, "effort": found.effort}
        return found.ids, reported


def _pynndescent(points: Any, k: int, setting: dict[str, Any], threads: int) -> Any:
    from pynndescent import NNDescent

    rows = np.array(points)  # its compiled code accepts no read-only array
    index = NNDescent(rows, random_state=0, n_jobs=threads, **setting)
    return _without_self(index.neighbor_graph[0], np.arange(len(points)), k)


def _index(name: str, points: Any, setting: dict[str, Any]) -> Any:
    """Return an index of FAISS with the points, and with its search effort where one is given."""
    import faiss

    index: Any
    if name == "hnsw":
        index = faiss.IndexHNSWFlat(points.shape[1], setting["M"])
        index.hnsw.efConstruction = setting["efConstruction"]
    else:
        n_lists = max(1, round(setting["lists_per_root"] * np.sqrt(len(points))))
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(points.shape[1]), points.shape[1], n_lists)
        index.cp.max_points_per_centroid = TRAINING_ROWS_PER_LIST
        index.cp.min_points_per_centroid = 1
        index.train(points)
    index.add(points)
    if "effort" in setting:
        _set_effort(index, setting["effort"])
    return index


def _set_effort(index: Any, effort: int) -> None:
    if hasattr(index, "hnsw"):
        index.hnsw.efSearch = effort
    else:
        index.nprobe = effort


def _neighbours(index: Any, points: Any, rows: Any, k: int) -> Any:
    queries = points if len(rows) == len(points) else points[rows]
    return _without_self(index.search(queries, k + 1)[1], rows, k)


def _without_self(ids: Any, rows: Any, k: int) -> Any:
    """Return the first ``k`` ids of each row that are not the row itself."""
    others = np.argsort(ids == rows[:, None], axis=1, kind="stable")[:, :k]
    return np.take_along_axis(ids, others, axis=1)


def recall_of(ids: Any, points: Any, truth: dict[str, Any]) -> float:
    """Return the share of true neighbours that were found for the subset; ties with the last one count.

    Parameters
    ----------
    ids
        ndarray of int, shape (n_queries, k): neighbours found; -1 where missing.
    truth
        ``queries``: the rows, shape (n_queries,); ``squared``: squared distance of the k-th true
        neighbour of each.
    """
    hits = 0
    for row, found, furthest in zip(truth["queries"], ids, truth["squared"], strict=True):
        others = np.unique(found[(found >= 0) & (found != row)])
        apart = points[others].astype(np.float64) - points[row]
        hits += int(((apart**2).sum(axis=1) <= furthest * (1 + 1e-5)).sum())
    return hits / int(ids.size)


def _tried(
    system: str,
    points: Any,
    settings: list[dict[str, Any]],
    truth: dict[str, Any],
    task: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Yield recall and seconds of each setting: estimated from the subset for an index, else measured."""
    for setting in settings:
        if system in EFFORTS:
            yield _tuned(system, points, task["k"], setting, truth, task["recall"])
            continue
        start = time.perf_counter()
        ids, _ = _search(system, points, task["k"], setting, task["threads"])
        seconds = time.perf_counter() - start
        recall = recall_of(ids[truth["queries"]], points, truth)
        yield {"setting": setting, "recall": recall, "seconds": seconds}


def _tuned(
    system: str, points: Any, k: int, setting: dict[str, Any], truth: dict[str, Any], target: float
) -> dict[str, Any]:
    """Build an index, and find the least effort that reaches the recall on the subset."""
    start = time.perf_counter()
    index = _index(system, points, setting)
    built = time.perf_counter()
    recall, effort, seconds = 0.0, 0, 0.0
    for effort in EFFORTS[system]:
        _set_effort(index, effort)
        begun = time.perf_counter()
        ids = _neighbours(index, points, truth["queries"], k)
        seconds = time.perf_counter() - begun
        recall = recall_of(ids, points, truth)
        if recall >= target:
            break
    estimated = built - start + seconds * len(points) / len(truth["queries"])
    return {"setting": {**setting, "effort": effort}, "recall": recall, "seconds": estimated}


def _set_threads(system: str, threads: int) -> None:
    if system in EFFORTS:
        import faiss

        faiss.omp_set_num_threads(threads)


def main(arguments: list[str] | None = None) -> None:
    """Search once, and write its recall, seconds and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", help="scrcl, scrcl:BACKEND, pynndescent, hnsw or ivf")
    parser.add_argument("--points", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument(
        "--setting", type=json.loads, required=True, help="JSON; a list with --tune"
    )
    parser.add_argument("--found", type=Path, required=True, help=".json file to write")
    parser.add_argument("--k", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tune", type=float, help="recall to reach: try each setting")
    args = parser.parse_args(arguments)
    points = np.asarray(np.load(args.points, mmap_mode="r"))
    with np.load(args.truth) as stored:
        truth = dict(stored)
    _set_threads(args.system, args.threads)
    warm = args.setting if args.tune is None else args.setting[0]
    _search(args.system, np.array(points[:WARM_ROWS]), args.k, warm, args.threads)
    if args.tune is not None:
        task = {"k": args.k, "threads": args.threads, "recall": args.tune}
        tried = []
        for one in _tried(args.system, points, args.setting, truth, task):
            tried.append(one)  # keep what is done, in case a later setting ends the process
            args.found.write_text(json.dumps(tried), encoding="utf-8")
        return
    with UsageMeter() as meter:
        ids, reported = _search(args.system, points, args.k, args.setting, args.threads)
    found = {
        "setting": args.setting,
        "recall": recall_of(ids[truth["queries"]], points, truth),
        "seconds": meter.usage.seconds,
        "peak_rss_bytes": meter.usage.peak_rss_bytes,
        **reported,
    }
    args.found.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
