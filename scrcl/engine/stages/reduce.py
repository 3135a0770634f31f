"""Stage ``reduce``: principal components of the selected genes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from scrcl._settings import Settings
from scrcl.engine.memory import gram_bytes, selected_values
from scrcl.engine.stage import AnnDataKeys, NewCellsStage, Record, Stage
from scrcl.engine.stages.features import features_estimate
from scrcl.engine.stages.read import ReadStage
from scrcl.errors import InputError
from scrcl.prep.artifacts import (
    COMPONENTS,
    FACTORS,
    FACTORS_FILE,
    FEATURES,
    PCA,
    PLAIN_COMPONENTS,
    PRESENT_GENES,
    SELECTED_GENES,
    STATS,
)
from scrcl.report.page import Section

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Estimate, Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.prep.feature_store import FeatureStore

__all__ = ["ReduceSettings", "ReduceStage"]

_VALUES_PER_S = 90e6
"""Values of selected genes that a core multiplies in a second (``bench.reduce``)."""

_KRYLOV_PASSES = 12
"""Reads of the store by the randomised SVD, in the middle (9 to 18 seen)."""

_ROUNDING = 1e-5
"""Largest variance of equal cells, as a share of their squared values: sums of float32 squares leave 1e-6 of zero."""


class ReduceSettings(Settings):
    """The principal components."""

    n_comps: int = Field(
        100, ge=2, description="Number of principal components; fewer if the data has fewer."
    )
    solver: Literal["auto", "gram", "randomized"] = Field(
        "auto",
        description="Components from the genes' Gram matrix (gram) or by randomized SVD; auto: gram unless many genes "
        "are selected.",
    )
    depth: Literal["auto", "fixed", "median"] = Field(
        "auto",
        description="Sum of a cell before the logarithm. fixed: 10,000; median: that of all cells, with spatial; "
        "auto: median with spatial, if the values are counts.",
    )
    unit_variance: Literal["auto", "yes", "no"] = Field(
        "auto",
        description="Whether genes are scaled to unit variance, with spatial only. auto: with spatial, for spots on a "
        "grid; not for cells that lie anywhere, where it lifts the noise of rare genes.",
    )

    def check_with(self, run: RunConfig) -> None:
        """Refuse other values without coordinates: predictions project new cells on the values as stored."""
        for name, value, plain in (
            ("depth", self.depth, "fixed"),
            ("unit_variance", self.unit_variance, "no"),
        ):
            if value not in ("auto", plain) and not run.spatial:
                message = (
                    f"reduce.{name} must be auto or {plain} without spatial; got {value}. "
                    "Add `spatial=True`, or leave it out."
                )
                raise ValueError(message)


class ReduceRecord(Record):
    """How the components were made.

    Attributes
    ----------
    depth
        Sum of a cell before the logarithm; None: values as stored.
    """

    n_comps: int
    solver: str
    variance_explained: float
    depth: float | None = None
    unit_variance: bool = False


class ReduceStage(Stage[ReduceRecord]):
    """Computes principal components, and streams the feature store into scores."""

    name = "reduce"
    settings = ReduceSettings
    record = ReduceRecord
    gives = (PCA, FACTORS, COMPONENTS, PLAIN_COMPONENTS)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the memory of the products, whose pages the allocator keeps, and passes over the store."""
        gram, values = gram_bytes(shape, config), selected_values(shape)
        n_passes = (1 if gram else 1 + _KRYLOV_PASSES) + config.spatial
        eigenvectors = shape.n_genes**3 / 1e10 if gram else 0.0
        return replace(
            features_estimate(shape, gram),
            disk_bytes=4 * shape.n_cells * shape.n_comps,
            read_bytes=int(6 * values) * n_passes,
            seconds=0.1 + eigenvectors,
            shared_seconds=n_passes * values / _VALUES_PER_S,
        )

    def run(self, context: Context, folder: Path) -> ReduceRecord:
        """Write ``pca.npz``, ``factors.npy`` where genes were scaled, and ``scores.npy``."""
        from scrcl.prep.pca import project_rows
        from scrcl.prep.randomized_pca import fit_pca_store, uses_gram

        config = context.config
        solver = config.reduce.solver
        store = _values(context)
        n_comps = min(config.reduce.n_comps, store.n_obs - 1, store.n_vars)
        used = "gram" if uses_gram(solver, store.n_vars) else "randomized"
        pca = fit_pca_store(
            store,
            n_comps,
            solver=solver,
            seed=config.seed,
            n_workers=context.budget.n_workers,
            on_rows=None if used == "gram" else context.count("components", None),
        )
        if float(pca.explained_variance.sum()) <= _ROUNDING * float(np.square(pca.mean).sum()):
            message = (
                f"cells must differ in the {store.n_vars:,} selected genes; {store.n_obs:,} cells all have "
                "the same values there. Check the input."
            )
            raise InputError(message)
        pca.save(folder / "pca.npz")
        factors = getattr(store, "factors", None)
        if factors is not None:
            np.save(folder / FACTORS_FILE, factors)
        project_rows(
            store,
            pca,
            folder / "scores.npy",
            n_workers=context.budget.n_workers,
            on_rows=context.count("reduce", store.n_obs),
        )
        return ReduceRecord(
            n_cells=store.n_obs,
            n_comps=len(pca.singular_values),
            solver=used,
            variance_explained=float(pca.explained_variance_ratio.sum()),
            depth=getattr(store, "depth", None),
            unit_variance=factors is not None,
        )

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return the component scores, and loadings and variances as scanpy keeps them."""
        pca, selected = run.open(PCA), run.open(SELECTED_GENES)
        loadings = np.zeros((run.record(ReadStage).n_genes, pca.loadings.shape[1]), np.float32)
        loadings[selected] = pca.loadings  # 0 for genes that are not selected, as with scanpy
        return AnnDataKeys(
            obsm={"X_pca": run.open(COMPONENTS)},
            varm={"PCs": loadings},
            uns_other={
                "pca": {
                    "variance": pca.explained_variance,
                    "variance_ratio": pca.explained_variance_ratio,
                    "params": {"zero_center": True, "use_highly_variable": True},
                }
            },
        )

    def section(self, run: OpenRun) -> Section:
        """Return the explained variance for the overview."""
        record = run.record(ReduceStage)
        text = f"{record.variance_explained:.0%} in {record.n_comps}"
        overview = {"variance in the components": text}
        if run.config.spatial:
            scaled = "genes of unit variance" if record.unit_variance else "genes as they vary"
            depth = "" if record.depth is None else f", at a depth of {record.depth:,.0f}"
            overview["values for the components"] = f"{scaled}{depth}"
        return Section("Components", overview=overview)

    def for_new_cells(self, run: OpenRun) -> NewReduceStage:
        """Return the stage that projects new cells on the components of the run."""
        return NewReduceStage(run)


def _values(context: Context) -> FeatureStore:
    """Return the values that components are made of: as stored, or as they suit a tissue."""
    from scrcl.prep.randomized_pca import uses_gram
    from scrcl.prep.rescaled import rescale

    store, stats, config = context.open(FEATURES), context.open(STATS), context.config
    layout, settings = context.covariates.layout, config.reduce
    if layout is None:
        return store
    # A spot holds several cells, so its values vary with the layer. In single cells most variance is noise: of unit
    # variance, a rare gene would weigh as much as one that marks a layer.
    scales = {"auto": layout.kind != "irregular", "yes": True, "no": False}
    depth = None
    if settings.depth != "fixed" and not stats.already_log:
        depth = float(np.median(stats.cell_counts[stats.retained]))
    if depth is None and not scales[settings.unit_variance]:
        return store
    return rescale(
        store,
        depth=depth,
        unit_variance=scales[settings.unit_variance],
        with_gram=uses_gram(settings.solver, store.n_vars),
        n_workers=context.budget.n_workers,
        on_rows=context.count("values", store.n_obs),
    )


class NewReduceRecord(Record):
    """Components of the run that new cells were projected on."""

    n_comps: int


class NewReduceStage(NewCellsStage[NewReduceRecord]):
    """Projects new cells on the components of the run."""

    name = "reduce"
    record = NewReduceRecord
    gives = (COMPONENTS,)
    obsm: ClassVar = {"X_pca": COMPONENTS}

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return what one pass over the store takes."""
        values = selected_values(shape)
        return replace(
            features_estimate(shape, 0),
            disk_bytes=4 * shape.n_cells * shape.n_comps,
            read_bytes=int(6 * values),
            seconds=0.1,
            shared_seconds=values / _VALUES_PER_S,
        )

    def run(self, context: Context, folder: Path) -> NewReduceRecord:
        """Write ``scores.npy``."""
        from scrcl.prep.pca import project_rows, restrict_to_genes
        from scrcl.prep.rescaled import RescaledStore

        store, pca = context.open(FEATURES), self._run.open(PCA)
        present, factors = context.open(PRESENT_GENES), self._run.open(FACTORS)
        depth = self._run.record(ReduceStage).depth
        project_rows(
            RescaledStore(store, depth, None if factors is None else factors[present]),
            restrict_to_genes(pca, present),
            folder / "scores.npy",
            n_workers=context.budget.n_workers,
            on_rows=context.count("reduce", store.n_obs),
        )
        return NewReduceRecord(n_cells=store.n_obs, n_comps=len(pca.singular_values))
