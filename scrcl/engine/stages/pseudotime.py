"""Stage ``pseudotime``: diffusion pseudotime from a root, if one is named.

The graph is the run's own, weighted as for the UMAP. In a large atlas a random subset of the cells is compared by its
own nearest neighbours, and the others are put among them. The stage comes late, because the root may be a cluster by
its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from scrcl._contract import Estimate
from scrcl._random import drawn_rows, stream
from scrcl._settings import Settings, option
from scrcl.cluster.artifacts import LABELS
from scrcl.engine.given_names import clusters_named, plain_names, shown_names
from scrcl.engine.memory import LIBRARIES_BYTES, MORE_NEIGHBORS, SEARCH_BYTES, kept_bytes
from scrcl.engine.stage import AnnDataKeys, Record, Stage
from scrcl.engine.stages.landmarks import neighbours_for_map, space_of_maps, with_others
from scrcl.errors import InputError
from scrcl.io.arrays import stored_array
from scrcl.prep.artifacts import STATS
from scrcl.report.page import Column, Section, Table

if TYPE_CHECKING:
    from pathlib import Path

    from scrcl._contract import Artifact, Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import FloatArray, IntArray

__all__ = ["PSEUDOTIME", "PseudotimeSettings", "PseudotimeStage"]

_EDGE_BYTES = 120
"""For each edge: its weight in both directions while they are joined, and the transitions in float64."""

_NODE_BYTES = 300
"""For each cell that is compared: the vectors of the search for eigenvectors, and coordinates."""

_EDGES_PER_S = 1e6
"""Edges that a core goes through in a second, over all iterations; a guess."""

_MOST_OF_ROOT = 1_000
"""Cells of the root's cluster that are compared at least, where it has them."""

_OF_CLUSTER = "cluster="
_KEY = "scrcl_pseudotime"

PSEUDOTIME: Artifact[FloatArray] = stored_array("pseudotime", "pseudotime.npy")
"""ndarray of float32, shape (n_cells,): 0 at the root, at most 1; NaN where no path leads."""


class PseudotimeSettings(Settings):
    """Diffusion pseudotime."""

    root: str | None = option(
        None,
        "--root",
        panel="Clusters",
        description="Where pseudotime starts: the name of a cell, or cluster=NAME for the tip of a cluster, by its "
        "number or its name. Unset: no pseudotime.",
    )
    n_comps: int = Field(
        10, ge=2, description="Diffusion components that cells are compared in, as n_dcs in scanpy."
    )
    cells: int = Field(
        200_000,
        ge=100,
        description="Number of cells that are compared; the others are put among them.",
    )

    @property
    def cluster(self) -> str | None:
        """The cluster that the root names; None if it names a cell."""
        if self.root is None or not self.root.startswith(_OF_CLUSTER):
            return None
        return self.root.removeprefix(_OF_CLUSTER).strip()


class PseudotimeRecord(Record):
    """Where pseudotime starts.

    Attributes
    ----------
    root
        Name of the cell.
    n_compared
        Cells that were compared themselves.
    n_apart
        Cells that no path leads to.
    medians, shares
        Median of each cluster, None where no cell is reached; and share of its cells that are reached.
    """

    root: str = ""
    n_compared: int = 0
    n_apart: int = 0
    medians: tuple[float | None, ...] = ()
    shares: tuple[float, ...] = ()


