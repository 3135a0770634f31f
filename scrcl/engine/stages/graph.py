"""Stage ``graph``: nearest neighbours of the cells, and the symmetric graph that training learns from."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._contract import Estimate
from scrcl.engine.memory import (
    ANNOTATION_BYTES,
    LIBRARIES_BYTES,
    MORE_NEIGHBORS,
    POSITION_BYTES,
    SEARCH_BYTES,
)
from scrcl.engine.stage import AnnDataKeys, Fields, Record, Stage
from scrcl.engine.stages.graph_notes import (
    graph_facts,
    graph_notes,
    graph_overview,
    search_notes,
    tissue_notes,
)
from scrcl.engine.stages.graph_search import find_neighbours, index_bytes, partition_of
from scrcl.engine.words import words_in, words_of
from scrcl.errors import InputError
from scrcl.graph.artifacts import (
    CELL_GRAPH,
    CSR,
    DEGREE_COUNTS,
    NEIGHBOR_DISTANCES,
    NEIGHBOR_IDS,
    PARTITION,
)
from scrcl.graph.settings import GraphSettings
from scrcl.io.arrays import SMALL_MAP_BYTES
from scrcl.prep.artifacts import STATS
from scrcl.report.page import Figure, Section

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.graph_new_cells import NewGraphStage, NewSlicesGraphStage
    from scrcl.graph.csr import Graph
    from scrcl.graph.partition import Partition
    from scrcl.io.matrix import CellMatrix

__all__ = [
    "GraphRecord",
    "GraphStage",
    "GraphStatisticsRecord",
    "Locality",
]

_READ_ROWS = 4_096
"""Rows of a read, for measuring how much of the graph it holds."""

NODE_BYTES = 28
"""For each cell while its graph is joined and described: row starts, degrees, connected components."""

EDGE_BLOCK_BYTES = 64 * 10**6
"""Edges in memory while they are joined; measured."""


class Locality(Fields):
    """How much of the graph a read of rows holds, in the order of the input and in that of the partition."""

    rows: int
    edges_inside: float
    halo_rows: float
    edges_inside_ordered: float
    halo_rows_ordered: float


class GraphStatisticsRecord(Record):
    """The statistics of a graph; `scrcl.graph.statistics.describe` defines each of them."""

    n_nodes: int
    n_edges: int
    mean_degree: float
    median_degree: int
    low_degree: int
    high_degree: int
    max_degree: int
    n_isolated: int
    n_components: int
    n_kept_apart: int = 1
    largest_component: float
    n_hubs: int
    hub_share: float


class GraphRecord(GraphStatisticsRecord):
    """How neighbours were searched, and what the graph looks like."""

    n_neighbors: int
    backend: str
    recall: float
    excess: float = 0.0
    search: dict[str, int | float]
    hubness: float
    n_alone: int
    locality: Locality
    layout: dict[str, Any] | None = None
    cross_batch_share: float | None = None
    cross_sample_share: float | None = None


class GraphStage(Stage[GraphRecord]):
    """Searches the nearest neighbours of each cell, and joins them to a symmetric binary graph."""

    name = "graph"
    settings = GraphSettings
    record = GraphRecord
    gives = (CELL_GRAPH, NEIGHBOR_IDS, NEIGHBOR_DISTANCES, DEGREE_COUNTS, PARTITION)

    def check(self, header: CellMatrix, config: RunConfig) -> None:
        """Refuse more neighbours than there are other cells."""
        name, k = config.searched_neighbors
        padded = k == "auto" or config.sample_key
        if not padded and header.n_obs <= int(k):
            message = (
                f"{name} must be less than the number of cells ({header.n_obs}); got {k}. "
                f"Set {name} lower, or give more cells."
            )
            raise InputError(message)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the index, maps of points and neighbours, and blocks of queries and edges."""
        n, k, n_comps = shape.n_cells, shape.n_neighbors, shape.n_comps
        per_cell = NODE_BYTES + POSITION_BYTES + index_bytes(config, n_comps, k)
        per_cell += ANNOTATION_BYTES * (config.spatial and config.sample_key is None)
        return Estimate(
            LIBRARIES_BYTES
            + int(n * per_cell)
            # Points and their copy in order, ids and distances: pages of larger maps are released.
            + 2 * min(4 * n * n_comps, SMALL_MAP_BYTES)
            + 2 * min(4 * n * k, SMALL_MAP_BYTES),
            max(min(EDGE_BLOCK_BYTES, 60 * n * k), min(SEARCH_BYTES, 300 * n)),
            # The copy in order is gone when edges are written.
            disk_bytes=int(n * (8 * k + 16 + max(4 * MORE_NEIGHBORS * k, 4 * n_comps))),
            read_bytes=16 * n * n_comps,
            # Comparisons grow faster than the cells; measured at 100,000 to 3 million.
            seconds=2 + 1e-5 * n * (1 + (n / 1e6) ** 0.7),
        )

    def run(self, context: Context, folder: Path) -> GraphRecord:
        """Write ids, distances, the graph in ``csr/`` and the partition in ``partition/``."""
        from scrcl.graph.csr import symmetric_graph
        from scrcl.graph.statistics import cross_share, degree_counts, describe

        config = context.config.graph
        covariates = context.covariates.of(context.open(STATS).retained)
        lists = partition_of(context, covariates)
        lists.save(folder / "partition")
        found = find_neighbours(context, covariates, lists, folder)
        graph = symmetric_graph(found.ids, folder / CSR, mode=config.symmetry)
        np.save(folder / "degrees.npy", degree_counts(graph))
        n_alone = int(np.count_nonzero(found.ids[:, 0] < 0))
        shares = {
            f"cross_{kind}_share": cross_share(graph, column.codes)
            for kind, column in (("batch", covariates.batches), ("sample", covariates.samples))
            if column is not None
        }
        slices = covariates.samples if context.config.spatial else None
        of_tissue: tuple[str, ...] = ()
        if covariates.coordinates is not None:
            of_tissue = tuple(tissue_notes(context, covariates, found))
        record = GraphRecord(
            n_cells=graph.n,
            n_neighbors=found.ids.shape[1],
            backend=found.backend,
            recall=found.recall,
            excess=found.excess,
            search=dict(found.effort),
            **describe(graph, found.ids, None if slices is None else slices.codes),
            n_alone=n_alone,
            **shares,
            locality=_locality(graph, lists),
            layout=None if covariates.layout is None else covariates.layout._asdict(),
        )
        notes = (
            *search_notes(context, covariates, n_alone, graph.n, found.ids.shape[1]),
            *of_tissue,
            *graph_notes(record, config, words_in(context)),
        )
        return record.model_copy(update={"notes": notes})

    def headline(self, record: GraphRecord) -> dict[str, float]:
        """Return the recall of the search."""
        return {"graph_recall": record.recall}

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return connectivities and distances, as blocks that are read when they are written."""
        from scrcl.graph.csr import connectivities, distances_matrix
        from scrcl.io.results import pairs_in_blocks

        graph, record = run.open(CELL_GRAPH), run.record(GraphStage)
        ids, distances = run.open(NEIGHBOR_IDS), run.open(NEIGHBOR_DISTANCES)
        return AnnDataKeys(
            obsp={
                "scrcl_distances": pairs_in_blocks(
                    partial(distances_matrix, ids, distances), graph.n, ids.size
                ),
                "scrcl_connectivities": pairs_in_blocks(
                    partial(connectivities, graph), graph.n, len(graph.indices)
                ),
            },
            uns={
                "connectivities_key": "scrcl_connectivities",
                "distances_key": "scrcl_distances",
                "params": {
                    "n_neighbors": record.n_neighbors,
                    "method": record.backend,
                    "metric": "euclidean",
                    "use_rep": "spatial" if run.config.spatial else "X_pca",
                    "random_state": run.config.seed,
                },
                "graph_recall": record.recall,
            },
            n_pairs=ids.size + len(graph.indices),
        )

    def section(self, run: OpenRun) -> Section:
        """Return what is known of the graph, and its degrees."""
        from scrcl.report.figures import degree_bars

        record, config, words = run.record(GraphStage), run.config.graph, words_of(run)
        bars = Figure(
            degree_bars(run.open(DEGREE_COUNTS), words.cell),
            f"{words.cell.capitalize()}s by their number of neighbours. The last bar also holds those with more.",
            "svg",
        )
        return Section(
            "Cell graph",
            facts=graph_facts(record, config, words),
            figures=(bars,),
            overview={"cell graph": graph_overview(record, words)},
            notes=record.notes,
            technical=True,
        )

    def for_new_cells(self, run: OpenRun) -> NewGraphStage | NewSlicesGraphStage:
        """Return the stage that finds what is near new cells: cells of the run, or in a tissue each other."""
        from scrcl.engine.stages.graph_new_cells import NewGraphStage, NewSlicesGraphStage

        config = run.config
        if config.on_tissue:
            return NewSlicesGraphStage(run)
        if config.spatial:
            message = (
                f"OUT must be a run with cluster.on = auto, as its clusters are domains; got {config.cluster.on}. The "
                "embedding of a tissue has no place for new slices: run again with cluster.on = auto."
            )
            raise InputError(message)
        return NewGraphStage(run)


def _locality(graph: Graph, lists: Partition) -> Locality:
    from scrcl.graph.locality import locality

    as_read, ordered = locality(graph, _READ_ROWS), locality(graph, _READ_ROWS, lists.order)
    return Locality(
        rows=_READ_ROWS,
        edges_inside=as_read.inside,
        halo_rows=as_read.halo,
        edges_inside_ordered=ordered.inside,
        halo_rows_ordered=ordered.halo,
    )
