"""Stage ``tissue``: the space in which spatial domains are found, components averaged over the tissue around a cell.

A domain shows in what the cells of a place have in common, so components are averaged over a cell and its neighbours,
twice. Averages vary less and in fewer directions than cells do. So more components are averaged than are needed, and
the leading components of the averages are kept: these are the directions that vary from place to place, and not those
that vary from cell to cell. Without `spatial` the stage gives nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from scrcl._contract import Estimate
from scrcl._settings import Settings
from scrcl.engine.memory import LIBRARIES_BYTES
from scrcl.engine.stage import Record, Stage
from scrcl.engine.stages.correct import CORRECTION, CorrectStage
from scrcl.engine.stages.tissue_averages import (
    BLOCK_ROWS,
    TISSUE_AXES,
    TissueAxes,
    averages_estimate,
    write_averages,
    write_scores,
)
from scrcl.engine.stages.tissue_slices import JoinedSlices, joined_slices
from scrcl.engine.words import words_in, words_of
from scrcl.graph.artifacts import NEIGHBOR_IDS, TISSUE_SPACE
from scrcl.io.arrays import row_blocks
from scrcl.prep.artifacts import COMPONENTS, STATS
from scrcl.report.page import Section

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.tissue_new_slices import NewTissueStage
    from scrcl.engine.words import Words
    from scrcl.graph.autocorrelation import Autocorrelation
    from scrcl.prep.pca import Pca
    from scrcl.typing import FloatArray

__all__ = ["TissueSettings", "TissueStage"]

_LEAST_KEPT = 2
"""Components that are kept in the smallest tissue."""


class TissueSettings(Settings):
    """The space in which spatial domains are found. All have no effect without spatial."""

    steps: int = Field(
        2, ge=0, description="How often components are averaged over a cell and its neighbours."
    )
    from_comps: int = Field(
        50, ge=2, description="Leading components that are averaged; fewer if there are fewer."
    )
    n_kept: int = Field(
        15,
        ge=1,
        description="Components of the averages, in which spatial domains are found; in a small tissue at most as "
        "many as there are averages that share no cell.",
    )


class TissueRecord(Record):
    """How many components were averaged over how many neighbours, and kept.

    Attributes
    ----------
    overlap
        Cells that an average is made of, about: averaging over k cells n times is like averaging over n k cells.
    of_one_slice
        Domains of one slice (or donor) before and after averages were corrected for them; 0 and 0 if there were none,
        or slices are not corrected.
    n_apart
        Those of them that lie too far from other slices to be a shift between slices, so that they were left out of the
        correction.
    autocorrelation
        Moran's I of the component that has most of it.
    is_uniform
        Whether no component varies from place to place, so that the tissue is one domain.
    """

    n_neighbors: int = 0
    n_averaged: int = 0
    n_comps: int = 0
    variance_explained: float = 0.0
    overlap: float = 1.0
    of_one_slice: tuple[int, int] = (0, 0)
    n_apart: int = 0
    autocorrelation: float = 0.0
    is_uniform: bool = False


class TissueStage(Stage[TissueRecord]):
    """Averages component scores over neighbours in the tissue, and keeps the leading components of the averages."""

    name = "tissue"
    settings = TissueSettings
    record = TissueRecord
    gives = (TISSUE_SPACE, TISSUE_AXES)
    obsm: ClassVar = {"X_tissue": TISSUE_SPACE}

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the maps that are read at random, and blocks of rows with their neighbours."""
        if not config.spatial:
            return Estimate(LIBRARIES_BYTES)
        settings: TissueSettings = config.group(self.name)
        averages = averages_estimate(shape, settings)
        # Averages may be corrected like cells.
        n_comps = min(settings.n_kept, settings.from_comps, shape.n_comps)
        again = CorrectStage().estimate(replace(shape, n_comps=n_comps), config)
        return replace(
            averages,
            fixed_bytes=averages.fixed_bytes + again.block_bytes,
            seconds=averages.seconds + again.seconds,
        )

    def run(self, context: Context, folder: Path) -> TissueRecord:
        """Write ``space.npy``."""
        from scrcl.graph.autocorrelation import autocorrelation

        if not context.config.spatial:
            return TissueRecord(left_as_is=True)
        settings: TissueSettings = context.config.group(self.name)
        scores, ids = context.open(COMPONENTS), context.open(NEIGHBOR_IDS)
        n_cells, d = len(scores), min(settings.from_comps, scores.shape[1])
        covariates = context.covariates.of(context.open(STATS).retained)
        samples = covariates.samples
        varies = autocorrelation(scores[:, :d], ids, None if samples is None else samples.codes)
        averages = folder / "averages.npy"
        write_averages(context, scores, ids, d, settings.steps, averages)
        overlap = max(settings.steps * (ids.shape[1] + 1), 1)
        # Averages that share no cell are independent. A covariance needs at least as many of them as dimensions.
        most = max(n_cells // overlap, _LEAST_KEPT)
        points = np.load(averages, mmap_mode="r")
        pca = _leading_components(points, min(settings.n_kept, d, most))
        write_scores(points, pca, folder / "space.npy")
        averages.unlink()
        of_one = JoinedSlices()
        if context.has(CORRECTION) and not varies.is_uniform:
            of_one = joined_slices(context, covariates, folder / "space.npy", overlap)
        TissueAxes(pca, None, dict(of_one.batches)).save(folder)
        return TissueRecord(
            n_cells=n_cells,
            n_neighbors=ids.shape[1],
            n_averaged=d,
            n_comps=pca.loadings.shape[1],
            variance_explained=float(pca.explained_variance_ratio.sum()),
            overlap=overlap,
            of_one_slice=(of_one.n_before, of_one.n_after),
            n_apart=of_one.n_apart,
            autocorrelation=varies.largest,
            is_uniform=varies.is_uniform,
            notes=(*_notes(context.config, varies, words_in(context)), *_slice_notes(of_one)),
        )

    def for_new_cells(self, run: OpenRun) -> NewTissueStage | None:
        """Return the stage that maps new slices into the space of the domains."""
        from scrcl.engine.stages.tissue_new_slices import NewTissueStage

        return NewTissueStage(run) if run.config.on_tissue else None

    def section(self, run: OpenRun) -> Section | None:
        """Return how the space was made, for the overview."""
        record = run.record(TissueStage)
        if record.left_as_is:
            return None
        settings: TissueSettings = run.config.group(self.name)
        text = (
            f"{record.n_comps} components ({record.variance_explained:.0%} of the variance) of {record.n_averaged} "
            f"that were averaged over a {words_of(run).cell} and its {record.n_neighbors} neighbours, "
            f"{settings.steps} times"
        )
        varies = f"Moran's I {record.autocorrelation:.2f} in the component that varies most from place to place"
        return Section(
            "Tissue",
            overview={"space of the domains": text, "structure in space": varies},
            notes=record.notes,
        )


def _leading_components(points: FloatArray, n_comps: int) -> Pca:
    """Return the leading components of points that are read block by block."""
    from scrcl.prep.pca import fit_pca

    n_cells, d = points.shape
    gram, sums = np.zeros((d, d)), np.zeros(d)
    for start, stop in row_blocks(n_cells, BLOCK_ROWS):
        rows = np.asarray(points[start:stop], np.float64)
        gram += rows.T @ rows
        sums += rows.sum(axis=0)
    return fit_pca(gram, sums, n_cells, n_comps=n_comps)


def _notes(config: RunConfig, varies: Autocorrelation, words: Words) -> tuple[str, ...]:
    """Return a note on a tissue that is one domain, where domains are counted."""
    if not (varies.is_uniform and config.on_tissue and config.n_clusters == "auto"):
        return ()
    why = (
        f"Nothing varies from place to place beyond chance (Moran's I {varies.largest:.3f} at most; {varies.least:.3f} "
        "would show)"
    )
    if varies.least >= 1:
        why = f"There are too few {words.cell}s to show whether anything varies from place to place"
    hint = "To divide it anyway, give `n_clusters`. For cell types, run without `spatial=True`."
    return (f"{why}, so the tissue is one domain. {hint}",)


def _slice_notes(of_one: JoinedSlices) -> tuple[str, ...]:
    """Return a note on domains of one slice or donor."""
    before, after, apart, _ = of_one
    if not before:
        return ()
    compare = "compare them with the others before you take them for real."
    if before == apart:
        what = "1 domain is" if apart == 1 else f"{apart} domains are"
        far = "further from all other slices than these are from each other"
        return (f"{what} of one slice or donor alone, and {far}: {compare}",)
    were = "1 domain was" if before == 1 else f"{before} domains were"
    text = f"{were} of one slice or donor alone, so averages were corrected once more."
    if apart:
        lie, are = ("1 of them lies", "is") if apart == 1 else (f"{apart} of them lie", "are")
        text += f" {lie} further from all other slices than these from each other, and {are} not joined to them."
    if after:
        text += f" {after} still are: {compare}"
    return (text,)
