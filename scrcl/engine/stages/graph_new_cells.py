"""Stage ``graph`` of a prediction: cells of the finished run near each new cell, or in a tissue those of its own slice.

New cells are not joined to each other. So the result for a cell depends on the run and that cell alone, however a file
of new cells is cut (except for what an approximate search misses).

In a tissue, cells of the run are in other slices, so none of them is near. As many neighbours are taken as in the run,
because averages over more or fewer cells would vary less or more than those of the run.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._contract import Estimate
from scrcl.engine.memory import (
    ANNOTATION_BYTES,
    LIBRARIES_BYTES,
    POSITION_BYTES,
    SEARCH_BYTES,
    TREE_BYTES,
)
from scrcl.engine.stage import AnnDataKeys, NewCellsStage, Record
from scrcl.engine.stages.graph_notes import recall_text
from scrcl.engine.stages.graph_search import index_bytes, search_of
from scrcl.engine.words import words_of
from scrcl.graph.artifacts import NEIGHBOR_IDS, PARTITION
from scrcl.graph.backends import choose, make_searcher
from scrcl.graph.recall import reach_recall
from scrcl.graph.searcher import SearchTask
from scrcl.io.arrays import (
    SMALL_MAP_BYTES,
    for_each_block,
    index_dtype,
    new_map,
    release,
    row_blocks,
    stored_array,
)
from scrcl.prep.artifacts import COMPONENTS, STATS
from scrcl.report.page import Section

if TYPE_CHECKING:
    from scrcl._contract import Artifact, Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.graph.searcher import Searcher
    from scrcl.typing import FloatArray, IntArray

__all__ = ["NEAR_IDS", "NEAR_SQUARED", "NewGraphStage", "NewSlicesGraphStage"]

_SEARCHED_PER_NEIGHBOR = 3
"""Near cells that are searched for each neighbour of a new cell. Most cells that would have the new cell as their
neighbour are among them."""

NEAR_IDS: Artifact[Any] = stored_array("near cells of the run", "ids.npy")
"""Memory map of int, shape (n_new, n_found): cells of the run, nearest first."""

NEAR_SQUARED: Artifact[Any] = stored_array("squared distances to cells of the run", "squared.npy")
"""Memory map of float32, of the shape of `NEAR_IDS`."""

_BLOCK_ROWS = 16_384


class NewGraphRecord(Record):
    """How near cells were searched."""

    n_run_cells: int
    backend: str
    recall: float


class NewGraphStage(NewCellsStage[NewGraphRecord]):
    """Searches the nearest cells of the run for each new cell."""

    name = "graph"
    record = NewGraphRecord
    gives = (NEAR_IDS, NEAR_SQUARED)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the index over the run's cells, and what is found."""
        n, there, n_comps = shape.n_cells, self._run.n_cells, shape.n_comps
        n_found = _SEARCHED_PER_NEIGHBOR * shape.n_neighbors
        found = 12 * n * n_found
        per_cell = index_bytes(config, n_comps, n_found) + POSITION_BYTES
        return Estimate(
            LIBRARIES_BYTES
            + there * per_cell
            + 2 * min(4 * there * n_comps, SMALL_MAP_BYTES)
            + min(found, 2 * SMALL_MAP_BYTES),
            min(SEARCH_BYTES, 300 * (n + there)),
            disk_bytes=found + 4 * there * n_comps,
        )

    def run(self, context: Context, folder: Path) -> NewGraphRecord:
        """Write ``ids.npy`` and ``squared.npy``."""
        from scrcl.graph.exact import ExactSearcher

        points, queries = self._run.open(COMPONENTS), context.open(COMPONENTS)
        k = context.config.graph.n_neighbors
        n_found = min(_SEARCHED_PER_NEIGHBOR * k, len(points))
        exact, n_workers = ExactSearcher(points), context.budget.n_threads
        shape = (len(queries), n_found)
        ids: IntArray = new_map(folder / "ids.npy", index_dtype(len(points)), shape)
        squared: FloatArray = new_map(folder / "squared.npy", np.dtype(np.float32), shape)
        with TemporaryDirectory(dir=folder) as scratch:
            searcher = self._searcher(context, points, len(queries), Path(scratch))
            recall = _reach_recall(context, searcher, exact, queries, n_found, n_workers)

            def search(start: int, stop: int) -> None:
                block = np.array(queries[start:stop])
                found, apart = searcher.search(block, n_found)
                lacking = np.flatnonzero(found[:, k - 1] < 0)
                if len(lacking):
                    found[lacking], apart[lacking] = exact.search(block[lacking], n_found)
                ids[start:stop], squared[start:stop] = found, apart
                for array in (points, queries, ids, squared):
                    release(array)

            for_each_block(
                search,
                row_blocks(len(queries), _BLOCK_ROWS),
                n_workers=1 if searcher.has_threads else n_workers,
                on_rows=context.count("graph", len(queries)),
            )
        return NewGraphRecord(
            n_cells=len(queries), n_run_cells=len(points), backend=searcher.name, recall=recall
        )

    def headline(self, record: NewGraphRecord) -> dict[str, float]:
        """Return the recall of the search."""
        return {"graph_recall": record.recall}

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return the recall of the search."""
        return AnnDataKeys(uns={"graph_recall": run.record(NewGraphStage).recall})

    def section(self, run: OpenRun) -> Section:
        """Return the search for the overview."""
        record = run.record(NewGraphStage)
        return Section(
            "Neighbours",
            overview={
                "cells of the run": f"{record.n_run_cells:,}",
                "search in the run": f"{record.backend}, recall {recall_text(record.recall)}",
            },
        )

    def _searcher(
        self, context: Context, points: FloatArray, n_queries: int, folder: Path
    ) -> Searcher:
        config, search = context.config, search_of(context.config)
        task = SearchTask(
            k=config.graph.n_neighbors,
            seed=config.seed,
            device=search.device,
            partition=self._run.open(PARTITION),
            folder=folder,
            bounded=search.bounded,
        )
        return make_searcher(choose(search, *points.shape, n_queries=n_queries), points, task)


def _reach_recall(
    context: Context,
    searcher: Searcher,
    exact: Searcher,
    queries: FloatArray,
    n_found: int,
    n_workers: int,
) -> float:
    """Let ``searcher`` search more widely until it reaches the recall asked for, on a subset of the new cells."""

    def distances_of(by: Searcher, rows: IntArray) -> FloatArray:
        return by.search(np.asarray(queries[rows]), n_found)[1]

    return reach_recall(
        searcher,
        exact,
        distances_of,
        len(queries),
        target=context.config.graph.least_recall,
        seed=context.config.seed,
        n_workers=n_workers,
    ).recall


class NewSlicesGraphRecord(Record):
    """Neighbours of a new cell, and the kind of the coordinates."""

    n_neighbors: int
    n_slices: int
    layout: dict[str, Any]


class NewSlicesGraphStage(NewCellsStage[NewSlicesGraphRecord]):
    """Finds the nearest cells of each new cell in its slice."""

    name = "graph"
    record = NewSlicesGraphRecord
    gives = (NEIGHBOR_IDS,)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return the coordinates, the tree over them, and what is found."""
        n, k = shape.n_cells, shape.n_neighbors
        return Estimate(
            LIBRARIES_BYTES + n * (ANNOTATION_BYTES + TREE_BYTES + 8 * k), disk_bytes=4 * n * k
        )

    def run(self, context: Context, folder: Path) -> NewSlicesGraphRecord:
        """Write ``ids.npy``."""
        from scrcl.engine.stages.graph import GraphStage
        from scrcl.graph.spatial import spatial_knn

        there = self._run.record(GraphStage)
        covariates = context.covariates.of(context.open(STATS).retained)
        assert covariates.coordinates is not None, "new slices without coordinates are refused"
        assert covariates.layout is not None
        n_cells = len(covariates.coordinates)
        found = spatial_knn(
            covariates.coordinates,
            min(there.n_neighbors, n_cells - 1),
            samples=covariates.samples,
            radius=context.config.graph.radius,
        )
        np.save(folder / "ids.npy", found.ids)
        kind, kind_there = covariates.layout.kind, (there.layout or {}).get("kind")
        note = (
            f"The coordinates of the new cells are {kind}, and those of the run {kind_there}. Averages over as many "
            "neighbours may then reach another distance: compare the maps."
        )
        return NewSlicesGraphRecord(
            n_cells=n_cells,
            n_neighbors=found.ids.shape[1],
            n_slices=1 if covariates.samples is None else len(np.unique(covariates.samples.codes)),
            layout=covariates.layout._asdict(),
            notes=() if kind == kind_there else (note,),
        )

    def section(self, run: OpenRun) -> Section:
        """Return the neighbours for the overview."""
        record = run.record(NewSlicesGraphStage)
        slices = f" in {record.n_slices} slices" if record.n_slices > 1 else ""
        return Section(
            "Neighbours",
            overview={
                "neighbours in the tissue": f"{record.n_neighbors} for each {words_of(self._run).cell}{slices}"
            },
            notes=record.notes,
        )
