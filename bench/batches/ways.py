"""Ways from cells of several batches to clusters, in a process of their own: what each takes is its own.

A process is started for scrcl, one for scanpy's ways and one for scVI. Each first clusters some random cells, so that
its libraries are loaded and compiled. Then CPU seconds are of the work alone, and the peak is that of the process while
a way is at work, with the libraries that it needs.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench._frame import runs
from bench._frame.labelled import LABELS, has_counts, read_labelled

if TYPE_CHECKING:
    from contextlib import ExitStack

    from bench._frame.rows import Row

__all__ = ["OURS", "PEERS", "Found", "Task", "Workers", "found_by", "process_of"]

OURS: dict[str, dict[str, Any]] = {
    "no batch key": {"batch_key": None},
    "genes only": {"correct": {"method": "none"}},
    "correct": {},
}
"""Settings of scrcl. With a batch key, genes are selected by batch."""

PEERS = ("PCA + Leiden", "Harmony + Leiden", "balanced + Leiden", "scVI + Leiden")

_N_NEAR = 90
"""Neighbours in the balanced graph that its mixing is scored by, as in other spaces."""


class Task(NamedTuple):
    """A way, the file of the cells, the column of obs with their batches, and settings of scrcl."""

    way: str
    file: Path
    column: str
    seed: int
    settings: tuple[str, ...]


class Found(NamedTuple):
    """What a way found.

    ``cells`` are those that it kept, bool. ``spaces`` are points, or ids of neighbours, by name. ``record``
    has CPU seconds, peak memory and what a run recorded.
    """

    cells: Any
    found: Any
    at_k: Any
    spaces: dict[str, Any]
    record: Row


class Workers:
    """Processes for the ways; each is started when it is needed, and works on one task at a time.

    They end with ``stack``.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._pools: dict[str, tuple[ProcessPoolExecutor, float]] = {}

    def found(self, task: Task) -> Found:
        """Return what a way finds, with the CPU seconds that its process took to load."""
        kind = process_of(task.way)
        if kind not in self._pools:
            pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            self._stack.enter_context(pool)
            self._pools[kind] = pool, pool.submit(_warm, task.way).result()
        pool, load = self._pools[kind]
        found = pool.submit(found_by, task).result()
        return found._replace(record={**found.record, "cpu_load": load})


def process_of(way: str) -> str:
    """Return which process a way runs in."""
    return "scrcl" if way in OURS else "scVI" if way.startswith("scVI") else "scanpy"


