from __future__ import annotations

import numpy as np
import pytest

from scrcl.graph.centroids import CentroidSearch
from scrcl.graph.divide import partition


def search_of(rng, far):
    """Return a search of 1,667 centroids, and these."""
    types = 3 * rng.normal(size=(12, 8))
    points = types[rng.integers(12, size=20_000)] + rng.normal(size=(20_000, 8)) + far
    lists = partition(points.astype(np.float32), list_rows=12, seed=0)
    return CentroidSearch(lists.centroids, lists.groups), lists.centroids


@pytest.mark.parametrize("n", [1, 100])
@pytest.mark.parametrize("far", [0.0, 1e4])
def test_nearly_all_of_the_nearest_centroids_are_found(n, far):
    rng = np.random.default_rng(0)
    search, centroids = search_of(rng, far)
    queries = centroids[rng.integers(len(centroids), size=300)]
    queries = queries + rng.normal(size=queries.shape).astype(np.float32)
    found = search.nearest_lists(queries - search.centre, n)
    away = np.square(queries[:, None] - centroids[None]).sum(axis=2)
    true = np.argsort(away, axis=1)[:, :n]
    shares = [len(set(a) & set(b)) / n for a, b in zip(found, true, strict=True)]
    assert np.mean(shares) > 0.98
    # Of each query the nearest come first.
    distances = np.take_along_axis(away, found, 1)
    assert (np.diff(distances, axis=1) > -1e-2 * (1 + far / 1e3)).all()


def test_missing_centroids_are_negative():
    search = CentroidSearch(np.eye(3, dtype=np.float32), np.array([0, 2, 3]))
    found = search.nearest_lists(np.zeros((1, 3), np.float32), 5)
    assert sorted(found[0]) == [-1, -1, 0, 1, 2]
    assert found[0, 3:].tolist() == [-1, -1]
