"""What a correction does to cells, against its definition cell by cell."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from scrcl.prep.correction import Correction, by_batch, joined, soft_clusters
from scrcl.prep.harmony import correct_alike, refit, solve_ridge

K, N_BATCHES, N_DIMS, N_CELLS = 4, 3, 5, 60
WIDTH = 0.1


def soft(points, centroids):
    """Harmony's soft clusters: by the cosine to each centroid."""
    cosines = points @ centroids.T / np.linalg.norm(points, axis=1, keepdims=True)
    return softmax(-2 * (1 - cosines) / WIDTH, axis=1)


@pytest.fixture
def correction():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(K, N_DIMS)) * 4
    return Correction.around(rng.uniform(1, 9, K), means, rng.normal(size=(N_BATCHES, K, N_DIMS)))


@pytest.fixture
def cells():
    rng = np.random.default_rng(1)
    return rng.normal(size=(N_CELLS, N_DIMS)).astype(np.float32), rng.integers(
        N_BATCHES, size=N_CELLS
    )


def weights_of(correction, point, batch):
    """Soft clusters are found among corrected cells, so both are computed in turn, three times."""
    placed = point - correction.mean_shifts[batch]
    for _ in range(3):
        weights = soft(placed[None], correction.centroids)[0]
        placed = point - weights @ correction.shifts[batch]
    return weights