def _warm(way: str) -> float:
    """Load and compile all that the ways of a process need, by some random cells; return CPU seconds of the process."""
    import anndata
    from scipy.sparse import csr_matrix

    warnings.simplefilter("ignore")
    n_cells, n_genes = 120, 60
    counts = np.random.default_rng(0).poisson(2.0, (n_cells, n_genes)).astype(np.float32)
    cells = anndata.AnnData(csr_matrix(counts))
    cells.obs_names, cells.var_names = cells.obs_names.astype(str), cells.var_names.astype(str)
    cells.obs[LABELS] = np.repeat(["a", "b"], n_cells // 2)
    cells.obs["batch"] = np.tile(["1", "2"], n_cells // 2)
    kind = process_of(way)
    ways = [one for one in (*OURS, *PEERS) if process_of(one) == kind]
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        file = Path(folder) / "cells.h5ad"
        cells.write_h5ad(file)
        for one in ways:
            settings = ("correct.method=harmony",) if one == "correct" else ()
            found_by(Task(one, file, "batch", 0, settings))
    return time.process_time()


def found_by(task: Task) -> Found:
    """Return what a way finds, in this process."""
    from scrcl.engine.usage import UsageMeter, give_back_freed

    give_back_freed()
    start = time.process_time()
    with UsageMeter() as meter:
        found = _ours(task, start) if task.way in OURS else _peer(task, start)
    peak = max(meter.usage.peak_rss_bytes, found.record.get("peak_rss_bytes", 0))
    return found._replace(record={"cpu_load": None, **found.record, "peak_rss_bytes": peak})


def _ours(task: Task, start: float) -> Found:
    """Return clusters of scrcl, and what its stage ``correct`` recorded."""
    from scrcl.engine.stages.correct import CorrectStage

    data = read_labelled(task.file)
    fields = {"batch_key": task.column, "spatial": data.spatial, **OURS[task.way]}
    config = runs.config_of(task.settings, seed=task.seed, **fields)
    with tempfile.TemporaryDirectory(prefix="scrcl-bench-") as folder:
        out = Path(folder) / "out"
        runs.run(task.file, out, config, until="cluster")
        found, first = runs.labels(out), time.process_time()
        cells, record = runs.retained(out), runs.opened(out).record(CorrectStage)
        spaces = {"components": np.array(runs.components(out)), "embedding": runs.embedding(out)}
        peak = runs.manifest(out)["peak_rss_bytes"]
        again = time.process_time()
        at_k = runs.cluster_again(task.file, out, n_clusters=data.k)
        last = time.process_time()
    facts = {
        "corrected": not record.left_as_is,
        "reason": record.reason,
        "mixing_before": None if record.before is None else record.before.mixing,
        "mixing_after": None if record.after is None else record.after.mixing,
        "peak_rss_bytes": peak,
    }
    return Found(cells, found, at_k, spaces, {**facts, **_seconds(start, first, again, last)})


def _peer(task: Task, start: float) -> Found:
    """Return clusters of Leiden on the space, or the graph, of a peer."""
    from bench.accuracy.peers import N_NEIGHBORS, by_leiden, by_leiden_1, by_leiden_on

    way, seed, cells = task.way, task.seed, has_counts(task.file)
    batches = _batches(task)[cells]
    points = _space(task, batches)
    k = len(set(read_labelled(task.file).labels[cells]))
    if way.startswith("balanced"):
        graph = _graph(_balanced(points, batches, N_NEIGHBORS))
        found, first = by_leiden_on(graph, None, seed=seed), time.process_time()
        at_k, last = by_leiden_on(graph, k, seed=seed), time.process_time()
        near = _balanced(points, batches, _N_NEAR)
        n_all = int((near >= 0).sum(axis=1).min())  # a small batch gives fewer
        spaces = {"graph": near[:, :n_all]}
    else:
        found, first = by_leiden_1(points, k, seed=seed), time.process_time()
        at_k, last = by_leiden(points, k, seed=seed), time.process_time()
        spaces = {"latent space" if way.startswith("scVI") else "components": points}
    facts = {"corrected": way != "PCA + Leiden", "reason": ""}
    facts |= {"mixing_before": None, "mixing_after": None}
    return Found(cells, found, at_k, spaces, {**facts, **_seconds(start, first, first, last)})


def _seconds(start: float, first: float, again: float, last: float) -> Row:
    """Return CPU seconds up to the clusters found, and of those at the true number after that."""
    return {"cpu_found": first - start, "cpu_at_k": last - again}


def _batches(task: Task) -> Any:
    import anndata

    cells = anndata.read_h5ad(task.file, backed="r")
    batches = cells.obs[task.column].astype(str).to_numpy()
    cells.file.close()
    return batches


def _space(task: Task, batches: Any) -> Any:
    """Return the space that a peer clusters: components, plain or corrected, or scVI's."""
    from bench.accuracy.peers import components

    if task.way.startswith("scVI"):
        from bench.accuracy.scvi import latent

        return latent(task.file, seed=task.seed, batch=task.column)
    plain = np.asarray(components(task.file, seed=task.seed))
    if not task.way.startswith("Harmony"):
        return plain
    import pandas as pd
    from harmonypy import run_harmony

    obs = pd.DataFrame({task.column: batches})
    harmony = run_harmony(plain, obs, [task.column], verbose=False, random_state=task.seed)
    corrected = np.asarray(harmony.Z_corr)
    return corrected if corrected.shape == plain.shape else corrected.T


def _balanced(points: Any, batches: Any, n_neighbors: int) -> Any:
    """Return the ids of the nearest cells of each cell, as many of each batch, as BBKNN; -1 where there are fewer."""
    from scrcl.graph.exact import ExactSearcher
    from scrcl.graph.ranked import sort_by_distance, without_self

    points, rows = np.asarray(points, np.float32), np.arange(len(points))
    names, codes = np.unique(batches, return_inverse=True)
    share = max(1, (2 * n_neighbors + len(names)) // (2 * len(names)))
    of_batches = []
    for batch in range(len(names)):
        own = np.flatnonzero(codes == batch)
        ids = np.full((len(points), share + 1), -1)
        squared = np.full(ids.shape, np.inf, np.float32)
        n_found = min(share + 1, len(own))
        found, squared[:, :n_found] = ExactSearcher(points[own]).search(points, n_found)
        ids[:, :n_found] = own[found]
        of_batches.append(without_self(ids, squared, rows))
    return sort_by_distance(
        *(np.concatenate(each, axis=1) for each in zip(*of_batches, strict=True))
    )[0]


def _graph(near: Any) -> Any:
    """Return the graph of neighbours, weighted as those of a run are."""
    from scrcl.graph.csr import connectivities, symmetric_graph

    return connectivities(symmetric_graph(near))
