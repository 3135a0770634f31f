import numpy as np

from scrcl.cluster.counterparts import find_counterparts


def shifted(n_cells=1200, *, alone=(), seed=0):
    """Six types and three batches, each shifted; a type in ``alone`` is in one batch only."""
    rng = np.random.default_rng(seed)
    types, codes = rng.integers(6, size=n_cells), rng.integers(3, size=n_cells)
    for type_, batch in alone:
        codes[types == type_] = batch
    points = 12 * rng.normal(size=(6, 10))[types] + 2 * rng.normal(size=(3, 10))[codes]
    return (points + rng.normal(size=(n_cells, 10))).astype(np.float32), types, codes


def test_types_that_all_batches_have_are_not_alone():
    points, _, codes = shifted()
    assert not find_counterparts(points, codes, seed=0).alone(points, codes).any()


def test_types_of_one_batch_are_found():
    points, types, codes = shifted(alone=[(1, 0), (4, 2)])
    found = find_counterparts(points, codes, seed=0).alone(points, codes)
    assert found[np.isin(types, [1, 4])].mean() > 0.97
    assert found[~np.isin(types, [1, 4])].mean() < 0.01


def test_small_batches_are_not_judged():
    points, _, codes = shifted()
    points[:6], codes[:6] = 80, 3
    assert not find_counterparts(points, codes, seed=0).alone(points, codes).any()
