"""k-means++ against scikit-learn's."""

import numpy as np
import pytest
from sklearn.cluster import kmeans_plusplus

from scrcl._threads import one_blas_thread
from scrcl.graph.plus_plus import plus_plus

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("n", "n_dims", "k"), [(5, 1, 1), (50, 5, 50), (300, 3, 20), (9_000, 70, 40), (40, 3_000, 6)]
)
def test_the_centroids_are_those_of_scikit_learn(n, n_dims, k):
    points = (RNG.normal(size=(n, n_dims)) * RNG.gamma(1, size=n_dims)).astype(np.float32)
    points[n // 2 :] = points[: n - n // 2]  # equal points
    with one_blas_thread():
        theirs, _ = kmeans_plusplus(points, k, random_state=3)
        found = plus_plus(points, k, seed=3)
    assert found.dtype == np.float32
    assert np.array_equal(found, theirs)
