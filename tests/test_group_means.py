import numpy as np

from scrcl._group_means import group_means


def test_means_are_those_of_each_group_and_0_without_rows():
    rng = np.random.default_rng(0)
    rows, groups = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 4, 40)
    found = group_means(rows, groups, 6)
    for group in range(4):
        expected = rows[groups == group].mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(found[group], expected, rtol=1e-12)
    assert found.dtype == np.float64
    assert not found[4:].any()
