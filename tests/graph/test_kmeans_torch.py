"""k-means by torch, on the CPU: the code that a GPU runs."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl.graph.kmeans import kmeans, passes_on
from scrcl.graph.kmeans_passes import CpuPasses
from scrcl.graph.kmeans_torch import TorchPasses
from tests.graph.test_kmeans import blobs
from tests.reference_graph import inertia


@pytest.fixture
def by_torch(monkeypatch):
    """Return k-means on the passes of torch."""

    def passes(points, *, spherical, device):
        return TorchPasses(points, spherical=spherical, device=device)

    def run(*args, **kwargs):
        with monkeypatch.context() as patched:
            patched.setattr("scrcl.graph.kmeans.passes_on", passes)
            return kmeans(*args, **kwargs)

    return run


def test_a_gpu_is_served_by_torch_and_the_cpu_is_not():
    points = np.zeros((2, 1), np.float32)
    assert isinstance(passes_on(points, spherical=False, device="cpu"), CpuPasses)
    # No kernel runs before the first pass, so any device of torch stands for a GPU here.
    assert isinstance(passes_on(points, spherical=False, device="meta"), TorchPasses)


@pytest.mark.parametrize("seed", range(3))
def test_the_objective_is_within_a_hundredth_of_that_of_faiss(by_torch, seed):
    points = blobs(4_000, 12, 10, seed)
    theirs = faiss.Kmeans(12, 10, niter=50, nredo=5, seed=seed + 1, max_points_per_centroid=10**6)
    theirs.train(points)
    found = by_torch(points, 10, seed=seed, n_init=5)
    assert found.objective <= 1.01 * inertia(points, theirs.centroids)
    assert np.isclose(found.objective, inertia(points, found.centroids), rtol=1e-4)


@settings(max_examples=25)
@given(st.integers(3, 200), st.integers(1, 8), st.integers(1, 9), st.booleans(), st.integers(0, 99))
def test_both_passes_are_those_of_the_cpu(n, n_dims, k, spherical, seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(100, size=(n, n_dims)).astype(np.float32)
    centroids = rng.normal(100, size=(k, n_dims)).astype(np.float32)
    made = [
        CpuPasses(points, spherical=spherical),
        TorchPasses(points, spherical=spherical, device="cpu"),
    ]
    (labels, squared), (_, found) = (each.nearest(centroids) for each in made)
    assert np.allclose(found, squared, rtol=1e-4, atol=1e-4)
    one, other = (each.sums(labels, k) for each in made)
    assert np.allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("spherical", [False, True])
def test_the_clusters_are_those_of_the_cpu_for_any_size_of_block(by_torch, monkeypatch, spherical):
    points = blobs(3_000, 8, 6, 0)
    monkeypatch.setattr("scrcl.graph.kmeans_torch._BLOCK_VALUES", 6 * 250)
    ours, found = (run(points, 6, seed=0, spherical=spherical) for run in (kmeans, by_torch))
    assert np.mean(ours.labels == found.labels) > 0.999
    assert np.isclose(ours.objective, found.objective, rtol=1e-5)
    again = by_torch(points, 6, seed=0, spherical=spherical)
    assert np.array_equal(again.centroids, found.centroids)


def test_of_equal_centroids_the_first_is_taken():
    points = np.array([[-1.0], [2.0]], np.float32)
    centroids = np.array([[-1.0], [1.0], [1.0]], np.float32)
    passes = TorchPasses(points, spherical=False, device="cpu")
    assert passes.nearest(centroids)[0].tolist() == [0, 1]


def test_an_empty_cluster_moves_to_a_far_point(by_torch):
    points = np.array([[0.0], [0.1], [50.0], [100.0]], np.float32)
    start = np.array([[0.0], [-999.0], [-998.0]], np.float32)
    found = by_torch(points, 3, seed=0, init=start)
    assert sorted(np.bincount(found.labels, minlength=3).tolist()) == [1, 1, 2]


def test_there_may_be_fewer_distinct_points_than_clusters(by_torch):
    points = np.repeat(np.array([[0.0, 0.0], [5.0, 5.0]], np.float32), 50, axis=0)
    found = by_torch(points, 4, seed=0)
    assert found.objective == 0
    assert np.isfinite(found.centroids).all()


def test_points_on_disk_are_read_in_blocks(tmp_path, by_torch, monkeypatch):
    monkeypatch.setattr("scrcl.graph.kmeans_torch._MOST_ROWS", 100)
    longest = []
    rows = TorchPasses._rows
    monkeypatch.setattr(
        TorchPasses, "_rows", lambda self, a, b: longest.append(b - a) or rows(self, a, b)
    )
    np.save(tmp_path / "points.npy", blobs(1_000, 4, 5, 0))
    found = by_torch(np.load(tmp_path / "points.npy", mmap_mode="r"), 5, seed=0)
    assert max(longest) == 100
    assert len(found.labels) == 1_000


def test_every_k_means_of_a_clustering_runs_on_the_device(monkeypatch):
    from scrcl.cluster.find import find_clusters
    from scrcl.cluster.protocol import Spaces
    from scrcl.cluster.settings import ClusterSettings

    seen = []
    passes = passes_on

    def noted(points, *, spherical, device):
        seen.append(device)
        return passes(points, spherical=spherical, device="cpu")

    monkeypatch.setattr("scrcl.graph.kmeans.passes_on", noted)
    points = blobs(300, 5, 4, 0)
    for algorithm in ("auto", "linkage", "kmeans", "ward", "leiden"):
        seen.clear()
        chosen = ClusterSettings(algorithm=algorithm, n_micro=20, restarts=2)
        find_clusters(Spaces(points, points, device="cuda:1"), 3, settings=chosen, seed=0)
        # `assign`, which labels the cells outside of a sample, is a single pass on the CPU.
        assert "cuda:1" in seen, algorithm
