"""Groups that lie on top of each other, and groups that merely mix."""

import numpy as np
import pytest

from scrcl.graph.overlap import lie_on_top, share_places
from scrcl.graph.spatial import spatial_knn


def sheet(seed, n=20):
    """Cells that take up room: a jittered lattice at an angle of its own."""
    rng = np.random.default_rng(seed)
    points = np.stack(np.meshgrid(np.arange(n), np.arange(n)), axis=-1).reshape(-1, 2) - n / 2
    turn = np.array([[np.cos(seed), -np.sin(seed)], [np.sin(seed), np.cos(seed)]])
    return (points + rng.uniform(-0.2, 0.2, points.shape)) @ turn


def on_top(points, codes):
    return lie_on_top(spatial_knn(points, 12).ids, np.arange(len(points)), np.asarray(codes))


def test_slices_in_one_place_lie_on_top_of_each_other_and_those_in_places_of_their_own_do_not():
    slices = [sheet(seed) for seed in (1, 2, 3)]
    codes = np.repeat(np.arange(3), 400)
    assert on_top(np.concatenate(slices), codes)
    assert on_top(np.concatenate([slices[0]] * 3), codes)  # the same spots, as on a slide
    assert not on_top(np.concatenate([s + 100 * i for i, s in enumerate(slices)]), codes)


@pytest.mark.parametrize("seed", range(3))
def test_groups_that_mix_in_one_slice_or_keep_to_parts_of_it_do_not_lie_on_top(seed):
    points = sheet(seed)
    assert not on_top(points, np.random.default_rng(seed).integers(0, 3, len(points)))
    assert not on_top(points, points[:, 0] // 3)


def shared(points, codes):
    codes = np.asarray(codes)
    return share_places(spatial_knn(points, 12).ids, np.arange(len(points)), codes)


@pytest.mark.parametrize("seed", range(3))
def test_scattered_cells_of_slices_share_places_where_they_overlap_but_not_at_borders(seed):
    rng = np.random.default_rng(seed)
    slices = [rng.uniform(0, 10, (150, 2)) for _ in range(3)]
    codes = np.repeat(np.arange(3), 150)
    assert not on_top(np.concatenate(slices), codes)
    assert shared(np.concatenate(slices), codes)
    to_the_right = np.stack([codes, np.zeros(450)], axis=1)
    assert shared(np.concatenate(slices) + 3 * to_the_right, codes)
    assert not shared(np.concatenate(slices) + 10 * to_the_right, codes)
    assert not shared(slices[0], np.zeros(150, int))


def test_cells_without_a_near_cell_show_nothing():
    assert not lie_on_top(np.full((4, 3), -1), np.arange(4), np.arange(4))
    assert not share_places(np.full((4, 3), -1), np.arange(4), np.arange(4))


def test_missing_neighbours_are_of_no_group():
    slices, codes = [sheet(seed) for seed in (1, 2, 3)], np.repeat(np.arange(3), 400)
    cells = np.arange(1200)
    ids = spatial_knn(np.concatenate(slices), 12).ids
    ids[:, 1:6] = -1
    assert lie_on_top(ids, cells, codes)
    apart = spatial_knn(np.concatenate([s + 100 * i for i, s in enumerate(slices)]), 12).ids
    apart[:, 1:] = -1
    assert not share_places(apart, cells, codes)


def test_a_small_group_has_as_few_cells_around_it_as_chance_gives():
    rng = np.random.default_rng(0)
    assert shared(rng.uniform(0, 10, (600, 2)), rng.random(600) < 0.05)


@pytest.mark.parametrize("seed", range(10))
def test_a_dozen_cells_at_random_show_nothing(seed):
    rng = np.random.default_rng(seed)
    assert not on_top(rng.uniform(size=(14, 2)), rng.integers(2, size=14))
