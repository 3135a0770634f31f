from __future__ import annotations

import subprocess
import sys

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl.errors import InputError
from scrcl.graph.knn import knn
from scrcl.graph.partition import partition
from tests.reference_graph import nearest_others

RNG = np.random.default_rng(0)


def clustered(n, n_dims, n_clusters=40, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(scale=4, size=(n_clusters, n_dims))
    return (centres[rng.integers(n_clusters, size=n)] + rng.normal(size=(n, n_dims))).astype("f4")


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 60), st.integers(1, 6), st.integers(1, 3), st.integers(0, 10_000))
def test_exact_search_equals_all_pairs_with_ties_by_id(n, n_dims, k, seed):
    points = np.random.default_rng(seed).integers(0, 3, size=(n, n_dims)).astype(np.float32)
    found = knn(points, k, seed=0)
    ids, distances = nearest_others(points, k)
    assert np.array_equal(found.ids, ids)
    assert np.allclose(found.distances, distances)
    assert (found.recall, found.backend) == (1.0, "exact")
    assert (found.ids.dtype, found.distances.dtype) == (np.int32, np.float32)


@pytest.fixture
def eager_blas():
    """FAISS as in releases that turn to BLAS from 20 queries on."""
    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = 20
    yield
    assert faiss.cvar.distance_compute_blas_threshold == 20
    faiss.cvar.distance_compute_blas_threshold = before


@pytest.mark.usefixtures("eager_blas")
def test_exact_search_far_from_the_origin_keeps_its_digits():
    points = (RNG.normal(size=(300, 20)) + 1_000).astype(np.float32)
    assert np.array_equal(knn(points, 5, seed=0).ids, nearest_others(points, 5)[0])


def test_exact_search_is_whole_over_several_blocks_of_points_and_queries(monkeypatch):
    points = RNG.integers(0, 4, size=(500, 3)).astype(np.float32)
    whole = knn(points, 7, seed=0)
    monkeypatch.setattr("scrcl.graph.exact.BASE_ROWS", 3)
    monkeypatch.setattr("scrcl.graph.index.BASE_ROWS", 3)
    rows = []
    parts = knn(points, 7, seed=0, block_rows=11, on_rows=rows.append)
    assert np.array_equal(whole.ids, parts.ids)
    assert np.array_equal(whole.distances, parts.distances)
    assert sum(rows) == 500


@pytest.mark.parametrize("backend", ["exact", "ivf", "partitioned", "hnsw"])
def test_a_point_among_thousands_of_equal_ones_is_never_its_own_neighbour(backend):
    points = np.concatenate([np.ones((3_000, 4)), RNG.normal(size=(500, 4))]).astype(np.float32)
    found = knn(points, 15, seed=0, backend=backend)
    assert (found.ids != np.arange(3_500)[:, None]).all()
    assert (found.ids[:3_000] < 3_000).all()
    assert (found.distances[:3_000] == 0).all()
    assert (np.diff(found.distances, axis=1) >= 0).all()
    assert all(len(set(row)) == 15 for row in found.ids.tolist())


@pytest.fixture(scope="module")
def many():
    return clustered(25_000, 20)


@pytest.mark.parametrize("backend", ["auto", "ivf", "hnsw"])
def test_many_points_are_searched_with_the_recall_asked_for(many, backend):
    found = knn(many, 15, seed=0, recall_target=0.97, backend=backend)
    assert found.backend == {"auto": "partitioned"}.get(backend, backend)
    assert found.effort
    rows = np.random.default_rng(5).choice(25_000, 200, replace=False)
    away = ((many[rows, None, :].astype(np.float64) - many[None]) ** 2).sum(axis=2)
    away[np.arange(200), rows] = np.inf
    truth = np.sort(away, axis=1)[:, :15]
    share = np.mean(found.distances[rows] ** 2 <= truth[:, -1:] * (1 + 1e-5))
    assert found.recall >= 0.97
    assert share > 0.95
    exact = np.sqrt(np.take_along_axis(away, found.ids[rows].astype(np.int64), axis=1))
    assert np.allclose(found.distances[rows], exact, rtol=1e-4)


@pytest.mark.parametrize("backend", ["ivf", "partitioned"])
def test_a_higher_target_is_met_by_looking_further(many, backend):
    points = many[:12_000] + np.random.default_rng(0).normal(scale=3, size=(12_000, 20)).astype(
        "f4"
    )
    low = knn(points, 10, seed=0, backend=backend, recall_target=0.3)
    high = knn(points, 10, seed=0, backend=backend, recall_target=0.999)
    assert low.recall < 0.99
    assert high.recall >= 0.999
    assert list(high.effort.values()) > list(low.effort.values())


@pytest.mark.parametrize("backend", ["ivf", "partitioned"])
def test_lists_that_are_too_small_are_made_up_for_exactly(backend, monkeypatch):
    monkeypatch.setattr("scrcl.graph.partition.LIST_ROWS", 40)
    points = clustered(400, 3, n_clusters=8)
    found = knn(points, 150, seed=0, backend=backend, recall_target=0.01)
    assert found.ids.min() >= 0
    assert np.isfinite(found.distances).all()
    assert all(len(set(row)) == 150 for row in found.ids.tolist())


