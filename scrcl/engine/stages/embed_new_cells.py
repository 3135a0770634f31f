"""Stage ``embed`` of a prediction: the embedding of new cells, from their neighbours in the run."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import write_json
from scrcl._contract import Estimate
from scrcl.engine.device import resolve_device
from scrcl.engine.graph_view import add_graph_view
from scrcl.engine.memory import LIBRARIES_BYTES
from scrcl.engine.stage import AnnDataKeys, Record, Stage
from scrcl.engine.stages.embed import EMBEDDING
from scrcl.engine.stages.features import GENES_PRESENT
from scrcl.engine.stages.graph_new_cells import NEAR_IDS, NEAR_SQUARED
from scrcl.engine.stages.inputs import input_scale, open_inputs, scaled, write_base
from scrcl.engine.stages.train import trained_model
from scrcl.graph.artifacts import CELL_GRAPH, NEIGHBOR_DISTANCES
from scrcl.io.arrays import SMALL_MAP_BYTES
from scrcl.prep.artifacts import COMPONENTS, FEATURES, PCA
from scrcl.report.page import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrcl._contract import Shape
    from scrcl.engine.config import RunConfig
    from scrcl.engine.context import Context
    from scrcl.engine.open_run import OpenRun
    from scrcl.graph.links import Links
    from scrcl.train.methods.scrcl.minibatch import Inputs
    from scrcl.train.methods.scrcl.new_cells import UnseenEncoder
    from scrcl.typing import FloatArray

__all__ = ["GATHERED_BYTES", "NewEmbedRecord", "NewEmbedStage"]

LINK_VALUES = 8_000_000
"""Values of neighbours' rows in memory at a time: 32 MB in float32."""

GATHERED_BYTES = 24 * LINK_VALUES
"""Rows of neighbours, gathered and as tensors."""


class NewEmbedRecord(Record):
    """How many neighbours in the run a new cell has."""

    mean_neighbors: float
    space: str


class NewEmbedStage(Stage[NewEmbedRecord]):
    """Embeds new cells with the trained model and their neighbours in the run."""

    name = "embed"
    record = NewEmbedRecord
    takes = (COMPONENTS, NEAR_IDS, NEAR_SQUARED)
    gives = (EMBEDDING,)

    def __init__(self, run: OpenRun) -> None:
        self._run = run

    def estimate(self, shape: Shape, config: RunConfig) -> Estimate:
        there = self._run.n_cells
        n_features = shape.n_genes if config.train.features == "hvg" else shape.n_comps
        return Estimate(
            LIBRARIES_BYTES + 28 * there + min(8 * there * n_features, 2 * SMALL_MAP_BYTES),
            GATHERED_BYTES,
            disk_bytes=8 * shape.n_cells * (config.train.dim + config.train.refined_dim),
        )

    def run(self, context: Context, folder: Path) -> NewEmbedRecord:
        return embed_cells(self._run, context, folder)

    def keys(self, run: OpenRun) -> AnnDataKeys:
        """Return the space that is clustered."""
        return AnnDataKeys(obsm={"X_scrcl": run.open(EMBEDDING)})

    def section(self, run: OpenRun) -> Section:
        """Return the neighbours for the overview."""
        record = run.record(NewEmbedStage)
        return Section(
            "Embedding",
            overview={"neighbours in the run": f"{record.mean_neighbors:.1f} for each cell"},
        )


