from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scrcl.errors import InputError
from scrcl.graph.csr import symmetric_graph
from scrcl.graph.propagate import adjacency_weights, mean_weights, propagate
from tests.reference_graph import adjacency, normalized


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 4), st.integers(0, 1_000))
def test_propagation_equals_powers_of_the_dense_matrix(tmp_path, n, k, n_times, seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, n, size=(n, k)).astype(np.int32)
    points = rng.normal(size=(n, 3)).astype(np.float32)
    rows = []
    propagate(
        points,
        adjacency_weights(symmetric_graph(ids)),
        tmp_path / "out.npy",
        n_times=n_times,
        block_rows=7,
        on_rows=rows.append,
    )
    found = np.load(tmp_path / "out.npy")
    wanted = np.linalg.matrix_power(normalized(adjacency(ids)), n_times) @ points
    assert found.dtype == np.float32
    assert np.allclose(found, wanted, atol=1e-5)
    assert sum(rows) == n * max(n_times, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["out.npy"]


def test_block_size_and_workers_change_no_bit(tmp_path):
    rng = np.random.default_rng(0)
    weights = adjacency_weights(
        symmetric_graph(rng.integers(0, 500, size=(500, 6)).astype(np.int32))
    )
    np.save(tmp_path / "points.npy", rng.normal(size=(500, 5)).astype(np.float32))
    points = np.load(tmp_path / "points.npy", mmap_mode="r")
    results = []
    for block_rows, n_workers in [(500, 1), (33, 1), (33, 3), (1, 2)]:
        out = tmp_path / "out.npy"
        propagate(points, weights, out, n_times=3, block_rows=block_rows, n_workers=n_workers)
        results.append(np.load(out))
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_a_graph_of_other_points_or_a_negative_power_is_refused(tmp_path):
    weights = adjacency_weights(symmetric_graph(np.array([[1], [0]], np.int32)))
    with pytest.raises(InputError, match=r"neighbours must .* 3 points; .* 2"):
        propagate(np.zeros((3, 2), np.float32), weights, tmp_path / "out.npy", n_times=1)
    with pytest.raises(InputError, match="n_times"):
        propagate(np.zeros((2, 2), np.float32), weights, tmp_path / "out.npy", n_times=-1)
    assert not list(tmp_path.iterdir())


def test_a_memory_map_is_never_copied_whole(tmp_path):
    rng = np.random.default_rng(0)
    weights = adjacency_weights(
        symmetric_graph(rng.integers(0, 50_000, size=(50_000, 3)).astype(np.int32))
    )
    np.save(tmp_path / "points.npy", rng.normal(size=(50_000, 64)).astype(np.float32))
    points = np.load(tmp_path / "points.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        propagate(points, weights, tmp_path / "out.npy", n_times=2, block_rows=2_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert points.nbytes > 12_000_000
    assert peak < 5_000_000


@pytest.mark.parametrize("n_times", [0, 1, 2, 3])
def test_averages_are_plain_means_of_a_cell_and_its_neighbours(tmp_path, n_times):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 4)).astype(np.float32)
    ids = np.array([rng.permutation(np.delete(np.arange(50), i))[:5] for i in range(50)])
    ids[7, 2:], ids[8] = -1, -1
    expected = points.astype(float)
    for _ in range(n_times):
        expected = np.array(
            [expected[[i, *row[row >= 0]]].mean(axis=0) for i, row in enumerate(ids)]
        )
    propagate(points, mean_weights(ids), tmp_path / "a.npy", n_times=n_times)
    assert np.allclose(np.load(tmp_path / "a.npy"), expected, atol=1e-5)
    propagate(
        points, mean_weights(ids), tmp_path / "b.npy", n_times=n_times, block_rows=7, n_workers=3
    )
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))


def test_averages_over_neighbours_of_other_points_are_refused(tmp_path):
    with pytest.raises(
        InputError, match="neighbours must be those of the 5 points; got those of 4"
    ):
        propagate(
            np.ones((5, 2)), mean_weights(np.zeros((4, 1), int)), tmp_path / "a.npy", n_times=1
        )
