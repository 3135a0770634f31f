"""The depth of a valley, against kernel densities that are summed cell by cell."""

import numpy as np
import pytest
from scipy.stats import norm

from scrcl.cluster import valley
from scrcl.cluster.valley import valley_depth


def normal(n, *, at=0.0, n_dims=10, seed=0):
    points = np.random.default_rng(seed).normal(size=(n, n_dims))
    points[:, 0] += at
    return points.astype(np.float32)


def silverman(values):
    """The textbook's width of a kernel: robust against tails."""
    quarter, three_quarters = np.quantile(values, [0.25, 0.75])
    deviation = min(np.std(values), (three_quarters - quarter) / 1.34)
    return 0.9 * deviation * len(values) ** (-1 / 5)


def depth_on_axis(a, b, share_a, share_b):
    medians = np.median(b), np.median(a)
    if medians[0] >= medians[1]:
        return 0.0
    at = np.linspace(*medians, 400)[:, None]
    density = sum(
        norm.pdf(at, values, silverman(values)).sum(axis=1) / share
        for values, share in ((a, share_a), (b, share_b))
    )
    return 1 - density.min() / min(density[0], density[-1])


def naive_depth(a, b, share_a=1.0, share_b=1.0):
    depths = []
    for half in (0, 1):
        axis_a, axis_b, held_a, held_b = a[half::2], b[half::2], a[1 - half :: 2], b[1 - half :: 2]
        away = np.concatenate([axis_a - axis_a.mean(axis=0), axis_b - axis_b.mean(axis=0)])
        within = np.cov(away.T, bias=True).reshape(a.shape[1], a.shape[1])
        within += valley._RIDGE * np.diag(within).mean() * np.eye(a.shape[1])
        axis = np.linalg.inv(within) @ (axis_a.mean(axis=0) - axis_b.mean(axis=0))
        depths.append(depth_on_axis(held_a @ axis, held_b @ axis, share_a, share_b))
    return np.mean(depths)


@pytest.mark.parametrize("shares", [(1, 1), (0.1, 1), (1, 0.25)])
@pytest.mark.parametrize("tails", [False, True])
@pytest.mark.parametrize(
    ("n_a", "n_b", "at"), [(400, 300, 4), (41, 60, 3.5), (300, 90, 3), (90, 9, 8)]
)
def test_the_depth_is_that_of_kernel_densities(n_a, n_b, at, tails, shares):
    rng = np.random.default_rng(n_a)
    a, b = normal(n_a, at=at, n_dims=4), normal(n_b, n_dims=4, seed=1)
    if tails:  # mean and median, deviation and quartiles differ
        a, b = (x + (rng.random((len(x), 1)) < 0.15) * rng.exponential(6, x.shape) for x in (a, b))
    found = valley_depth(a, b, share_a=shares[0], share_b=shares[1])
    assert found == pytest.approx(naive_depth(a, b, *shares), abs=0.02)


def test_the_axis_is_the_one_that_separates_best_and_not_that_of_the_means():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(600, 2)) * [2, 0.3] @ [[1, 1], [1, -1]]
    a, b = noise[:300] + np.array([3, 0]), noise[300:]
    along_means = valley_depth(a[:, :1], b[:, :1])
    assert valley_depth(a, b) > 0.8 > 0.3 > along_means


def test_turned_moved_and_scaled_cells_have_the_same_depth():
    a, b = normal(200, at=4, n_dims=5).astype(float), normal(150, n_dims=5, seed=1).astype(float)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    expected = valley_depth(a, b)
    assert 0.3 < expected < 0.9
    assert valley_depth(7 * a @ turn + 30, 7 * b @ turn + 30) == pytest.approx(expected, abs=1e-6)
    assert valley_depth(b, a) == pytest.approx(expected, abs=0.02)


def test_both_halves_of_the_cells_count_alike():
    a, b = normal(101, at=3)[:100], normal(80, seed=1)
    swapped = [x.reshape(-1, 2, 10)[:, ::-1].reshape(-1, 10) for x in (a, b)]
    assert valley_depth(*swapped) == pytest.approx(valley_depth(a, b), abs=1e-12)


def test_two_types_have_a_valley_and_two_halves_of_one_have_none():
    assert valley_depth(normal(300), normal(300, at=6, seed=1)) > 0.9
    whole = normal(600)
    left = whole[:, 0] < 0
    assert valley_depth(whole[left], whole[~left]) < 0.1


def test_noise_in_many_dimensions_shows_no_valley():
    # On the cells that an axis was found on, any two groups are apart.
    pairs = [(normal(40, n_dims=30, seed=s), normal(40, n_dims=30, seed=s + 50)) for s in range(20)]
    assert np.mean([valley_depth(a, b) for a, b in pairs]) < 0.2


def test_the_share_of_the_drawn_cells_counts():
    # A small type at the flank of a large one: without the true sizes, the flank would seem lower than it is.
    large, small = normal(2000, at=0), normal(60, at=2.4, seed=1)
    drawn = valley_depth(large[:200], small, share_a=0.1)
    assert drawn == pytest.approx(valley_depth(large, small), abs=0.25)
    assert valley_depth(large[:200], small) > drawn


@pytest.mark.parametrize(("n", "is_enough"), [(1, False), (3, False), (4, True)])
def test_fewer_than_four_cells_have_no_depth(n, is_enough):
    assert np.isfinite(valley_depth(normal(100), normal(n, at=9))) == is_enough
    assert np.isfinite(valley_depth(normal(n), normal(100, at=9))) == is_enough


def test_equal_cells_have_no_valley():
    assert valley_depth(np.zeros((20, 3)), np.zeros((20, 3))) == 0


def test_cells_at_two_points_have_the_deepest_valley():
    assert valley_depth(np.ones((20, 3)), np.zeros((20, 3))) == pytest.approx(1)
