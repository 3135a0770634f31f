import shutil

import numpy as np
import pytest

from scrcl.engine.config import load_config
from scrcl.engine.pipeline import run_pipeline
from scrcl.errors import StoreError
from scrcl.graph.partition import Partition
from tests.cells import FAST

SETTINGS = [
    f"{group}.{name}={value}" for group, inner in FAST.items() for name, value in inner.items()
]


def trained(out):
    return np.load(out / "stages" / "embed" / "embedding.npy")


def run_with(cells, out, *changes, order=None):
    """Run to the embedding, with this order of the cells as the partition of the stage graph."""
    config = load_config(
        settings=[*SETTINGS, "n_clusters=4", "device=cpu", "train.batch_cells=60", *changes]
    )
    run_pipeline([cells], out, config, until="graph")
    kept = out / "stages" / "graph" / "partition"
    shutil.rmtree(kept, ignore_errors=True)
    if order is not None:
        starts = np.array([0, 100, 240])
        Partition(np.zeros((2, 12), np.float32), np.array([0, 2]), order, starts).save(kept)
    run_pipeline([cells], out, config, until="embed")
    return trained(out)


def test_batches_of_partitions_follow_the_order_that_the_stage_graph_keeps(cells, tmp_path):
    orders = [np.random.default_rng(seed).permutation(240) for seed in (0, 1)]
    settings = ("train.batches=partitions", "train.piece_cells=20")
    first, again, other = (
        run_with(cells, tmp_path / name, *settings, order=orders[which])
        for name, which in (("a", 0), ("b", 0), ("c", 1))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_without_a_partition_such_batches_are_refused_and_uniform_ones_need_none(cells, tmp_path):
    with pytest.raises(StoreError, match="must hold a partition"):
        run_with(cells, tmp_path / "a", "train.batches=partitions")
    assert len(run_with(cells, tmp_path / "b")) == 240
