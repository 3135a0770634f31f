"""The stages of a closer look at the cells of one cluster: those of a run, and two of its own.

Nothing is trained: the leading components of these cells take the place of the embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl._atomic import atomic_path
from scrcl._contract import Estimate
from scrcl.cluster.artifacts import CONFIDENCE, LABELS
from scrcl.engine.memory import ANNOTATION_BYTES, LIBRARIES_BYTES
from scrcl.engine.stage import Record, Stage
from scrcl.engine.stages.batches import BatchesStage
from scrcl.engine.stages.cluster import ClusterStage
from scrcl.engine.stages.correct import CorrectStage
from scrcl.engine.stages.embed import EMBEDDING, mark_space
from scrcl.engine.stages.features import FeaturesStage
from scrcl.engine.stages.graph import GraphStage
from scrcl.engine.stages.markers import MarkersStage, write_marker_file
from scrcl.engine.stages.reduce import ReduceStage
from scrcl.engine.stages.stats import StatsStage
from scrcl.engine.words import Words, of_look
from scrcl.io.arrays import write_leading
from scrcl.markers.artifacts import MARKERS
from scrcl.markers.ranking import for_spreadsheets
from scrcl.prep.artifacts import COMPONENTS, STATS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.outputs import Outputs
    from scrcl.typing import IntArray

__all__ = [
    "CELLS_FILE",
    "MARKERS_FILE",
    "CellsStage",
    "stages_of_look",
    "subcluster_names",
    "write_markers",
]

CELLS_FILE, MARKERS_FILE = "cells.csv", "markers.csv"

_BLOCK_ROWS = 65_536


class LeadingRecord(Record):
    """How many components are compared."""

    n_dims: int


class LeadingStage(Stage[LeadingRecord]):
    """Gives the leading components as the space that is clustered."""

    name = "leading"
    record = LeadingRecord
    gives = (EMBEDDING,)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return one block of components."""
        width = _width(shape.n_comps)
        return Estimate(
            LIBRARIES_BYTES,
            4 * _BLOCK_ROWS * shape.n_comps,
            disk_bytes=4 * shape.n_cells * width,
            read_bytes=4 * shape.n_cells * shape.n_comps,
        )

    def run(self, context: Context, folder: Path) -> LeadingRecord:
        """Write ``components.npy``."""
        scores = context.open(COMPONENTS)
        width = _width(scores.shape[1])
        write_leading(folder / "components.npy", scores, width, block_rows=_BLOCK_ROWS)
        mark_space(folder, "components")
        return LeadingRecord(n_cells=len(scores), n_dims=width)


def _width(n_comps: int) -> int:
    """Return the components that are compared, as in the vote."""
    from scrcl.cluster.agreement import MOST_COMPS

    return min(MOST_COMPS, n_comps)


class CellsRecord(Record):
    """Subclusters that were found; one means that the cluster was not divided."""

    n_subclusters: int


class CellsStage(Stage[CellsRecord]):
    """Writes the subcluster of each cell, and the markers under the names of the subclusters.

    Parameters
    ----------
    cluster
        The cluster that is looked into.
    """

    name = "cells"
    record = CellsRecord

    def __init__(self, cluster: int) -> None:
        self._cluster = cluster

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:  # noqa: ARG002
        """Return the table of the cells."""
        return Estimate(
            LIBRARIES_BYTES + 2 * ANNOTATION_BYTES * shape.n_cells,
            disk_bytes=40 * shape.n_cells,
        )

    def run(self, context: Context, folder: Path) -> CellsRecord:  # noqa: ARG002
        """Write ``cells.csv`` and ``markers.csv`` into the folder of the look."""
        import pandas as pd

        labels = np.asarray(context.open(LABELS))
        names = np.array(subcluster_names(self._cluster, labels), object)
        if len(names) < 2:
            return CellsRecord(n_cells=len(labels), n_subclusters=1)
        cells = pd.DataFrame(
            {
                "cell": context.matrix.obs.index[context.open(STATS).retained],
                "subcluster": names[labels],
                "confidence": np.asarray(context.open(CONFIDENCE)),
            }
        )
        with atomic_path(context.folder.path / CELLS_FILE) as partial:
            for_spreadsheets(cells).to_csv(partial, index=False)
        write_markers(context, names.tolist(), {})
        return CellsRecord(n_cells=len(labels), n_subclusters=len(names), files=(CELLS_FILE,))

    def headline(self, record: CellsRecord) -> dict[str, Any]:
        """Return the cluster that was looked into, and how many subclusters it has."""
        return {"looked_into": self._cluster, "n_subclusters": record.n_subclusters}


def subcluster_names(cluster: int, labels: IntArray) -> list[str]:
    """Return the names of the subclusters, ``3_0``, ``3_1``, ... as Seurat names them.

    A comma or a point in their place would be taken for a list or a number by the next program that reads the table.
    """
    return [f"{_prefix(cluster)}{i}" for i in range(int(labels.max()) + 1)]


def write_markers(look: Outputs, subclusters: Sequence[str], names: Mapping[str, str]) -> None:
    """Write ``markers.csv`` into the folder of a look, with the names that subclusters have."""
    table = look.open(MARKERS)
    for column in ("cluster", "next_cluster"):
        table[column] = np.array(subclusters, object)[table[column].to_numpy(int)]
    write_marker_file(look.folder.path, table, names)


def _prefix(cluster: int) -> str:
    return f"{cluster}_"


def stages_of_look(
    cluster: int, correct: CorrectStage | None = None, words: Words | None = None
) -> tuple[Stage[Any], ...]:
    """Return the stages of a look into a cluster, in order.

    Parameters
    ----------
    cluster
        The cluster that is looked into.
    words
        Words of the run, which knows whether rows are spots; they are not needed to read what a look left.
    correct
        How its components are corrected; None: as in a run of these cells alone.
    """
    of_groups = of_look(words or Words(), _prefix(cluster))
    return (
        StatsStage(),
        FeaturesStage(),
        ReduceStage(),
        correct or CorrectStage(),
        GraphStage(),
        LeadingStage(),
        ClusterStage(of_groups),
        BatchesStage(of_groups),
        MarkersStage(),
        CellsStage(cluster),
    )
