from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl.errors import InputError
from scrcl.graph.spatial import spatial_knn
from tests.reference_graph import nearest_others


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 3), st.integers(1, 8), st.integers(0, 1_000), st.booleans())
def test_nearest_spots_on_shuffled_grids_equal_all_pairs_with_ties_by_id(n_dims, k, seed, piled):
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(4)] * n_dims), axis=-1).reshape(-1, n_dims)
    spots = np.concatenate([grid, np.repeat(grid[:1], 40, axis=0)]) if piled else grid
    spots = spots[rng.permutation(len(spots))].astype(float)
    found = spatial_knn(spots, k)
    ids, distances = nearest_others(spots, k)
    assert np.array_equal(found.ids, ids)
    assert np.allclose(found.distances, distances)
    assert (found.recall, found.backend) == (1.0, "kdtree")
    assert (found.ids.dtype, found.distances.dtype) == (np.int32, np.float32)


def test_spots_on_a_hexagonal_lattice_find_their_six_neighbours():
    rows, columns = np.divmod(np.arange(400), 20)
    spots = np.c_[columns + 0.5 * (rows % 2), rows * np.sqrt(3) / 2]
    inner = (rows > 0) & (rows < 19) & (columns > 0) & (columns < 19)
    assert np.allclose(spatial_knn(spots, 6).distances[inner], 1)


def test_a_pile_of_thousands_of_spots_never_gives_a_spot_itself():
    spots = np.concatenate([np.zeros((3_000, 2)), np.random.default_rng(0).normal(size=(99, 2))])
    found = spatial_knn(spots, 6)
    assert (found.ids != np.arange(len(spots))[:, None]).all()
    assert (found.distances[:3_000] == 0).all()
    assert np.array_equal(found.ids, spatial_knn(spots, 6).ids)


def test_bad_coordinates_are_refused():
    spots = np.zeros((10, 2))
    with pytest.raises(InputError, match="k must be less"):
        spatial_knn(spots, 10)
    with pytest.raises(InputError, match="two or three columns"):
        spatial_knn(np.zeros((10, 4)), 2)
    spots[4, 0] = np.nan
    with pytest.raises(InputError, match="row 4"):
        spatial_knn(spots, 2)