def embed_cells(there: OpenRun, run: Context, folder: Path) -> NewEmbedRecord:
    """Write E and Z of the new cells; the neighbours' rows are read from the views of the atlas."""
    from scrcl.graph.links import joined, normalized_links
    from scrcl.io.arrays import RowWriter, release, row_blocks
    from scrcl.train.methods.scrcl.embed import EMBEDDING, REFINED
    from scrcl.train.methods.scrcl.new_cells import UnseenEncoder

    config = run.config
    inputs, scale = open_inputs(there), input_scale(there, config, run.budget)
    encoder = UnseenEncoder(
        trained_model(there, config),
        inputs.genes,
        smoothing_mlp=config.train.smoothing_mlp,
        smoothing_gcn=config.train.smoothing_gcn,
        device=resolve_device(config.device),
    )
    graph, features = there.open(CELL_GRAPH), _features(there, run)
    ids, squared = run.open(NEAR_IDS), run.open(NEAR_SQUARED)
    reach = _reach(there)
    k, mode = config.graph.n_neighbors, config.graph.symmetry
    n_cells, advance = len(ids), run.count("embed", len(ids))
    values = ids.shape[1] * max(inputs.x.shape[1], config.train.dim)
    blocks, n_links = row_blocks(n_cells, min(max(LINK_VALUES // values, 64), 65_536)), 0
    with (
        TemporaryDirectory(dir=folder) as scratch,
        RowWriter(folder / EMBEDDING, n_cells, 2 * config.train.dim) as embedding,
        RowWriter(folder / REFINED, n_cells, 2 * config.train.refined_dim) as refined,
    ):
        rows_of = _atlas_rows(inputs, _levels(there, run, inputs, encoder, Path(scratch)))
        for start, stop in blocks:
            near = np.array(ids[start:stop])
            neighbours = joined(near, np.array(squared[start:stop]), reach, k, mode=mode)
            links = normalized_links(near, neighbours, graph)
            found = encoder.embed(scaled(features(start, stop), scale), *rows_of(links), links)
            embedding.write(start, found.embedding)
            refined.write(start, found.refined)
            n_links += int(neighbours.sum())
            for array in (inputs.x, inputs.ax, ids, squared):
                release(array)
            advance(stop - start)
    add_graph_view(folder, config, block_rows=65_536)
    write_json(folder / "space.json", {"clustered": config.clustered_on})
    return NewEmbedRecord(
        n_cells=n_cells, mean_neighbors=n_links / n_cells, space=config.clustered_on
    )


def _reach(there: OpenRun) -> FloatArray:
    """Return the distance of the farthest neighbour that each cell of the atlas names."""
    from scrcl.io.arrays import release, row_blocks

    distances = there.open(NEIGHBOR_DISTANCES)
    reach = np.empty(len(distances), np.float32)
    for start, stop in row_blocks(len(distances), 1 << 20):
        reach[start:stop] = distances[start:stop, -1]
        release(distances)
    return reach


def _atlas_rows(
    inputs: Inputs, levels: list[FloatArray]
) -> Callable[[Links], tuple[list[FloatArray], FloatArray]]:
    """Return what reads the neighbours' rows: those of each level of smoothing, and of the GCN view."""
    from scrcl.graph.renumber import places
    from scrcl.io.arrays import gathered

    assert inputs.cells is not None, "views of a run say which cell a row is"
    row_of = places(inputs.cells)

    def rows(links: Links) -> tuple[list[FloatArray], FloatArray]:
        at = row_of[links.nodes]
        return [gathered(level, at) for level in levels], gathered(inputs.ax, at)

    return rows


def _levels(
    there: OpenRun, run: Context, inputs: Inputs, encoder: UnseenEncoder, folder: Path
) -> list[FloatArray]:
    """Return the views' input rows smoothed 0, 1, ... times, as many as the encoder asks for.

    Those that the views do not hold are made again, in ``folder``.
    """
    from scrcl.graph.propagate import propagate

    held = run.config.train.smoothing_mlp
    levels: list[FloatArray] = []
    for times in range(encoder.n_levels):
        if times == held:
            levels.append(inputs.x)
            continue
        path = folder / f"level{times}.npy"
        if times == 0:
            assert inputs.cells is not None
            levels.append(
                write_base(there, run.config, run.budget, np.asarray(inputs.cells, np.int64), path)
            )
            continue
        propagate(
            levels[-1],
            inputs.graph,
            path,
            n_times=1,
            block_rows=run.budget.dense_block_rows,
            n_workers=run.budget.n_workers,
        )
        levels.append(np.load(path, mmap_mode="r"))
    return levels


def _features(there: OpenRun, run: Context) -> Callable[[int, int], FloatArray]:
    """Return what reads rows of what the encoders read, not scaled: scores, or selected genes.

    A selected gene that the new cells lack is what the scores say of it.
    """
    from scrcl.io.arrays import release

    scores = run.open(COMPONENTS)
    if run.config.train.features == "pca":

        def own_scores(start: int, stop: int) -> FloatArray:
            rows = np.array(scores[start:stop])
            release(scores)
            return rows

        return own_scores
    store, present = run.open(FEATURES), run.open(GENES_PRESENT)
    pca = there.open(PCA)
    absent = np.flatnonzero(~present)
    directions, mean = pca.loadings[absent].T, pca.mean[absent]

    def genes(start: int, stop: int) -> FloatArray:
        rows = np.zeros((stop - start, len(present)), np.float32)
        rows[:, present] = store.rows_block(start, stop).toarray()
        rows[:, absent] = np.maximum(scores[start:stop] @ directions + mean, 0)
        release(scores)
        return rows

    return genes
