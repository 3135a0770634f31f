"""Stage ``associations``: what the trained model says about genes, and modules of genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import atomic_path
from scrcl._contract import Estimate
from scrcl.cluster.artifacts import LABELS
from scrcl.engine.learning import embedding_width, method_of
from scrcl.engine.memory import LIBRARIES_BYTES, block_values
from scrcl.engine.stage import AnnDataKeys, Record, Stage
from scrcl.engine.stages.embed import SPACES
from scrcl.engine.words import words_of
from scrcl.graph.artifacts import GENE_GRAPH
from scrcl.markers.artifacts import MARKERS
from scrcl.markers.listed import ListedGenes, shown_genes
from scrcl.markers.ranking import for_spreadsheets
from scrcl.prep.artifacts import SELECTED_GENES, STATS
from scrcl.report.page import Cell, Column, Section, Table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.typing import FloatArray, IntArray

__all__ = ["AssociationsStage"]

_FILE, _MODULES = "gene_associations.csv", "modules.npy"

_BYTES_PER_VALUE = 24
"""A value of the feature store, and of its part that is transposed for the product."""

_PLANNED_CLUSTERS = 50

_SHOWN_GENES, _SHOWN_CLUSTERS = 8, 60


class AssociationsRecord(Record):
    """Number of modules and, if the method has vectors of genes, the space of the cells that goes with them."""

    n_modules: int
    space: str | None


class AssociationsStage(Stage[AssociationsRecord]):
    """Scores genes for each cluster by the trained model, and finds modules of the gene graph."""

    name = "associations"
    record = AssociationsRecord
    is_cheap = True

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return labels, vectors of genes and means of clusters, and blocks of the feature store."""
        width = embedding_width(config)
        return Estimate(
            LIBRARIES_BYTES + 8 * shape.n_cells + 24 * width * shape.n_genes,
            int(block_values(shape) * _BYTES_PER_VALUE) + 12 * 65_536 * width,
            disk_bytes=100 * _PLANNED_CLUSTERS * config.markers.n_genes,
            read_bytes=8 * shape.n_cells * width,
            seconds=0.5 + 2e-6 * shape.n_cells,
        )

    def run(self, context: Context, folder: Path) -> AssociationsRecord:
        """Write the modules and, if the method has vectors of genes, ``gene_associations.csv``, here and in OUT."""
        from scrcl.graph.modules import gene_modules

        modules = gene_modules(context.open(GENE_GRAPH), seed=context.config.seed)
        np.save(folder / _MODULES, modules)
        found = method_of(context.config).gene_vectors(context, context.open(SPACES))
        n_modules = int(modules.max(initial=-1)) + 1
        if found is None:
            return AssociationsRecord(n_modules=n_modules, space=None)
        cells = np.load(context.open(SPACES) / f"{found.space}.npy", mmap_mode="r")
        table = _table(context, cells, found.vectors, modules)
        table.to_csv(folder / _FILE, index=False)
        with atomic_path(context.folder.path / _FILE) as partial:
            for_spreadsheets(table).to_csv(partial, index=False)
        return AssociationsRecord(
            n_cells=len(cells), files=(_FILE,), n_modules=n_modules, space=found.space
        )

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return the module of each gene, and the table of associations."""
        modules = np.full(len(run.open(STATS).gene_cells), -1, np.int32)
        modules[run.open(SELECTED_GENES)] = np.load(run.folder.stage(self.name) / _MODULES)
        uns = {} if run.record(AssociationsStage).space is None else {"associations": _saved(run)}
        return AnnDataKeys(var={"scrcl_module": modules}, uns=uns)

    def section(self, run: OpenRun) -> Section | None:
        """Return the first genes of each cluster by the model, and which of them are markers."""
        if run.record(AssociationsStage).space is None:
            return None
        table = _saved(run)
        if not len(table):
            return None
        rows: list[list[Cell]] = []
        words = words_of(run)
        for cluster, of_cluster in list(table.groupby("cluster"))[:_SHOWN_CLUSTERS]:
            top = of_cluster[of_cluster["rank"] < _SHOWN_GENES]
            genes = shown_genes(top)
            flagged = [
                f"{gene} ({kind})" for gene, kind in zip(genes, top["kind"], strict=True) if kind
            ]
            rows.append(
                [
                    str(cluster),
                    tuple(genes),
                    float((top["marker_rank"] >= 0).mean()),
                    ", ".join(flagged),
                ]
            )
        columns = [
            Column(words.cluster),
            Column("genes", "markers"),
            Column("also markers", "share"),
        ]
        if any(row[-1] for row in rows):
            columns.append(Column("rarely mark a type"))
        else:
            rows = [row[:-1] for row in rows]
        caption = (
            "Selected genes with the largest association: the log value that the trained model gives the gene, mean "
            f"over the {words.cluster} minus mean over all other {words.cell}s. It restates the expression as the "
            "model sees it, and is no test. gene_associations.csv has more genes, and their modules in the gene graph."
        )
        return Section("Genes by the model", table=Table(columns, rows, caption))


def _table(
    context: Context, cells: FloatArray, vectors: FloatArray, modules: IntArray
) -> pd.DataFrame:
    from scrcl.markers.associations import association_table, cluster_associations

    selected, var = context.open(SELECTED_GENES), context.matrix.var
    scores = cluster_associations(cells, vectors, np.asarray(context.open(LABELS)))
    return association_table(
        scores,
        ListedGenes.of_var(var).at(selected),
        modules=modules,
        markers=context.open(MARKERS),
        n_top=context.config.markers.n_genes,
    )


def _saved(run: OpenRun) -> pd.DataFrame:
    import pandas as pd

    path = run.folder.stage(AssociationsStage.name) / _FILE
    # A gene may be called "NA" or "nan".
    return pd.read_csv(path, keep_default_na=False, dtype={"gene": str, "symbol": str})
