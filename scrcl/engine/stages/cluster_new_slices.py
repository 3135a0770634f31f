"""Stage ``cluster`` of a prediction in a tissue: the domain of each new cell, smoothed, and its confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl._contract import Estimate
from scrcl.cluster.artifacts import LABELS
from scrcl.cluster.assign import assign_blocks, nearness
from scrcl.cluster.margin import BLOCK_VALUES
from scrcl.engine.memory import ANNOTATION_BYTES, LIBRARIES_BYTES, TREE_BYTES
from scrcl.engine.stages.cluster_new_cells import NewClusterStage, compared_cells, means_of
from scrcl.graph.artifacts import TISSUE_SPACE
from scrcl.prep.artifacts import STATS

if TYPE_CHECKING:
    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.typing import FloatArray, IntArray

__all__ = ["NewDomainsStage"]


class NewDomainsStage(NewClusterStage):
    """Assigns new cells to the domains of the run, and smooths their labels in their slices."""

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return coordinates, a few numbers for each cell, and blocks of distances."""
        return Estimate(
            LIBRARIES_BYTES + (40 + ANNOTATION_BYTES + TREE_BYTES) * shape.n_cells,
            8 * BLOCK_VALUES,
            disk_bytes=16 * shape.n_cells,
        )

    def _compared(self, context: Context) -> tuple[IntArray, FloatArray, FloatArray]:
        """Return the domain, the margin and the familiarity of each new cell."""
        from scrcl.graph.domains import majority_labels

        config, finished, points = context.config, self._run, context.open(TISSUE_SPACE)
        micro_means, cluster_of_micro, cluster_means = means_of(finished)
        labels, margin = assign_blocks(points, micro_means, cluster_of_micro, cluster_means)
        there = finished.open(TISSUE_SPACE)
        some = compared_cells(len(there), config.seed)
        familiar = nearness(
            points, labels, cluster_means, there[some], np.asarray(finished.open(LABELS))[some]
        )
        if not config.smoothing_cells:
            return labels, margin, familiar
        covariates = context.covariates.of(context.open(STATS).retained)
        assert covariates.coordinates is not None, "new slices without coordinates are refused"
        smoothed = majority_labels(
            labels, covariates.coordinates, config.smoothing_cells, samples=covariates.samples
        )
        # A cell that got the domain of the cells around it is nearer to another one.
        return smoothed, margin * (smoothed == labels), familiar
