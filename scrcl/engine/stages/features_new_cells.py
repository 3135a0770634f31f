"""Stage ``features`` of a prediction: log values of the run's genes in new cells, as a compact store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scrcl.engine.new_genes import shared_genes
from scrcl.engine.stage import AnnDataKeys, NewCellsStage
from scrcl.engine.stages.features import FeaturesRecord, features_estimate
from scrcl.prep.artifacts import FEATURES, PRESENT_GENES, STATS

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Estimate, Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun

__all__ = ["NewFeaturesStage"]


class NewFeaturesStage(NewCellsStage[FeaturesRecord]):
    """Reads new cells once more, and writes the log values of the selected genes that they have."""

    name = "features"
    record = FeaturesRecord
    gives = (FEATURES, PRESENT_GENES)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return the store; no products are made."""
        return features_estimate(shape, 0)

    def run(self, context: Context, folder: Path) -> FeaturesRecord:
        """Write the store."""
        from scrcl.prep.feature_store import write_features

        stats = context.open(STATS)
        shared = shared_genes(context.matrix, self._run)
        rows = shared.matrix.rows if stats.is_canonical else shared.matrix.x
        store = write_features(
            rows(context.budget.block_rows),
            folder,
            retained=stats.retained,
            genes=shared.chosen,
            already_log=stats.already_log,
            cell_sums=stats.cell_counts,
            with_gram=False,
            reading=context.reading("features"),
        )
        np.save(folder / "present.npy", shared.present)
        selected = np.zeros(context.matrix.n_vars, dtype=bool)
        selected[shared.columns[shared.chosen]] = True
        np.save(folder / "selected.npy", selected)
        return FeaturesRecord(n_cells=store.n_obs, n_genes=store.n_vars)

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return which genes the run had selected."""
        selected = np.load(run.folder.stage(self.name) / "selected.npy")
        return AnnDataKeys(var={"highly_variable": selected})
