"""Stage ``genes``: the graph of the selected genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from scrcl._contract import Estimate
from scrcl._settings import Settings
from scrcl.engine.memory import LIBRARIES_BYTES, gram_bytes
from scrcl.engine.stage import Stage
from scrcl.engine.stages.graph import GraphStatisticsRecord
from scrcl.errors import InputError
from scrcl.graph.artifacts import CSR, GENE_GRAPH, GENE_SKETCH
from scrcl.prep.artifacts import FEATURES, PCA
from scrcl.report.page import Section

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.io.matrix import CellMatrix

__all__ = ["GenesSettings", "GenesStage"]


class GenesSettings(Settings):
    """The gene graph."""

    n_neighbors: int = Field(5, ge=1, description="Number of nearest neighbours of a gene.")
    metric: Literal["euclidean", "cosine", "correlation"] = Field(
        "euclidean", description="Distance between genes, which are columns of cells by genes."
    )
    source: Literal["sketch", "gram"] = Field(
        "sketch",
        description="Compare genes by loadings times singular values (sketch), or by all cells through the genes' "
        "Gram matrix (gram).",
    )


class GenesRecord(GraphStatisticsRecord):
    """How genes were joined, and how sketch and all cells agree."""

    n_genes: int
    metric: str
    source: str
    n_genes_undefined: int
    sketch_overlap: float | None


class GenesStage(Stage[GenesRecord]):
    """Finds the nearest neighbours of the genes, on their sketch or from all cells."""

    name = "genes"
    settings = GenesSettings
    record = GenesRecord
    gives = (GENE_GRAPH, GENE_SKETCH)

    def check(self, header: CellMatrix, config: RunConfig) -> None:
        """Refuse all cells as the source where no Gram matrix is made."""
        from scrcl.prep.randomized_pca import GRAM_GENES, uses_gram

        n_genes = config.features.n_selected(header.n_vars)
        if config.genes.source == "gram" and not uses_gram(config.reduce.solver, n_genes):
            message = (
                f'genes.source must be "sketch" where no Gram matrix is made; got "gram" with '
                f"{n_genes} genes and reduce.solver={config.reduce.solver}. Set reduce.solver=gram, or "
                f"keep at most {GRAM_GENES} genes."
            )
            raise InputError(message)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the Gram matrix, and blocks of its rows as distances and their order."""
        gram = gram_bytes(shape, config)
        return Estimate(
            LIBRARIES_BYTES + 4 * gram,
            16_384 * shape.n_genes if gram else 0,
            disk_bytes=8 * shape.n_genes * shape.n_comps,
            read_bytes=8 * shape.n_genes * shape.n_comps + 4 * gram,
            seconds=0.1,
        )

    def run(self, context: Context, folder: Path) -> GenesRecord:
        """Write the graph in ``csr/`` and ``sketch.npy``."""
        from scrcl.graph.csr import symmetric_graph
        from scrcl.graph.genes import exact_neighbors, overlap, sketched_neighbors
        from scrcl.graph.statistics import describe
        from scrcl.prep.pca import gene_sketch

        config = context.config.genes
        store, pca = context.open(FEATURES), context.open(PCA)
        k, metric = config.n_neighbors, config.metric
        ids = sketched = sketched_neighbors(pca, store.n_obs, k, metric=metric)
        shared = None
        if store.has_gram:
            exact = exact_neighbors(store.gram(), store.sums(), store.n_obs, k, metric=metric)
            shared = overlap(sketched, exact)
            ids = sketched if config.source == "sketch" else exact
        graph = symmetric_graph(ids)
        graph.save(folder / CSR)
        np.save(folder / "sketch.npy", gene_sketch(pca))
        return GenesRecord(
            n_genes=graph.n,
            metric=metric,
            source=config.source,
            n_genes_undefined=int((ids == -1).all(axis=1).sum()),
            sketch_overlap=shared,
            **describe(graph),
        )

    def section(self, run: OpenRun) -> Section:
        """Return one line about the gene graph for the overview; how sketch and cells agree is in ``run.json``."""
        record = run.record(GenesStage)
        of = "loadings on the components" if record.source == "sketch" else "values in all cells"
        text = f"{record.n_edges:,} edges between genes with similar {of} ({record.metric})"
        return Section("Gene graph", overview={"gene graph": text})
