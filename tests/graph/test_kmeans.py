from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl.errors import InputError
from scrcl.graph.kmeans import assign, kmeans
from tests.reference_graph import inertia


def blobs(n, n_dims, n_clusters, seed):
    rng = np.random.default_rng(seed)
    centres = rng.normal(scale=3, size=(n_clusters, n_dims))
    sizes = rng.dirichlet(np.ones(n_clusters))
    return (centres[rng.choice(n_clusters, n, p=sizes)] + rng.normal(size=(n, n_dims))).astype("f4")


@pytest.mark.parametrize("seed", range(3))
def test_the_objective_is_as_good_as_that_of_scikit_learn(seed):
    from sklearn.cluster import KMeans

    points = blobs(4_000, 10, 12, seed)
    found = kmeans(points, 12, seed=seed, n_init=5)
    theirs = KMeans(12, n_init=5, random_state=seed).fit(points).inertia_
    assert found.objective <= 1.02 * theirs


@settings(max_examples=20)
@given(st.integers(5, 80), st.integers(1, 5), st.integers(1, 5), st.integers(0, 1_000))
def test_labels_are_the_nearest_centroids_and_the_objective_sums_their_distances(
    n, n_dims, k, seed
):
    points = np.random.default_rng(seed).normal(size=(n, n_dims)).astype(np.float32)
    found = kmeans(points, k, seed=seed)
    away = ((points[:, None].astype(np.float64) - found.centroids[None]) ** 2).sum(axis=2)
    assert np.allclose(away[np.arange(n), found.labels], away.min(axis=1), atol=1e-5)
    assert np.isclose(found.objective, inertia(points, found.centroids), rtol=1e-4, atol=1e-6)
    assert np.array_equal(assign(points, found.centroids), found.labels)
    assert found.labels.dtype == np.int32
    assert len(np.unique(found.labels)) == k


def test_the_result_depends_only_on_the_seed():
    points = blobs(2_000, 6, 8, 0)
    first, again, other = (kmeans(points, 20, seed=s, n_init=1) for s in (1, 1, 2))
    assert np.array_equal(first.labels, again.labels)
    assert np.array_equal(first.centroids, again.centroids)
    assert not np.array_equal(first.centroids, other.centroids)


def test_points_on_disk_and_block_size_change_no_label(tmp_path, monkeypatch):
    points = blobs(1_000, 4, 5, 0)
    np.save(tmp_path / "points.npy", points)
    whole = kmeans(points, 5, seed=0)
    monkeypatch.setattr("scrcl.graph.kmeans_passes._BLOCK_ROWS", 64)
    parts = kmeans(np.load(tmp_path / "points.npy", mmap_mode="r"), 5, seed=0)
    assert np.array_equal(whole.labels, parts.labels)
    assert np.allclose(whole.centroids, parts.centroids, atol=1e-6)


def test_a_run_starts_from_given_centroids():
    points = np.array([[0.0], [1.0], [10.0], [11.0]], np.float32)
    found = kmeans(points, 2, seed=0, init=np.array([[10.5], [0.5]], np.float32))
    assert found.labels.tolist() == [1, 1, 0, 0]


def test_an_empty_cluster_moves_to_a_far_point():
    points = np.array([[0.0], [0.1], [50.0], [100.0]], np.float32)
    start = np.array([[0.0], [-999.0], [-998.0]], np.float32)
    found = kmeans(points, 3, seed=0, init=start)
    assert sorted(np.bincount(found.labels, minlength=3).tolist()) == [1, 1, 2]


def test_there_may_be_fewer_distinct_points_than_clusters():
    points = np.repeat(np.array([[0.0, 0.0], [5.0, 5.0]], np.float32), 50, axis=0)
    found = kmeans(points, 4, seed=0)
    assert found.objective == 0
    assert np.isfinite(found.centroids).all()


def test_spherical_clusters_are_directions():
    rng = np.random.default_rng(0)
    angles = np.concatenate([rng.normal(a, 0.05, 50) for a in (0.0, 2.0, 4.0)])
    lengths = rng.uniform(0.1, 50, 150)
    points = (lengths[:, None] * np.c_[np.cos(angles), np.sin(angles)]).astype(np.float32)
    found = kmeans(points, 3, seed=0, spherical=True)
    assert np.allclose(np.linalg.norm(found.centroids, axis=1), 1, atol=1e-6)
    assert all(len(set(found.labels[s : s + 50])) == 1 for s in (0, 50, 100))
    assert len(set(found.labels)) == 3
    assert np.array_equal(assign(points, found.centroids), found.labels)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert np.isclose(found.objective, inertia(unit, found.centroids), rtol=1e-4)


def test_centroids_learned_from_a_sample_label_every_point():
    points = blobs(5_000, 6, 6, 1)
    found = kmeans(points, 6, seed=0, max_points_per_centroid=100)
    full = kmeans(points, 6, seed=0)
    assert found.labels.shape == (5_000,)
    assert np.isclose(found.objective, inertia(points, found.centroids), rtol=1e-4)
    assert found.objective <= 1.1 * full.objective


@pytest.mark.parametrize("k", [0, 11])
def test_k_must_be_from_one_to_the_number_of_points(k):
    with pytest.raises(InputError, match=rf"k must .* 10.*got {k}"):
        kmeans(np.zeros((10, 2), np.float32), k, seed=0)


def test_arguments_that_break_a_rule_are_refused():
    points = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32)
    with pytest.raises(InputError, match="n_init"):
        kmeans(points, 2, seed=0, n_init=0)
    with pytest.raises(InputError, match="max_points_per_centroid"):
        kmeans(points, 2, seed=0, max_points_per_centroid=0)
    with pytest.raises(InputError, match=r"init must .*\(2, 2\).*\(3, 2\)"):
        kmeans(points, 2, seed=0, init=np.zeros((3, 2), np.float32))
    with pytest.raises(InputError, match="centroids"):
        assign(points, np.zeros((3, 4), np.float32))


def test_points_on_disk_are_never_copied_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("scrcl.graph.kmeans_passes._BLOCK_ROWS", 1_000)
    monkeypatch.setattr("scrcl.graph.kmeans_passes._SEARCH_ROWS", 1_000)
    monkeypatch.setattr("scrcl.io.arrays.CHECK_ROWS", 1_000)
    monkeypatch.setattr("scrcl.graph.kmeans._SEEDING_ROWS", 2_000)
    np.save(tmp_path / "points.npy", blobs(50_000, 64, 5, 0))
    points = np.load(tmp_path / "points.npy", mmap_mode="r")
    kmeans(points[:100], 2, seed=0)  # imports
    tracemalloc.start()
    try:
        kmeans(points, 5, seed=0, n_init=1, n_iter=3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert points.nbytes > 12_000_000
    assert peak < 5_000_000
