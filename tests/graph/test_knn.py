from __future__ import annotations

import subprocess
import sys

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl.errors import InputError
from scrcl.graph.backends import Search
from scrcl.graph.divide import partition
from scrcl.graph.knn import knn
from tests.reference_graph import nearest_others

RNG = np.random.default_rng(0)


def clustered(n, n_dims, n_clusters=40, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(scale=4, size=(n_clusters, n_dims))
    return (centres[rng.integers(n_clusters, size=n)] + rng.normal(size=(n, n_dims))).astype("f4")


@settings(max_examples=30)
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
    """FAISS as in releases that use BLAS from 20 queries."""
    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = 20
    yield
    assert faiss.cvar.distance_compute_blas_threshold == 20
    faiss.cvar.distance_compute_blas_threshold = before


@pytest.mark.usefixtures("eager_blas")
def test_exact_search_far_from_the_origin_keeps_its_digits():
    points = (RNG.normal(size=(300, 20)) + 1_000).astype(np.float32)
    assert np.array_equal(knn(points, 5, seed=0).ids, nearest_others(points, 5)[0])


def test_block_size_changes_no_exact_neighbour(monkeypatch):
    points = RNG.integers(0, 4, size=(500, 3)).astype(np.float32)
    whole = knn(points, 7, seed=0)
    monkeypatch.setattr("scrcl.graph.exact._BASE_ROWS", 3)
    monkeypatch.setattr("scrcl.graph.faiss_library._BASE_ROWS", 3)
    rows = []
    parts = knn(points, 7, seed=0, block_rows=11, on_rows=rows.append)
    assert np.array_equal(whole.ids, parts.ids)
    assert np.array_equal(whole.distances, parts.distances)
    assert sum(rows) == 500


@pytest.mark.parametrize("backend", ["exact", "ivf", "partitioned", "hnsw"])
def test_a_point_among_thousands_of_equal_ones_is_never_its_own_neighbour(backend):
    points = np.concatenate([np.ones((3_000, 4)), RNG.normal(size=(500, 4))]).astype(np.float32)
    found = knn(points, 15, seed=0, search=Search(backend))
    assert (found.ids != np.arange(3_500)[:, None]).all()
    assert (found.ids[:3_000] < 3_000).all()
    assert (found.distances[:3_000] == 0).all()
    assert (np.diff(found.distances, axis=1) >= 0).all()
    assert all(len(set(row)) == 15 for row in found.ids.tolist())


@pytest.fixture(scope="module")
def many():
    return clustered(25_000, 20)


@pytest.mark.parametrize("backend", ["auto", "ivf", "hnsw"])
def test_approximate_searches_reach_the_recall(many, backend):
    found = knn(many, 15, seed=0, search=Search(backend, 0.97))
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
def test_a_search_is_widened_to_reach_a_higher_recall(many, backend):
    points = many[:12_000] + np.random.default_rng(0).normal(scale=3, size=(12_000, 20)).astype(
        "f4"
    )
    low = knn(points, 10, seed=0, search=Search(backend, 0.3))
    high = knn(points, 10, seed=0, search=Search(backend, 0.999))
    assert low.recall < 0.99
    assert high.recall >= 0.999
    assert list(high.effort.values()) > list(low.effort.values())


@pytest.mark.parametrize("backend", ["ivf", "partitioned"])
def test_rows_without_enough_neighbours_in_their_lists_are_searched_exactly(backend):
    points = clustered(400, 3, n_clusters=8)
    found = knn(
        points,
        150,
        seed=0,
        search=Search(backend, 0.01),
        partition=partition(points, seed=0, list_rows=20),
    )
    assert found.ids.min() >= 0
    assert np.isfinite(found.distances).all()
    assert all(len(set(row)) == 150 for row in found.ids.tolist())


SCRIPT = """
import sys
import faiss, numpy as np
from scrcl.graph.backends import Search
from scrcl.graph.kmeans import kmeans
from scrcl.graph.knn import knn
from scrcl.graph.divide import partition
faiss.omp_set_num_threads(int(sys.argv[2]))
points = np.load(sys.argv[1], mmap_mode="r")
found = knn(points, 10, seed=3, search=Search("ivf"))
parted = knn(points, 10, seed=3, search=Search("partitioned"), n_workers=int(sys.argv[2]))
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


def test_a_memory_map_has_the_neighbours_of_the_array(tmp_path):
    points = clustered(300, 4)
    np.save(tmp_path / "points.npy", points)
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    assert np.array_equal(knn(mapped, 5, seed=0).ids, knn(points, 5, seed=0).ids)


@pytest.mark.parametrize("k", [0, 10, 11])
def test_k_must_be_below_the_number_of_points(k):
    with pytest.raises(InputError, match=f"k must .*{k}"):
        knn(np.zeros((10, 2), np.float32), k, seed=0)


def test_settings_and_values_that_break_a_rule_are_refused():
    points = np.zeros((10, 2), np.float32)
    with pytest.raises(InputError, match=r"backend must .*annoy"):
        knn(points, 2, seed=0, search=Search("annoy"))
    with pytest.raises(InputError, match=r"recall must .*1.5"):
        knn(points, 2, seed=0, search=Search(recall=1.5))
    points[3, 1] = np.inf
    with pytest.raises(InputError, match="row 3"):
        knn(points, 2, seed=0)


@pytest.mark.parametrize("backend", ["partitioned", "ivf", "hnsw", "pynndescent"])
def test_an_approximate_search_refuses_a_recall_of_one(backend):
    with pytest.raises(InputError, match=f"recall must .*{backend}"):
        knn(np.zeros((10, 2), np.float32), 2, seed=0, search=Search(backend, 1.0))


def test_a_recall_of_one_means_an_exact_search(many):
    found = knn(many[:21_000], 3, seed=0, search=Search(recall=1.0))
    assert (found.recall, found.backend) == (1.0, "exact")


@pytest.mark.slow
@pytest.mark.xdist_group("umap")  # what it compiles takes longest: one worker for all of it
def test_pynndescent_reaches_the_recall(many):
    points = many[:6_000]
    found = knn(points, 10, seed=0, search=Search("pynndescent", 0.9))
    exact = knn(points, 10, seed=0, search=Search("exact"))
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(found.ids, exact.ids, strict=True)]
    assert found.recall >= 0.9
    assert np.mean(shared) > 0.85


@pytest.mark.parametrize("backend", ["exact", "partitioned"])
def test_the_folder_holds_the_results_and_nothing_else(tmp_path, backend):
    points = clustered(3_000, 5)
    found = knn(points, 4, seed=0, search=Search(backend), folder=tmp_path)
    in_memory = knn(points, 4, seed=0, search=Search(backend))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["distances.npy", "ids.npy"]
    assert np.array_equal(np.load(tmp_path / "ids.npy"), in_memory.ids)
    assert np.array_equal(np.load(tmp_path / "distances.npy"), in_memory.distances)
    assert np.array_equal(found.ids, in_memory.ids)


def test_equal_points_are_neighbours_of_each_other():
    found = knn(np.full((3_000, 3), 2.5, np.float32), 5, seed=0, search=Search("partitioned"))
    assert (found.distances == 0).all()
    assert found.recall == 1.0


def test_points_far_from_the_origin_need_no_wider_search(many):
    near = knn(many, 10, seed=0)
    far = knn(many + np.float32(1_000), 10, seed=0)
    assert far.backend == "partitioned"
    assert far.recall >= 0.95
    assert far.effort["lists_searched"] < 2 * near.effort["lists_searched"]


def test_a_partition_of_other_points_is_refused(many):
    other = partition(many[:500], seed=0)
    with pytest.raises(InputError, match=r"partition must .* 600 .* 500"):
        knn(many[:600], 5, seed=0, search=Search("partitioned"), partition=other)


def test_a_bounded_search_stops_at_a_number_of_lists_and_says_how_far_its_neighbours_are():
    # Noise in many dimensions: all lists hold some of the nearest points.
    points = np.random.default_rng(1).normal(size=(4_000, 60)).astype(np.float32)
    lists = partition(points, seed=0, list_rows=40)
    assert lists.n_lists == 100
    bounded, whole = (
        knn(points, 10, seed=0, search=Search("partitioned", 0.99, bounded=each), partition=lists)
        for each in (True, False)
    )
    assert bounded.effort == {"lists": 100, "lists_searched": 32}
    assert whole.effort["lists_searched"] > 50
    assert bounded.recall < 0.9 < whole.recall
    _, true = nearest_others(points, 10)
    assert bounded.excess == pytest.approx(bounded.distances.mean() / true.mean() - 1, rel=0.1)
    assert bounded.excess > 0.002 > whole.excess >= 0


def test_a_search_that_reaches_its_recall_earlier_is_the_same_if_bounded():
    points = clustered(4_000, 10)
    lists = partition(points, seed=0, list_rows=40)
    found = [
        knn(points, 10, seed=0, search=Search("partitioned", 0.95, bounded=each), partition=lists)
        for each in (True, False)
    ]
    assert np.array_equal(found[0].ids, found[1].ids)
    assert found[0].effort == found[1].effort
