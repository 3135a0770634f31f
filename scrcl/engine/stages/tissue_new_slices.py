"""Stage ``tissue`` of a prediction: averages of new slices, in the space in which the run found its domains.

New components are averaged over the new slice as those of the run were over its own, mapped by the same axes, and
corrected towards the averages of the run if these were corrected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scrcl.engine.stage import NewCellsStage, Record
from scrcl.engine.stages.correct import CorrectStage
from scrcl.engine.stages.correct_fit import write_corrected
from scrcl.engine.stages.new_batches import correction_towards, names_of_batches, numbered
from scrcl.engine.stages.tissue_averages import (
    TISSUE_AXES,
    averages_estimate,
    write_averages,
    write_scores,
)
from scrcl.graph.artifacts import NEIGHBOR_IDS, TISSUE_SPACE
from scrcl.prep.artifacts import COMPONENTS
from scrcl.report.page import Section

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Estimate, Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.engine.stages.tissue import TissueSettings
    from scrcl.engine.stages.tissue_averages import TissueAxes

__all__ = ["NewTissueStage"]


_ONE_SLICE = (
    "The run has one slice, so nothing in it shows by how much slices differ, and new ones were not corrected. If "
    "domains that should be there are missing, give old and new slices to one run."
)


class NewTissueRecord(Record):
    """Components that were averaged, and those that are kept; slices whose averages were corrected."""

    n_averaged: int
    n_comps: int
    n_corrected: int


class NewTissueStage(NewCellsStage[NewTissueRecord]):
    """Maps averages of new slices into the space of the domains."""

    name = "tissue"
    record = NewTissueRecord
    gives = (TISSUE_SPACE,)
    obsm: ClassVar = {"X_tissue": TISSUE_SPACE}

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the maps that are read at random, and blocks of rows with their neighbours."""
        return averages_estimate(shape, config.group(self.name))

    def run(self, context: Context, folder: Path) -> NewTissueRecord:
        """Write ``space.npy``."""
        settings: TissueSettings = self._run.config.group(self.name)
        axes: TissueAxes = self._run.open(TISSUE_AXES)
        scores, d = context.open(COMPONENTS), len(axes.pca.mean)
        averages, space = folder / "averages.npy", folder / "space.npy"
        write_averages(context, scores, context.open(NEIGHBOR_IDS), d, settings.steps, averages)
        write_scores(np.load(averages, mmap_mode="r"), axes.pca, space)
        averages.unlink()
        n_corrected = self._correct(context, axes, space)
        one_slice = self._run.record(CorrectStage).n_batches == 1
        return NewTissueRecord(
            notes=(_ONE_SLICE,) if one_slice else (),
            n_cells=len(scores),
            n_averaged=d,
            n_comps=axes.pca.loadings.shape[1],
            n_corrected=n_corrected,
        )

    def section(self, run: OpenRun) -> Section:
        """Return what limits the prediction."""
        return Section("Tissue", notes=run.record(NewTissueStage).notes)

    def _correct(self, context: Context, axes: TissueAxes, space: Path) -> int:
        """Correct averages towards those of the run, in place, if the run did so; return the number of batches."""
        if axes.correction is None:
            return 0
        names, _ = names_of_batches(context, self._run.config)
        batches = numbered(names, axes.batches)
        points = np.load(space, mmap_mode="r")
        correction = correction_towards(axes.correction, points, batches)
        corrected = space.with_name("corrected.npy")
        write_corrected(points, batches.codes, correction, corrected)
        corrected.replace(space)
        return batches.n_known + batches.n_new
