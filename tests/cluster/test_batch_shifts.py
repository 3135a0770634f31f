import time

import numpy as np
import pytest

from scrcl.cluster.batch_shifts import _Clusters, _solved, _solved_without, match_clusters
from scrcl.cluster.counterparts import clusters_of_batches

DIMS = 20


def far_apart(types_of_batches, *, effect=30.0, seed=0):
    """Cells of given numbers of types in each batch, each batch shifted by far more than types differ."""
    rng = np.random.default_rng(seed)
    n_types = max(map(len, types_of_batches))
    types = np.concatenate([np.repeat(np.arange(len(sizes)), sizes) for sizes in types_of_batches])
    codes = np.repeat(np.arange(len(types_of_batches)), [sum(each) for each in types_of_batches])
    centres = 4 * rng.normal(size=(n_types, DIMS))
    shifts = effect * rng.normal(size=(len(types_of_batches), DIMS))
    points = centres[types] + shifts[codes] + rng.normal(size=(len(types), DIMS))
    return points.astype(np.float32), codes, shifts


def test_batches_of_the_same_types_agree_and_uneven_shares_do_not_move_them():
    points, codes, shifts = far_apart([[200, 100, 50, 50], [50, 50, 100, 200]])
    found = match_clusters(points, codes, int(codes.max()) + 1, seed=0)
    assert found.agreement > 0.9
    solved = found.shifts(points)
    apart = np.linalg.norm((solved[1] - solved[0]) - (shifts[1] - shifts[0]))
    means = [points[codes == batch].mean(axis=0) for batch in (0, 1)]
    apart_by_means = np.linalg.norm((means[1] - means[0]) - (shifts[1] - shifts[0]))
    assert apart < 0.1 * apart_by_means
    np.testing.assert_allclose(np.average(solved, axis=0, weights=np.bincount(codes)), 0, atol=1e-4)
    # The same clusters give the shifts in another space of the cells.
    np.testing.assert_allclose(found.shifts(2 * points[:, :5]), 2 * solved[:, :5], rtol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_batches_of_other_types_do_not_agree(seed):
    points, codes, _ = far_apart(
        [[100, 100, 100, 100, 0, 0, 0, 0], [0, 0, 0, 0, 100, 100, 100, 100]], seed=seed
    )
    assert match_clusters(points, codes, int(codes.max()) + 1, seed=0).agreement < 0.4


def test_one_match_shows_nothing_since_a_shift_makes_any_two_clusters_coincide():
    points, codes, _ = far_apart([[200], [200]])
    assert match_clusters(points, codes, int(codes.max()) + 1, seed=0).agreement == pytest.approx(
        0, abs=0.05
    )


def test_a_batch_without_a_match_is_shifted_by_its_mean():
    points, codes, _ = far_apart([[100, 100, 100], [100, 100, 100], [5, 0, 0]])
    found = match_clusters(points, codes, int(codes.max()) + 1, seed=0)
    means = np.stack([points[codes == batch].mean(axis=0) for batch in range(3)])
    solved = found.shifts(points)
    np.testing.assert_allclose(
        solved[2] - solved[:2].mean(axis=0), means[2] - means[:2].mean(axis=0), atol=1.0
    )


def test_the_shifts_without_one_match_are_those_of_all_others():
    points, codes, _ = far_apart([[60, 50, 40], [40, 60, 0], [0, 50, 60], [5, 0, 0]])
    labels, batches = clusters_of_batches(points, codes, 0)
    clusters = _Clusters.of(points, labels, batches, 4)
    pairs = match_clusters(points, codes, 4, seed=0).pairs
    assert len(pairs) >= 4
    found = _solved_without(clusters, pairs)
    for number, pair in enumerate(pairs):
        others = _solved(clusters, np.delete(pairs, number, axis=0))
        for one, shifts in zip(pair, found, strict=True):
            np.testing.assert_allclose(shifts[number], others[batches[one]], rtol=1e-6, atol=1e-6)


def test_a_hundred_batches_take_seconds():
    points, codes, _ = far_apart([[30, 30, 30, 30]] * 100)
    before = time.perf_counter()
    assert match_clusters(points, codes, 100, seed=0).agreement > 0.9
    assert time.perf_counter() - before < 60