def test_soft_clusters_are_shares_by_the_angle(correction, cells):
    points = cells[0] * np.linspace(0.01, 50, N_CELLS, dtype=np.float32)[:, None]
    found = soft_clusters(points, correction.centroids)
    np.testing.assert_allclose(found, soft(points, correction.centroids), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    nowhere = soft_clusters(np.zeros((1, N_DIMS), np.float32), correction.centroids)
    np.testing.assert_allclose(nowhere, 1 / K, atol=1e-6)


def test_a_correction_around_means_has_unit_centroids_and_the_mean_shift_of_its_cells():
    sizes, means = np.array([3.0, 1]), np.array([[3.0, 4], [0, -2]])
    shifts = np.array([[[4.0, 0], [0, 4]], [[1, 1], [1, 1]]])
    found = Correction.around(sizes, means, shifts)
    np.testing.assert_allclose(found.centroids, [[0.6, 0.8], [0, -1]], atol=1e-7)
    np.testing.assert_allclose(found.intercepts, means)
    np.testing.assert_allclose(found.mean_shifts, [[3, 1], [1, 1]])
    at_zero = Correction.around(np.ones(1), np.zeros((1, 2)), np.zeros((1, 1, 2)))
    assert not at_zero.centroids.any()


def test_each_cell_is_shifted_by_its_batch_and_its_soft_clusters(correction, cells):
    points, codes = cells
    found = correction.corrected(points, codes)
    for cell, (point, batch) in enumerate(zip(points, codes, strict=True)):
        weights = weights_of(correction, point, batch)
        np.testing.assert_allclose(
            correction.weights(points[cell : cell + 1], batch)[0], weights, atol=1e-4
        )
        np.testing.assert_allclose(
            found[cell], point - weights @ correction.shifts[batch], atol=1e-3
        )
    alone = np.arange(N_CELLS) % 2 == 0
    some = correction.corrected(points, codes, alone)
    np.testing.assert_allclose(
        some[alone], (points - correction.mean_shifts[codes])[alone], atol=1e-5
    )
    np.testing.assert_allclose(some[~alone], found[~alone], atol=1e-5)


def test_points_that_lie_elsewhere_are_corrected_to_the_same_place(correction, cells):
    points, codes = cells
    away = np.random.default_rng(2).normal(size=(N_BATCHES, N_DIMS)).astype(np.float32)
    moved = correction.moved(away).corrected(points + away[codes], codes)
    np.testing.assert_allclose(moved, correction.corrected(points, codes), atol=1e-4)


def test_batches_of_two_corrections_are_numbered_one_after_the_other(correction, cells):
    points, codes = cells
    both = joined(correction, correction.moved(np.ones((N_BATCHES, N_DIMS))))
    np.testing.assert_array_equal(
        both.corrected(points, codes), correction.corrected(points, codes)
    )
    np.testing.assert_allclose(
        both.corrected(points + 1, codes + N_BATCHES),
        correction.corrected(points, codes),
        atol=1e-4,
    )


def sums_of(weights, points, codes, n_batches=N_BATCHES):
    cells, sums = np.zeros((n_batches, K)), np.zeros((n_batches, K, points.shape[1]))
    for weight, point, batch in zip(weights, points, codes, strict=True):
        cells[batch] += weight
        sums[batch] += weight[:, None] * point
    return cells, sums


@pytest.mark.parametrize("rows", [7, N_CELLS])
def test_shifts_are_fitted_to_the_soft_clusters_of_all_cells(correction, cells, rows):
    points, codes = cells
    weights = [weights_of(correction, *each) for each in zip(points, codes, strict=True)]
    sizes, sums = sums_of(weights, points, codes)
    intercepts, shifts = solve_ridge(sizes, sums)
    found = refit(
        correction,
        lambda: ((points[at : at + rows], codes[at : at + rows]) for at in range(0, N_CELLS, rows)),
        n_batches=N_BATCHES,
    )
    np.testing.assert_allclose(found.intercepts, intercepts, atol=2e-3)
    np.testing.assert_allclose(found.shifts, shifts, atol=2e-3)
    means = np.stack([np.average(shifts[b], axis=0, weights=sizes[b]) for b in range(N_BATCHES)])
    np.testing.assert_allclose(found.mean_shifts, means, atol=2e-3)
    np.testing.assert_array_equal(found.centroids, correction.centroids)


def test_unknown_batches_start_without_a_shift_or_where_they_are_said_to(correction, cells):
    points, codes = cells[0], np.zeros(N_CELLS, int)
    starts = np.full((1, N_DIMS), 0.5)
    for first in (None, starts):
        begun = np.zeros((1, N_DIMS)) if first is None else first
        placed = Correction(
            correction.centroids,
            correction.intercepts,
            np.repeat(begun[:, None], K, axis=1).astype(np.float32),
            begun.astype(np.float32),
        )
        weights = [weights_of(placed, point, 0) for point in points]
        sizes, sums = sums_of(weights, points, codes, 1)
        for fixed in (False, True):
            found = refit(
                correction, lambda: [(points, codes)], n_batches=1, fixed=fixed, starts=first
            )
            means = correction.intercepts if fixed else None
            expected = solve_ridge(sizes, sums, means)
            np.testing.assert_allclose(found.intercepts, expected[0], atol=2e-3)
            np.testing.assert_allclose(found.shifts, expected[1], atol=2e-3)


def test_new_batches_as_many_as_the_known_ones_do_not_start_at_their_shifts(correction, cells):
    none = replace(
        correction,
        shifts=np.zeros_like(correction.shifts),
        mean_shifts=np.zeros_like(correction.mean_shifts),
    )
    found, expected = (
        refit(each, lambda: [cells], n_batches=N_BATCHES, fixed=True) for each in (correction, none)
    )
    np.testing.assert_array_equal(found.shifts, expected.shifts)


def test_another_space_is_corrected_by_the_ridge_in_the_same_clusters(correction, cells):
    points, codes = cells
    other = np.random.default_rng(3).normal(size=(N_CELLS, 3)).astype(np.float32)
    weights = soft(points, correction.centroids)
    shifts = solve_ridge(*sums_of(weights, other, codes))[1]
    expected = [x - w @ shifts[b] for x, w, b in zip(other, weights, codes, strict=True)]
    np.testing.assert_allclose(correct_alike(correction, points, other, codes), expected, atol=1e-3)


def test_bits_do_not_depend_on_the_threads_of_the_process():
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    points = rng.normal(size=(6000, N_DIMS)).astype(np.float32)
    other, codes = rng.normal(size=(6000, 30)).astype(np.float32), np.arange(6000) % 2
    correction = Correction.around(
        np.ones(100), rng.normal(size=(100, N_DIMS)), np.zeros((2, 100, N_DIMS))
    )
    found = []
    for limit in (1, 2):
        with threadpool_limits(limit):
            found.append(correct_alike(correction, points, other, codes))
    np.testing.assert_array_equal(*found)


def test_batches_without_rows_are_passed_over():
    found = {batch: rows.tolist() for batch, rows in by_batch(np.array([3, 1, 3, 1, 1]))}
    assert found == {1: [1, 3, 4], 3: [0, 2]}


def test_rows_of_a_batch_stay_in_order():
    codes = np.random.default_rng(0).integers(3, size=2000)
    for batch, rows in by_batch(codes):
        np.testing.assert_array_equal(rows, np.flatnonzero(codes == batch))