class PseudotimeStage(Stage[PseudotimeRecord]):
    """Orders the cells by their diffusion distance from a root."""

    name = "pseudotime"
    settings = PseudotimeSettings
    record = PseudotimeRecord
    gives = (PSEUDOTIME,)
    redo_settings = ("pseudotime",)
    owned_obs = (_KEY,)

    def check(self, header: CellMatrix, config: RunConfig) -> None:
        """Refuse a root that is no cell of the input."""
        settings: PseudotimeSettings = config.group(self.name)
        if settings.root is None or settings.cluster is not None:
            return
        cells = header.fresh_obs().index
        if settings.root not in cells:
            message = (
                f"pseudotime.root must be a cell of the input, such as {cells[0]}, or cluster=NAME; "
                f"got {settings.root!r}."
            )
            raise InputError(message)

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        """Return the edges of the cells that are compared, and vectors over them."""
        settings: PseudotimeSettings = config.group(self.name)
        if settings.root is None:
            return Estimate(LIBRARIES_BYTES + kept_bytes(shape))
        n = shape.n_cells
        compared = min(n, settings.cells + _MOST_OF_ROOT)
        edges = int(MORE_NEIGHBORS * 2 * shape.n_neighbors * compared)
        per_cell = _NODE_BYTES + 24 * settings.n_comps + 4 * shape.n_comps
        return Estimate(
            LIBRARIES_BYTES + 16 * n + _EDGE_BYTES * edges + per_cell * compared,
            SEARCH_BYTES if n > compared or config.spatial else 0,
            disk_bytes=4 * n,
            read_bytes=8 * shape.n_neighbors * n,
            seconds=1 + edges / _EDGES_PER_S + 1e-4 * (n - compared),
        )

    def advice(self, config: RunConfig) -> str:
        """Return how to compare fewer cells."""
        return f"lower pseudotime.cells (now {config.group(self.name).cells:,})"

    def run(self, context: Context, folder: Path) -> PseudotimeRecord:
        """Write ``pseudotime.npy``."""
        settings: PseudotimeSettings = context.config.group(self.name)
        if settings.root is None:
            return PseudotimeRecord(left_as_is=True)
        roots = _root_cells(context, settings)
        points, labels = space_of_maps(context), np.asarray(context.open(LABELS))
        cells = _compared(len(points), roots, context.config.seed, settings)
        values, root = _of_compared(context, points, cells, roots, settings)
        if len(cells) < len(points):
            values = _of_all(context, points, cells, values)
        np.save(folder / "pseudotime.npy", values)
        medians, shares = _by_cluster(values, labels)
        n_apart = int(np.isnan(values).sum())
        at = np.flatnonzero(context.open(STATS).retained)[root]
        return PseudotimeRecord(
            n_cells=len(values),
            root=str(context.matrix.obs.index[at]),
            n_compared=len(cells),
            n_apart=n_apart,
            medians=medians,
            shares=shares,
            notes=_notes(n_apart),
        )

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return the pseudotime, and its root."""
        values, root = np.array(run.open(PSEUDOTIME)), run.record(PseudotimeStage).root
        return AnnDataKeys(obs={_KEY: values}, uns={"pseudotime_root": root})

    def section(self, run: OpenRun) -> Section | None:
        """Return the clusters in the order of their pseudotime."""
        record = run.record(PseudotimeStage)
        if record.left_as_is:
            return None
        names = shown_names(run, np.asarray(run.open(LABELS)))
        found = [i for i, median in enumerate(record.medians) if median is not None]
        order = sorted(found, key=lambda i: record.medians[i] or 0.0)
        rows = [(names[i], record.medians[i], record.shares[i]) for i in order]
        columns = (Column("cluster"), Column("median", "number"), Column("cells reached", "share"))
        caption = (
            f"Clusters by their diffusion pseudotime from the cell {record.root}. 0 is the root, 1 the cell farthest "
            "from it. It orders cells by how alike they are, and is no time."
        )
        return Section(
            "Pseudotime",
            table=Table(columns, rows, caption),
            overview={"pseudotime from": record.root},
            notes=record.notes,
        )


def _root_cells(context: Context, settings: PseudotimeSettings) -> IntArray:
    """Return the retained cells that the root names: one, or all of a cluster."""
    labels = np.asarray(context.open(LABELS))
    if settings.cluster is not None:
        names = plain_names(context, labels)
        chosen = clusters_named(settings.cluster, names, what="pseudotime.root")
        return np.flatnonzero(np.isin(labels, chosen))
    at = int(np.flatnonzero(context.matrix.obs.index == settings.root)[0])
    retained = context.open(STATS).retained
    if not retained[at]:
        message = (
            f"pseudotime.root must be a retained cell; {settings.root} has no counts or was filtered. "
            'Name another one by `pseudotime.root`, with `start="pseudotime"`.'
        )
        raise InputError(message)
    return np.array([int(np.count_nonzero(retained[:at]))])


def _compared(n_cells: int, roots: IntArray, seed: int, settings: PseudotimeSettings) -> IntArray:
    """Return the cells that are compared themselves, ascending: a random subset, and cells of the root."""
    drawn = drawn_rows(n_cells, settings.cells, seed, "pseudotime.cells")
    of_root = roots[drawn_rows(len(roots), _MOST_OF_ROOT, seed, "pseudotime.root")]
    return np.union1d(drawn, of_root)


def _of_compared(
    context: Context,
    points: FloatArray,
    cells: IntArray,
    roots: IntArray,
    settings: PseudotimeSettings,
) -> tuple[FloatArray, int]:
    """Return the pseudotime of the cells that are compared, NaN where no path leads; and the root."""
    from scrcl.maps.diffusion import connected_to, diffusion_coordinates, pseudotime, tip_of
    from scrcl.maps.weights import edge_weights

    weights = edge_weights(*neighbours_for_map(context, points, cells))
    inside = np.flatnonzero(np.isin(cells, roots))
    joined = connected_to(weights, inside)
    values = np.full(len(cells), np.nan, np.float32)
    starts = np.flatnonzero(np.isin(joined, inside))
    if len(joined) < 3:  # an isolated cell
        values[joined] = 0
        return values, int(cells[joined[starts[0]]])
    start = stream(context.config.seed, "pseudotime.start").standard_normal(len(joined))
    coordinates = diffusion_coordinates(weights[joined][:, joined], settings.n_comps, start)
    root = int(starts[0]) if len(starts) == 1 else tip_of(coordinates, starts)
    values[joined] = pseudotime(coordinates, root)
    return values, int(cells[joined[root]])


def _of_all(
    context: Context, points: FloatArray, cells: IntArray, values: FloatArray
) -> FloatArray:
    """Return the pseudotime of all cells; NaN where most of the near cells have none."""
    known = np.isfinite(values)
    columns = np.column_stack([np.where(known, values, 0), known]).astype(np.float32)
    whole = with_others(context, points, cells, columns, "pseudotime")
    share = whole[:, 1]
    mean = whole[:, 0] / np.maximum(share, np.float32(0.5))
    return np.where(share >= np.float32(0.5), mean, np.float32(np.nan))


def _by_cluster(
    values: FloatArray, labels: IntArray
) -> tuple[tuple[float | None, ...], tuple[float, ...]]:
    """Return the median of each cluster, and the share of its cells that have a value."""
    medians: list[float | None] = []
    shares = []
    for cluster in range(int(labels.max()) + 1):
        inside = values[labels == cluster]
        there = inside[np.isfinite(inside)]
        medians.append(float(np.median(there)) if len(there) else None)
        shares.append(len(there) / max(len(inside), 1))
    return tuple(medians), tuple(shares)


def _notes(n_apart: int) -> tuple[str, ...]:
    if not n_apart:
        return ()
    return (
        f"{n_apart:,} cells have no pseudotime, because no path of the cell graph leads from the root to them.",
    )
