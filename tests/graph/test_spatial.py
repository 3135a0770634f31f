from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from scrcl.errors import InputError
from scrcl.graph.spatial import spatial_knn
from scrcl.io.labels import CellLabels
from tests.reference_graph import adjacency, nearest_others, nearest_within


def samples_of(codes):
    codes = np.asarray(codes, np.int32)
    return CellLabels(codes, tuple(f"slice {i}" for i in range(codes.max() + 1)))


def hexagons(n_rows, n_columns, pitch=1.0):
    rows, columns = np.divmod(np.arange(n_rows * n_columns), n_columns)
    inner = (rows > 0) & (rows < n_rows - 1) & (columns > 0) & (columns < n_columns - 1)
    return pitch * np.c_[columns + 0.5 * (rows % 2), rows * np.sqrt(3) / 2], inner


@settings(max_examples=30)
@given(st.integers(2, 3), st.integers(1, 8), st.integers(0, 1_000), st.booleans())
def test_nearest_cells_on_shuffled_grids_equal_those_of_all_pairs_with_ties_by_id(
    n_dims, k, seed, stacked
):
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(4)] * n_dims), axis=-1).reshape(-1, n_dims)
    cells = np.concatenate([grid, np.repeat(grid[:1], 40, axis=0)]) if stacked else grid
    cells = cells[rng.permutation(len(cells))].astype(float)
    found = spatial_knn(cells, k)
    ids, distances = nearest_others(cells, k)
    assert np.array_equal(found.ids, ids)
    assert np.allclose(found.distances, distances)
    assert (found.recall, found.backend) == (1.0, "kdtree")
    assert (found.ids.dtype, found.distances.dtype) == (np.int32, np.float32)


@settings(max_examples=60)
@given(
    n=st.integers(2, 60),
    n_dims=st.integers(2, 3),
    k=st.integers(1, 9),
    n_samples=st.integers(1, 6),
    n_levels=st.integers(1, 4),
    radius=st.sampled_from([None, 1.0, 2**0.5, 2.5]),
    seed=st.integers(0, 10_000),
)
def test_neighbours_are_in_the_sample_and_within_the_radius(
    n, n_dims, k, n_samples, n_levels, radius, seed
):
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, n_levels, size=(n, n_dims)).astype(float)
    codes = rng.integers(0, n_samples, size=n)
    codes[:2] = 0
    cells[:2] = 0
    found = spatial_knn(cells, k, samples=samples_of(codes), radius=radius)
    ids, distances = nearest_within(cells, k, codes, np.inf if radius is None else radius)
    assert np.array_equal(found.ids, ids)
    assert np.allclose(found.distances, distances)


def test_block_size_changes_nothing(monkeypatch):
    cells = np.random.default_rng(0).integers(0, 9, size=(700, 2)).astype(float)
    whole = spatial_knn(cells, 7)
    monkeypatch.setattr("scrcl.graph.spatial._CANDIDATES", 20)
    parts = spatial_knn(cells, 7)
    assert np.array_equal(whole.ids, parts.ids)
    assert np.array_equal(whole.distances, parts.distances)


def test_the_number_of_threads_changes_no_neighbour(monkeypatch):
    import scipy.spatial

    cells = np.random.default_rng(0).integers(0, 300, size=(30_000, 2)).astype(float)
    many = spatial_knn(cells, 15)

    class OneThread(cKDTree):
        def query(self, *args, workers, **how):
            return super().query(*args, workers=1, **how)

    monkeypatch.setattr(scipy.spatial, "cKDTree", OneThread)
    one = spatial_knn(cells, 15)
    assert np.array_equal(many.ids, one.ids)
    assert np.array_equal(many.distances, one.distances)


@pytest.mark.parametrize("pitch", [1.0, 100.0, 0.1, 1e-7])
def test_cells_on_a_hexagonal_lattice_find_their_six_neighbours(pitch):
    cells, inner = hexagons(20, 20, pitch)
    found = spatial_knn(cells, 6)
    assert np.allclose(found.distances[inner] / pitch, 1)
    assert found.distances.max() < 3 * pitch
    graph = adjacency(found.ids)
    ring = cKDTree(cells).sparse_distance_matrix(cKDTree(cells), 1.5 * pitch).toarray() > 0
    rows, columns = np.divmod(np.arange(400), 20)
    deep = (
        (rows > 2) & (rows < 17) & (columns > 2) & (columns < 17)
    )  # no neighbour of a border cell
    assert np.array_equal(graph[deep], ring[deep])


@pytest.mark.parametrize("k", [6, 15])
def test_a_radius_limits_border_cells_to_their_own_ring(k):
    cells, _ = hexagons(15, 15, 0.1)
    found = spatial_knn(cells, k, radius=0.1)
    ring = cKDTree(cells).sparse_distance_matrix(cKDTree(cells), 0.15).toarray() > 0
    rows, columns = np.nonzero(found.ids >= 0)
    graph = np.zeros_like(ring)
    graph[rows, found.ids[rows, columns]] = True
    assert np.array_equal(graph, ring)
    assert ((found.ids >= 0) == np.isfinite(found.distances)).all()


