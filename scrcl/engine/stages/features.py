"""Stage ``features``: select the variable genes, and write their log values as a compact store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from scrcl._contract import Estimate
from scrcl._settings import Gone, Rule, Settings, option
from scrcl.engine.memory import STREAM_BYTES, block_values, gram_bytes, selected_values
from scrcl.engine.stage import AnnDataKeys, Record, Stage
from scrcl.engine.stages.features_by_batch import is_tested
from scrcl.engine.stages.features_in_space import spatial_bytes
from scrcl.engine.stages.features_selected import select_genes
from scrcl.engine.stages.read import ReadStage
from scrcl.engine.stages.stats import TOTALS_BYTES, moments_bytes
from scrcl.engine.words import words_of
from scrcl.errors import InputError
from scrcl.markers.listed import ListedGenes, shown_genes
from scrcl.prep.artifacts import FEATURES, SELECTED_GENES, STATS
from scrcl.prep.gram import gram_seconds
from scrcl.report.page import Column, Section, Table

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.features_new_cells import NewFeaturesStage
    from scrcl.io.matrix import CellMatrix

__all__ = [
    "FeaturesRecord",
    "FeaturesSettings",
    "FeaturesStage",
    "features_estimate",
]

_FEATURES_BYTES_PER_VALUE = 28
"""A value of X while the selected genes are taken out, normalised and multiplied."""

_SHOWN_IN_SPACE = 15
"""Genes that the report lists by how far they vary from place to place."""

_VALUES_PER_S = 41e6
"""Values of X that a core goes through in a second, from a sharded store (``bench.reduce``)."""


def _top_genes(value: object) -> int | float:
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        number = float(value)
        if 0 < number < 1:
            return number
        if number >= 2 and number.is_integer():
            return int(number)
    message = f"features.n_top_genes must be {_TOP_GENES}; got {value!r}."
    raise ValueError(message)


_TOP_GENES = "a whole number of at least 2, or a share above 0 and below 1"
TopGenes = Annotated[int | float, Rule(_top_genes, allowed=_TOP_GENES)]


class FeaturesSettings(Settings):
    """Which cells and genes are kept."""

    gone: ClassVar[tuple[Gone, ...]] = (
        Gone(
            "dtype",
            without="float32",
            message="features.dtype must be left out; it is gone, and log values are stored as float32.",
        ),
    )

    values: Literal["auto", "counts", "log"] = option(
        "auto",
        "--values",
        panel="Input",
        description="What the values are: counts, or logarithms of normalised counts; auto finds out.",
    )
    n_top_genes: TopGenes = Field(
        2000,
        description="Highly variable genes to select: their number, or their share of all genes.",
    )
    flavor: Literal["auto", "seurat", "cell_ranger", "seurat_v3", "variance", "moran"] = Field(
        "auto",
        description="How variable genes are selected, as in scanpy; seurat_v3 reads the counts once more. variance: "
        "those of the largest variance of the values as they are stored. moran: those "
        "that vary from place to place, by Moran's I, with spatial only. auto: seurat, and moran with spatial; if too "
        "few genes vary from place to place, seurat_v3 for counts. All of n_top_genes genes or fewer are kept; with "
        "spatial only where most of them vary from place to place, or fewer than 100.",
    )
    min_genes: int = Field(0, ge=0, description="Cells with fewer genes are left out.")
    max_counts: float | None = Field(
        None, gt=0, description="Cells with more counts in total are left out."
    )
    max_mito: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Cells with a larger share of mitochondrial counts are left out.",
    )
    mito_prefix: str = Field(
        "MT-",
        min_length=1,
        description="Prefix of the names or symbols of mitochondrial genes, in upper or lower case.",
    )
    min_cells: int = Field(1, ge=1, description="Genes in fewer retained cells are not selected.")

    def check_with(self, run: RunConfig) -> None:
        """Refuse genes that vary from place to place without places."""
        if self.flavor == "moran" and not run.spatial:
            message = (
                "features.flavor must be another than moran without spatial; got moran. "
                "Add `spatial=True`, or choose seurat or seurat_v3."
            )
            raise ValueError(message)

    def n_selected(self, n_genes: int) -> int:
        """Return the largest number of genes that are selected from so many."""
        asked = self.n_top_genes
        return min(asked if isinstance(asked, int) else max(round(asked * n_genes), 2), n_genes)


class FeaturesRecord(Record):
    """How many genes were selected, and how.

    Attributes
    ----------
    is_whole
        Whether all genes are kept that enough cells express: there are few.
    by_batch
        Whether genes were selected batch by batch.
    n_varying
        Genes that vary from place to place beyond chance; None where that was not asked.
    """

    n_genes: int
    flavor: str = "seurat"
    is_whole: bool = False
    by_batch: bool = False
    n_varying: int | None = None


class FeaturesStage(Stage[FeaturesRecord]):
    """Selects variable genes. A second read of X writes them normalised, with their Gram matrix."""

    name = "features"
    settings = FeaturesSettings
    record = FeaturesRecord
    gives = (FEATURES, SELECTED_GENES)

    def check(self, header: CellMatrix, config: RunConfig) -> None:
        """Refuse limits that no gene and no cell can reach."""
        limits = config.features
        for name, least, kind, most in (
            ("min_cells", limits.min_cells, "cells", header.n_obs),
            ("min_genes", limits.min_genes, "genes", header.n_vars),
        ):
            if least > most:
                message = f"features.{name} must be at most the number of {kind}, {most:,}; got {least:,}. Lower it."
                raise InputError(message)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the store and the products of the selected genes."""
        estimate = features_estimate(shape, gram_bytes(shape, config))
        if is_tested(shape, config):
            estimate = replace(
                estimate,
                read_bytes=2 * estimate.read_bytes,
                seconds=2 * estimate.seconds,
                shared_seconds=2 * estimate.shared_seconds,
            )
        if not (config.spatial and config.features.flavor in ("auto", "moran")):
            return estimate
        return replace(
            estimate,
            fixed_bytes=estimate.fixed_bytes + spatial_bytes(shape),
            read_bytes=estimate.read_bytes + shape.input_bytes,
            seconds=estimate.seconds + 1e-4 * min(shape.n_cells, 10_000) * (shape.n_vars / 3e4),
            shared_seconds=estimate.shared_seconds * 2,
        )

    def run(self, context: Context, folder: Path) -> FeaturesRecord:
        """Select, and write the store."""
        from scrcl.prep.feature_store import write_features
        from scrcl.prep.randomized_pca import uses_gram

        stats, config, matrix = context.open(STATS), context.config, context.matrix
        selected, table, flavor, n_varying, notes = select_genes(context, stats, folder)
        table.to_csv(folder / "genes.csv", index=False)
        # Rows that the statistics found in order need no second check.
        rows = matrix.rows if stats.is_canonical else matrix.x
        store = write_features(
            rows(context.budget.block_rows),
            folder,
            retained=stats.retained,
            genes=selected,
            already_log=stats.already_log,
            cell_sums=stats.cell_counts,
            with_gram=uses_gram(config.reduce.solver, len(selected)),
            reading=context.reading("features"),
        )
        np.save(folder / "genes.npy", selected)
        return FeaturesRecord(
            n_cells=store.n_obs,
            n_genes=store.n_vars,
            flavor=flavor,
            is_whole=store.n_vars
            == np.count_nonzero(stats.gene_cells >= config.features.min_cells),
            by_batch="highly_variable_nbatches" in table,
            n_varying=n_varying,
            notes=notes,
        )

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return the statistics of the selection, named as scanpy names them."""
        import pandas as pd

        table = pd.read_csv(run.folder.stage(self.name) / "genes.csv")
        selected = np.isin(np.arange(len(table)), run.open(SELECTED_GENES))
        columns = {str(name): table[name].to_numpy() for name in table}
        return AnnDataKeys(
            var={**columns, "highly_variable": selected},
            uns_other={"hvg": {"flavor": run.record(FeaturesStage).flavor}},
        )

    def section(self, run: OpenRun) -> Section:
        """Return the number of genes for the overview, and those that vary most from place to place in a tissue."""
        import pandas as pd

        record = run.record(FeaturesStage)
        of = f"{record.n_genes:,} of {run.record(ReadStage).n_genes:,}"
        by = f", by {run.config.batch_key}" if record.by_batch else ""
        text = f"{of}, the variable ones ({record.flavor}{by})"
        if record.is_whole:
            text = f"{of}: all that enough {words_of(run).cell}s express, as there are few"
        overview, notes = {"genes": text}, record.notes
        if record.n_varying is None:
            return Section("Genes", overview=overview, notes=notes)
        table = pd.read_csv(run.folder.stage(self.name) / "genes.csv")["morans_i"]
        shown = table.nlargest(_SHOWN_IN_SPACE)
        genes = ListedGenes.of_var(run.var).at(shown.index.to_numpy())
        names = shown_genes(pd.DataFrame(genes.columns()))
        vary = "gene varies" if record.n_varying == 1 else "genes vary"
        return Section(
            "Genes that vary from place to place",
            text=f"{record.n_varying:,} {vary} from place to place beyond chance.",
            table=Table(
                [Column("gene"), Column("Moran's I", "number")],
                [list(row) for row in zip(names, shown, strict=True)],
                "Moran's I is how far neighbours in the tissue are alike in a gene: 0 as by chance, 1 if equal. "
                'var["morans_i"] of the result has that of all genes.',
            ),
            overview=overview,
            notes=notes,
        )

    def for_new_cells(self, run: OpenRun) -> NewFeaturesStage:
        """Return the stage that takes the run's genes out of new cells."""
        from scrcl.engine.stages.features_new_cells import NewFeaturesStage

        return NewFeaturesStage(run)


def features_estimate(shape: Shape, gram: int) -> Estimate:
    """Return what a read of X into the feature store takes, with ``gram`` bytes in a triangle of products."""
    stored = selected_values(shape)
    products = (
        gram_seconds(shape.n_cells, stored / max(shape.n_cells, 1), shape.n_genes) if gram else 0.0
    )
    return Estimate(
        # The sum and the whole matrix in float64, three finished triangles; then the eigenvectors.
        STREAM_BYTES + TOTALS_BYTES * shape.n_cells + 13 * gram + 2 * moments_bytes(shape),
        # One triangle in use and one waiting, and rows made dense where they nearly are.
        int(block_values(shape) * _FEATURES_BYTES_PER_VALUE)
        + 4 * gram
        + moments_bytes(shape) // 3
        + 8_192 * shape.n_genes,
        shared=True,
        disk_bytes=int(6 * stored) + 8 * shape.n_cells + 4 * gram,
        read_bytes=shape.x_bytes,
        seconds=0.6,
        shared_seconds=shape.n_values / _VALUES_PER_S + products,
    )
