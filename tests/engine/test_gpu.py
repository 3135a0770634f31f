"""The same training on a CUDA device; skipped where torch sees none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scrcl.engine.evaluate import score
from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files
from scrcl.graph.kmeans import kmeans
from tests.cells import FAST, make_cells
from tests.graph.test_kmeans import blobs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("minibatch_cells", [64, 4096])
def test_a_run_on_the_gpu_finds_the_clusters_of_the_cpu(tmp_path, minibatch_cells):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    train = {**FAST["train"], "steps": 40, "minibatch_cells": minibatch_cells}
    found = {}
    for device in ("cpu", "cuda"):
        config = load_config(overrides={**FAST, "train": train, "n_clusters": 4, "device": device})
        run_files([tmp_path / "cells.h5ad"], tmp_path / device, config)
        found[device] = np.load(tmp_path / device / "stages" / "cluster" / "labels.npy")
    assert score(found["cpu"], found["cuda"])["ari"] > 0.95


def test_k_means_on_the_gpu_is_that_of_the_cpu_and_the_same_every_time():
    points = blobs(20_000, 16, 12, 0)
    cpu, gpu, again = (kmeans(points, 12, seed=0, device=d) for d in ("cpu", "cuda", "cuda"))
    assert np.isclose(cpu.objective, gpu.objective, rtol=1e-3)
    assert np.array_equal(gpu.labels, again.labels)
    assert np.array_equal(gpu.centroids, again.centroids)