@pytest.mark.parametrize(
    ("n_dims", "k", "reach"), [(2, 4, 1), (2, 8, 2), (3, 6, 1), (3, 18, 2), (3, 26, 3)]
)
def test_inner_cells_of_a_square_lattice_find_whole_rings(n_dims, k, reach):
    cells = np.stack(np.meshgrid(*[np.arange(6.0)] * n_dims), axis=-1).reshape(-1, n_dims)
    inner = ((cells > 0) & (cells < 5)).all(axis=1)
    found = spatial_knn(cells, k)
    assert np.allclose(found.distances[inner, -1] ** 2, reach)
    assert np.allclose(found.distances[inner, 0], 1)


def test_if_k_ends_inside_a_ring_an_inner_cell_has_symmetric_neighbours():
    cells, _ = hexagons(20, 20)
    graph = adjacency(spatial_knn(cells, 15).ids)
    rows, columns = np.divmod(np.arange(400), 20)
    deep = np.flatnonzero((rows > 4) & (rows < 15) & (columns > 4) & (columns < 15))
    for i in deep:
        offsets = cells[graph[i]] - cells[i]
        assert np.allclose(offsets.sum(axis=0), 0)


def test_thousands_of_cells_with_equal_coordinates_are_ordered_by_id():
    cells = np.repeat(np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 9.0]]), 4_000, axis=0)
    cells = cells[np.random.default_rng(0).permutation(len(cells))]
    found = spatial_knn(cells, 6)
    assert (found.distances == 0).all()
    for point in np.unique(cells, axis=0):
        stack = np.flatnonzero((cells == point).all(axis=1))
        assert np.array_equal(found.ids[stack[7:]], np.tile(stack[:6], (len(stack) - 7, 1)))
        for i, cell in enumerate(stack[:7]):
            assert np.array_equal(found.ids[cell], np.delete(stack[:7], i))


def test_if_all_coordinates_are_equal_the_first_cells_are_neighbours():
    found = spatial_knn(np.full((20_000, 3), 7.0), 15)
    assert np.array_equal(found.ids[16:], np.tile(np.arange(15), (19_984, 1)))
    assert np.array_equal(found.ids[3], np.delete(np.arange(16), 3))


def test_a_tie_of_thousands_is_ordered_by_id():
    angles = np.random.default_rng(0).permutation(np.linspace(0, 2 * np.pi, 3_000, endpoint=False))
    cells = np.concatenate([np.c_[np.cos(angles), np.sin(angles)], np.zeros((1, 2))])
    assert np.array_equal(spatial_knn(cells, 5).ids[-1], np.arange(5))


def test_samples_may_overlap_and_may_be_smaller_than_k():
    slices = np.random.default_rng(0).normal(size=(50, 2))
    cells = np.concatenate([slices, slices, slices[:4], slices[:1]])
    codes = np.repeat([2, 0, 1, 3], [50, 50, 4, 1])
    found = spatial_knn(cells, 6, samples=samples_of(codes))
    one_slice = spatial_knn(slices, 6)
    assert np.array_equal(found.ids[:50], one_slice.ids)
    assert np.array_equal(found.ids[50:100], one_slice.ids + 50)
    assert np.array_equal(np.sort(found.ids[100]), [-1, -1, -1, 101, 102, 103])
    assert np.array_equal(found.ids[100:104, 3:], np.full((4, 3), -1))
    assert np.array_equal(found.ids[104], np.full(6, -1))
    assert np.isinf(found.distances[104]).all()


def test_bad_coordinates_are_refused():
    cells = np.zeros((10, 2))
    with pytest.raises(InputError, match=r"k must .* 10"):
        spatial_knn(cells, 10)
    for n_columns in (1, 4):
        with pytest.raises(InputError, match=r"coordinates must .*columns"):
            spatial_knn(np.zeros((10, n_columns)), 2)
    with pytest.raises(InputError, match=r"coordinates must .*span"):
        spatial_knn(np.r_[cells, [[1e300, -1e308]]], 2)
    cells[4, 0] = np.nan
    with pytest.raises(InputError, match="row 4"):
        spatial_knn(cells, 2)


def test_samples_of_one_cell_each_are_refused():
    with pytest.raises(InputError, match=r"sample_key must .*3 .*slice 0"):
        spatial_knn(np.zeros((3, 2)), 2, samples=samples_of([2, 0, 1]))


def test_a_radius_without_neighbours_is_refused_and_a_larger_one_suggested():
    cells, _ = hexagons(9, 9, 40.0)
    with pytest.raises(InputError, match=r"graph.radius must .* 30.* 40.* 60"):
        spatial_knn(cells, 6, radius=30.0)
