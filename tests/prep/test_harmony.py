import numpy as np
import pytest

from scrcl.prep.correction import Correction, joined
from scrcl.prep.harmony import correct_alike, fit_harmony, refit, solve_ridge


def donors(n_cells=1500, n_donors=3, *, shift=3.0, seed=0):
    """Five types in ten dimensions; each donor is shifted, each type of it a little in its own way."""
    rng = np.random.default_rng(seed)
    types, codes = rng.integers(5, size=n_cells), rng.integers(n_donors, size=n_cells)
    means = 10 * rng.normal(size=(5, 10))
    effects = shift * rng.normal(size=(n_donors, 1, 10)) + rng.normal(size=(n_donors, 5, 10))
    points = means[types] + effects[codes, types] + rng.normal(size=(n_cells, 10))
    return points.astype(np.float32), types, codes


def spread(points, types, codes):
    """Distance of the donors' means from the mean of their type."""
    return np.mean([
        np.linalg.norm(points[(types == t) & (codes == c)].mean(0) - points[types == t].mean(0))
        for t in np.unique(types) for c in np.unique(codes)
    ])  # fmt: skip


def blocks(points, codes, rows=400):
    return lambda: ((points[i : i + rows], codes[i : i + rows]) for i in range(0, len(codes), rows))


def ridge_by_least_squares(cells, points, penalties):
    """One cluster at a time, with an intercept and a column for each batch."""
    n_batches, k, d = points.shape
    found = np.zeros((k, n_batches + 1, d))
    for cluster in range(k):
        n = cells[:, cluster]
        left = np.zeros((n_batches + 1, n_batches + 1))
        left[0, 0], left[0, 1:], left[1:, 0] = n.sum(), n, n
        left[1:, 1:] = np.diag(n + penalties[:, cluster])
        right = np.vstack([points[:, cluster].sum(0), points[:, cluster]])
        found[cluster] = np.linalg.solve(left, right)
    return found


def test_the_closed_solution_is_that_of_the_normal_equations():
    rng = np.random.default_rng(0)
    cells, points = rng.uniform(1, 50, size=(4, 6)), rng.normal(size=(4, 6, 3)) * 40
    shares = cells.sum(axis=1, keepdims=True) / cells.sum()
    expected = ridge_by_least_squares(cells, points, 0.2 * shares * cells.sum(axis=0))
    intercepts, shifts = solve_ridge(cells, points)
    np.testing.assert_allclose(intercepts, expected[:, 0], rtol=1e-9)
    np.testing.assert_allclose(shifts, expected[:, 1:].transpose(1, 0, 2), rtol=1e-7, atol=1e-9)


def test_harmony_brings_the_donors_of_a_type_together():
    points, types, codes = donors()
    fit = fit_harmony(points, codes, 3, seed=0)
    # The ridge penalty leaves a sixth of a shift.
    assert spread(fit.corrected, types, codes) < 0.2 * spread(points, types, codes)
    again = fit_harmony(points, codes, 3, seed=0, n_workers=2)
    np.testing.assert_array_equal(fit.corrected, again.corrected)


def test_another_space_of_the_same_cells_is_corrected_in_the_same_soft_clusters():
    points, types, codes = donors()
    fit = fit_harmony(points, codes, 3, seed=0)
    # Donors lie so far apart in the other space that Harmony would start with a cluster for each.
    other = points[:, :6] + 60 * np.eye(3, 6, dtype=np.float32)[codes]
    found = correct_alike(fit.correction, fit.corrected, other, codes)
    assert found.dtype == np.float32
    assert spread(found, types, codes) < 0.2 * spread(other, types, codes)
    alone = np.zeros(len(codes), np.intp)
    same = correct_alike(fit.correction, fit.corrected, other, alone)
    np.testing.assert_allclose(same, other, atol=1e-3)


def test_what_is_streamed_agrees_with_what_is_fitted_within_the_spread_over_seeds():
    points, types, codes = donors(3000)
    fits = [fit_harmony(points, codes, 3, seed=seed).corrected for seed in range(3)]
    part = fit_harmony(points[::3], codes[::3], 3, seed=0)
    whole = refit(part.correction, blocks(points, codes), n_batches=3)
    streamed = whole.corrected(points, codes)
    moved = np.linalg.norm(fits[0] - points)
    between_seeds = max(np.linalg.norm(fits[0] - other) for other in fits[1:])
    assert np.linalg.norm(streamed - fits[0]) < max(2 * between_seeds, 0.01 * moved)
    assert spread(streamed, types, codes) < 0.2 * spread(points, types, codes)


def test_the_size_of_a_block_changes_rounding_alone():
    points, _, codes = donors()
    fitted = fit_harmony(points[:600], codes[:600], 3, seed=0).correction
    found = [refit(fitted, blocks(points, codes, rows), n_batches=3) for rows in (100, 1500)]
    np.testing.assert_allclose(found[0].shifts, found[1].shifts, atol=1e-3)


def test_cells_that_no_other_batch_has_move_with_their_batch():
    points, _, codes = donors()
    correction = fit_harmony(points, codes, 3, seed=0).correction
    alone = np.arange(len(points)) < 50
    moved = points - correction.corrected(points, codes, alone)
    np.testing.assert_allclose(moved[:50], correction.mean_shifts[codes[:50]], atol=1e-4)
    np.testing.assert_allclose(
        points[50:] - moved[50:], correction.corrected(points, codes)[50:], atol=1e-4
    )


def test_a_new_donor_is_moved_to_the_atlas_and_the_atlas_stays():
    points, types, codes = donors(2000, 4)
    old = codes < 3
    fit = fit_harmony(points[old], codes[old], 3, seed=0)
    new = refit(
        fit.correction, blocks(points[~old], codes[~old] - 3), n_batches=1, fixed=True, rounds=3
    )
    both = joined(fit.correction, new)
    assert np.array_equal(both.shifts[:3], fit.correction.shifts)
    placed = both.corrected(points[~old], codes[~old])
    atlas = {t: fit.corrected[types[old] == t].mean(0) for t in range(5)}
    before, after = (
        np.mean([np.linalg.norm(x[types[~old] == t].mean(0) - atlas[t]) for t in range(5)])
        for x in (points[~old], placed)
    )
    assert before > 5
    assert after < 1.5


@pytest.mark.parametrize("sizes", [[1, 200], [5, 3, 1, 150], [2] * 2000])
def test_batches_of_a_few_cells_and_two_thousand_of_them_are_corrected(sizes):
    points, _, _ = donors(sum(sizes))
    codes = np.repeat(np.arange(len(sizes)), sizes)
    fit = fit_harmony(points, codes, len(sizes), seed=0)
    assert np.isfinite(fit.corrected).all()
    assert np.isfinite(fit.correction.corrected(points, codes)).all()


def test_a_correction_is_saved_and_read(tmp_path):
    points, _, codes = donors(300)
    correction = fit_harmony(points, codes, 3, seed=0).correction
    correction.save(tmp_path / "correction.npz")
    read = Correction.load(tmp_path / "correction.npz")
    np.testing.assert_array_equal(
        read.corrected(points, codes), correction.corrected(points, codes)
    )


@pytest.mark.parametrize(("n_cells", "n_centroids"), [(20, 2), (300, 10), (3300, 100)])
def test_a_soft_cluster_has_thirty_cells_and_there_are_two_to_a_hundred(n_cells, n_centroids):
    points, _, codes = donors(n_cells)
    assert len(fit_harmony(points, codes, 3, seed=0).correction.centroids) == n_centroids
