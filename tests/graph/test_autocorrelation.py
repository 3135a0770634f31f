"""Whether anything varies from place to place."""

import numpy as np
import pytest

from scrcl.graph.autocorrelation import autocorrelation
from scrcl.graph.spatial import spatial_knn
from tests.graph.test_lattice import square


@pytest.fixture(scope="module")
def near():
    return spatial_knn(square(n=20), 8).ids


def noise(n=400, d=50, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_cells_at_random_vary_by_chance_alone(near, seed):
    found = autocorrelation(noise(seed=seed), near)
    assert found.is_uniform
    assert abs(found.largest) < 0.1


def test_one_component_in_layers_is_enough(near):
    points = noise()
    points[:, 7] += np.arange(400) // 100
    found = autocorrelation(points, near)
    assert not found.is_uniform
    assert 0.3 < found.largest < 1


def test_moran_is_that_of_its_formula(near):
    points = noise(d=1)
    points[:, 0] += np.arange(400) // 100
    own = points[:, 0] - points[:, 0].mean(dtype=float)
    weights = np.zeros((400, 400))
    weights[np.arange(400)[:, None], near] = 1 / near.shape[1]
    moran = own @ weights @ own / (own @ own)
    assert autocorrelation(points, near).largest == pytest.approx(moran, rel=1e-5)


def test_cells_of_slices_with_any_number_of_neighbours_count_as_in_the_formula():
    rng = np.random.default_rng(0)
    slices = rng.integers(2, size=2500)
    ids = np.full((2500, 4), -1)
    for one in range(2):
        rows = np.flatnonzero(slices == one)
        ids[rows] = rows[(np.arange(len(rows))[:, None] + [-2, -1, 1, 2]) % len(rows)]
    ids[rng.random(ids.shape) < 0.3] = -1
    ids[::10] = -1
    points = (10 + 5 * slices + np.sin(np.arange(2500) / 20) + rng.normal(size=2500))[:, None]
    own = points[:, 0].copy()
    for one in range(2):
        own[slices == one] -= own[slices == one].mean()
    around = [own[near[near >= 0]].mean() if (near >= 0).any() else 0 for near in ids]
    found = autocorrelation(points.astype(np.float32), ids, slices)
    assert found.largest == pytest.approx(own @ around / (own @ own), rel=1e-4)


def test_five_errors_of_independent_pairs_must_be_reached(near):
    # Each of 400 x 8 pairs is counted from both sides.
    assert autocorrelation(noise(), near).least == pytest.approx(5 / np.sqrt(1600))
    some = np.where(np.arange(8) < 2, near, -1)
    assert autocorrelation(noise(), some).least == pytest.approx(5 / np.sqrt(400))


def test_differences_between_slices_do_not_count(near):
    both = np.concatenate([near, near + 400])
    slices = np.repeat([0, 1], 400)
    points = noise(800) + 5 * slices[:, None].astype(np.float32)
    assert autocorrelation(points, both, slices).is_uniform
    assert not autocorrelation(points, both).is_uniform


def test_cells_without_neighbours_count_as_nothing():
    assert autocorrelation(noise(3), np.full((3, 4), -1)).is_uniform