SCRIPT = """
import sys
import faiss, numpy as np
from scrcl.graph.kmeans import kmeans
from scrcl.graph.knn import knn
from scrcl.graph.partition import partition
faiss.omp_set_num_threads(int(sys.argv[2]))
points = np.load(sys.argv[1], mmap_mode="r")
found = knn(points, 10, seed=3, backend="ivf")
parted = knn(points, 10, seed=3, backend="partitioned", n_workers=int(sys.argv[2]))
groups = kmeans(points, 12, seed=3, n_init=2)
np.savez(sys.argv[3], parted=parted.ids, apart=parted.distances, ids=found.ids,
         distances=found.distances, recall=found.recall,
         labels=groups.labels, centroids=groups.centroids, objective=groups.objective)
"""


def test_the_number_of_threads_changes_no_bit_of_neighbours_or_clusters(many, tmp_path):
    np.save(tmp_path / "points.npy", many[:8_000])
    results = []
    for threads in ("1", "2", "3"):
        out = tmp_path / f"{threads}.npz"
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "points.npy"), threads, str(out)],
            check=True,
            env={"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PYTHONPATH": "."},
        )
        with np.load(out) as saved:
            results.append({name: saved[name] for name in saved})
    for other in results[1:]:
        assert all(np.array_equal(results[0][name], other[name]) for name in other)


def test_a_memory_map_is_searched_like_the_array(tmp_path):
    points = clustered(300, 4)
    np.save(tmp_path / "points.npy", points)
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    assert np.array_equal(knn(mapped, 5, seed=0).ids, knn(points, 5, seed=0).ids)


@pytest.mark.parametrize("k", [0, 10, 11])
def test_fewer_points_than_neighbours_are_refused(k):
    with pytest.raises(InputError, match="k must be"):
        knn(np.zeros((10, 2), np.float32), k, seed=0)


def test_bad_options_and_values_are_refused():
    points = np.zeros((10, 2), np.float32)
    with pytest.raises(InputError, match="backend"):
        knn(points, 2, seed=0, backend="annoy")
    with pytest.raises(InputError, match="recall must"):
        knn(points, 2, seed=0, recall_target=1.5)
    points[3, 1] = np.inf
    with pytest.raises(InputError, match="row 3"):
        knn(points, 2, seed=0)


@pytest.mark.parametrize("backend", ["partitioned", "ivf", "hnsw", "pynndescent"])
def test_a_recall_of_one_is_not_promised_by_an_approximate_search(backend):
    with pytest.raises(InputError, match="recall must be below 1"):
        knn(np.zeros((10, 2), np.float32), 2, seed=0, backend=backend, recall_target=1.0)


def test_a_recall_of_one_is_searched_exactly(many):
    found = knn(many[:21_000], 3, seed=0, recall_target=1.0)
    assert (found.recall, found.backend) == (1.0, "exact")


@pytest.mark.slow
def test_pynndescent_finds_what_is_asked_of_it(many):
    points = many[:6_000]
    found = knn(points, 10, seed=0, backend="pynndescent", recall_target=0.9)
    exact = knn(points, 10, seed=0, backend="exact")
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(found.ids, exact.ids, strict=True)]
    assert found.recall >= 0.9
    assert np.mean(shared) > 0.85


@pytest.mark.parametrize("backend", ["exact", "partitioned"])
def test_results_are_left_as_files_of_a_folder_and_nothing_else(tmp_path, backend):
    points = clustered(3_000, 5)
    found = knn(points, 4, seed=0, backend=backend, folder=tmp_path)
    in_memory = knn(points, 4, seed=0, backend=backend)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["distances.npy", "ids.npy"]
    assert np.array_equal(np.load(tmp_path / "ids.npy"), in_memory.ids)
    assert np.array_equal(np.load(tmp_path / "distances.npy"), in_memory.distances)
    assert np.array_equal(found.ids, in_memory.ids)


def test_points_that_are_all_one_are_neighbours_of_each_other():
    found = knn(np.full((3_000, 3), 2.5, np.float32), 5, seed=0, backend="partitioned")
    assert (found.distances == 0).all()
    assert found.recall == 1.0


def test_points_far_from_the_origin_are_searched_as_well_as_near_it(many):
    near = knn(many, 10, seed=0)
    far = knn(many + np.float32(1_000), 10, seed=0)
    assert far.backend == "partitioned"
    assert far.recall >= 0.95
    assert far.effort["lists_searched"] < 2 * near.effort["lists_searched"]


def test_lists_of_other_points_are_refused(many):
    lists = partition(many[:500], seed=0)
    with pytest.raises(InputError, match="lists must be"):
        knn(many[:600], 5, seed=0, backend="partitioned", lists=lists)
