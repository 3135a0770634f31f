"""The stage ``embed`` of a prediction: E and Z of new cells beside their neighbours in the atlas."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from scrcl.engine.device import resolve_device
from scrcl.engine.graph_view import add_graph_view

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrcl.engine.predict.atlas import Atlas
    from scrcl.engine.stage import Run
    from scrcl.graph.links import Links
    from scrcl.train.methods.scrcl.minibatch import Inputs
    from scrcl.train.methods.scrcl.new_cells import UnseenEncoder
    from scrcl.typing import FloatArray

__all__ = ["LINK_VALUES", "embed_cells"]

LINK_VALUES = 8_000_000
"""Values of neighbours' rows held at a time: 32 MB in float32."""


def embed_cells(atlas: Atlas, run: Run, folder: Path) -> dict[str, Any]:
    """Write E and Z of the new cells; the neighbours' rows are read from the views of the atlas."""
    from scrcl.engine.learn import trained_model
    from scrcl.engine.views import input_scale, scaled, training_inputs
    from scrcl.graph.links import are_neighbours, normalized_links
    from scrcl.io.arrays import RowWriter, release, row_blocks
    from scrcl.train.methods.scrcl.embed import EMBEDDING, REFINED
    from scrcl.train.methods.scrcl.new_cells import UnseenEncoder

    there, config = atlas.opened(run), run.config
    inputs, scale = training_inputs(there), input_scale(there)
    encoder = UnseenEncoder(
        trained_model(there, inputs),
        inputs.genes,
        smoothing_mlp=config.train.smoothing_mlp,
        smoothing_gcn=config.train.smoothing_gcn,
        device=resolve_device(config.device),
    )
    graph, features = there.graph("graph"), _features(atlas, run)
    ids, squared = run.array("graph", "ids"), run.array("graph", "squared")
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
        rows_of = _atlas_rows(inputs, _levels(there, inputs, encoder, Path(scratch)))
        for start, stop in blocks:
            near = np.array(ids[start:stop])
            neighbours = are_neighbours(near, np.array(squared[start:stop]), reach, k, mode=mode)
            links = normalized_links(near, neighbours, graph)
            found = encoder.embed(scaled(features(start, stop), scale), *rows_of(links), links)
            embedding.write(start, found.embedding)
            refined.write(start, found.refined)
            n_links += int(neighbours.sum())
            for array in (inputs.x, inputs.ax, ids, squared):
                release(array)
            advance(stop - start)
    add_graph_view(folder, config, block_rows=65_536)
    return {"n_cells": n_cells, "mean_neighbors": n_links / n_cells}


def _reach(there: Run) -> FloatArray:
    """Return the distance of the farthest neighbour that each cell of the atlas names."""
    from scrcl.io.arrays import release, row_blocks

    distances = there.array("graph", "distances")
    reach = np.empty(len(distances), np.float32)
    for start, stop in row_blocks(len(distances), 1 << 20):
        reach[start:stop] = distances[start:stop, -1]
        release(distances)
    return reach


def _atlas_rows(
    inputs: Inputs, levels: list[FloatArray]
) -> Callable[[Links], tuple[list[FloatArray], FloatArray]]:
    """Return what reads the neighbours' rows: those of each level of smoothing, and of the GCN view."""
    from scrcl.graph.renumber import positions_in
    from scrcl.io.arrays import gathered

    assert inputs.cells is not None, "views of a run say which cell a row is"
    row_of = positions_in(inputs.cells)

    def rows(links: Links) -> tuple[list[FloatArray], FloatArray]:
        at = row_of[links.nodes]
        return [gathered(level, at) for level in levels], gathered(inputs.ax, at)

    return rows


def _levels(run: Run, inputs: Inputs, encoder: UnseenEncoder, folder: Path) -> list[FloatArray]:
    """Return the views' input rows smoothed 0, 1, ... times, as many as the encoder asks for.

    Those that the views do not hold are made again, in ``folder``.
    """
    from scrcl.engine.views import write_base
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
            levels.append(write_base(run, np.asarray(inputs.cells, np.int64), path))
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


def _features(atlas: Atlas, run: Run) -> Callable[[int, int], FloatArray]:
    """Return what reads rows of what the encoders read, not scaled: scores, or selected genes.

    A selected gene that the new cells lack is what the scores say of it.
    """
    from scrcl.io.arrays import release
    from scrcl.prep.feature_store import FeatureStore
    from scrcl.prep.pca import Pca

    scores = run.array("reduce", "scores")
    if run.config.train.features == "pca":

        def own_scores(start: int, stop: int) -> FloatArray:
            rows = np.array(scores[start:stop])
            release(scores)
            return rows

        return own_scores
    store, present = FeatureStore.open(run.stage("features")), run.array("features", "present")
    pca = Pca.load(atlas.folder.stage("reduce") / "pca.npz")
    absent = np.flatnonzero(~present)
    directions, mean = pca.loadings[absent].T, pca.mean[absent]

    def genes(start: int, stop: int) -> FloatArray:
        rows = np.zeros((stop - start, len(present)), np.float32)
        rows[:, present] = store.rows_block(start, stop).toarray()
        rows[:, absent] = np.maximum(scores[start:stop] @ directions + mean, 0)
        release(scores)
        return rows

    return genes
