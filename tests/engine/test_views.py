import shutil

import numpy as np
import pytest

from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files
from scrcl.errors import StoreError
from scrcl.graph.csr import Graph, normalized_adjacency
from scrcl.graph.partition import Partition
from scrcl.prep.feature_store import FeatureStore
from tests.cells import FAST
from tests.reference_graph import assert_valid

SETTINGS = [
    f"{group}.{name}={value}" for group, inner in FAST.items() for name, value in inner.items()
]


def trained(out):
    return np.load(out / "stages" / "embed" / "embedding.npy")


def run_with(cells, out, *changes, order=None):
    """Run to the embedding, with this order of the cells as the partition of the stage graph."""
    config = load_config(
        settings=[*SETTINGS, "n_clusters=4", "device=cpu", "train.minibatch_cells=60", *changes]
    )
    run_files([cells], out, config, until="graph")
    kept = out / "stages" / "graph" / "partition"
    shutil.rmtree(kept, ignore_errors=True)
    if order is not None:
        starts = np.array([0, 100, 240])
        Partition(np.zeros((2, 12), np.float32), np.array([0, 2]), order, starts).save(kept)
    run_files([cells], out, config, until="embed")
    return trained(out)


def some_order(seed):
    return np.random.default_rng(seed).permutation(240)


@pytest.mark.parametrize("features", ["pca", "hvg"])
def test_views_are_in_the_order_of_the_partition_and_name_their_cells(cells, tmp_path, features):
    order = some_order(0)
    run_with(cells, tmp_path / "out", f"scrcl.features={features}", order=order)
    stages = tmp_path / "out" / "stages"
    x, ax, of_row = (np.load(stages / "inputs" / f"{name}.npy") for name in ("x", "ax", "cells"))
    assert np.array_equal(of_row, order)
    if features == "pca":
        read = np.load(stages / "reduce" / "scores.npy")[order]
    else:
        read = np.concatenate([b.toarray() for _, b in FeatureStore(stages / "features")])
        read = read[order]
    assert np.allclose(x, read / np.sqrt(np.square(read).mean()), rtol=1e-4, atol=1e-6)
    full = normalized_adjacency(Graph.load(stages / "graph" / "csr")).toarray()
    assert np.allclose(ax, full[np.ix_(order, order)] @ x, atol=1e-4)
    graph = Graph.load(stages / "inputs" / "csr")
    assert_valid(graph)
    assert np.allclose(normalized_adjacency(graph).toarray(), full[np.ix_(order, order)])
    assert {path.name for path in (stages / "inputs").iterdir()} == {
        "x.npy", "ax.npy", "cells.npy", "csr"
    }  # fmt: skip


def test_embeddings_of_a_full_batch_do_not_depend_on_the_order_of_rows(cells, tmp_path):
    one, other = (
        run_with(cells, tmp_path / str(seed), "train.minibatch_cells=240", order=some_order(seed))
        for seed in (0, 1)
    )
    assert np.allclose(one, other, atol=1e-3)


def test_mini_batches_of_partitions_follow_the_order_of_the_stage_graph(cells, tmp_path):
    settings = ("train.minibatches=partitions", "train.piece_cells=20")
    first, again, other = (
        run_with(cells, tmp_path / name, *settings, order=some_order(which))
        for name, which in (("a", 0), ("b", 0), ("c", 1))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_without_a_partition_there_are_no_views(cells, tmp_path):
    with pytest.raises(StoreError, match="partition"):
        run_with(cells, tmp_path / "out")
