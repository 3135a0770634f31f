from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl.graph import exact
from scrcl.graph.exact import ExactSearcher, nearest
from scrcl.graph.products import half_norms, least_products, squared_distances, visits_of
from scrcl.graph.ranked import sort_by_distance


def all_pairs(queries, base):
    return ((queries[:, None].astype(np.float64) - base[None]) ** 2).sum(axis=2)


@settings(max_examples=40)
@given(
    n=st.integers(1, 90),
    n_dims=st.integers(1, 8),
    k=st.integers(1, 12),
    seed=st.integers(0, 10_000),
    far=st.sampled_from([0, 1_000]),
    levels=st.integers(1, 4),
)
def test_exact_neighbours_equal_those_of_all_pairs_with_ties_by_id(n, n_dims, k, seed, far, levels):
    rng = np.random.default_rng(seed)
    base = (rng.integers(0, levels, size=(n, n_dims)) + far).astype(np.float32)
    queries = (rng.integers(0, levels, size=(7, n_dims)) + far).astype(np.float32)
    ids, squared = ExactSearcher(base).search(queries, k)
    away = all_pairs(queries, base)
    wanted = np.argsort(away, axis=1, kind="stable")[:, :k]
    assert np.array_equal(ids, wanted)
    assert np.allclose(squared, np.take_along_axis(away, wanted, axis=1))


@pytest.mark.parametrize("block_rows", [65_536, 1_000])
def test_only_doubtful_queries_are_searched_pair_by_pair(block_rows, monkeypatch):
    monkeypatch.setattr(exact, "_BASE_ROWS", block_rows)
    asked = []

    def pairwise(queries, points, k):
        asked.append(len(queries))
        return real(queries, points, k)

    real = exact.pairwise
    monkeypatch.setattr(exact, "pairwise", pairwise)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3_000, 20)).astype(np.float32)
    ExactSearcher(points).search(points[:500], 10)
    assert asked == []
    points[-1] = 1e4  # one distant point must not make the others doubtful
    ExactSearcher(points).search(points[:500], 10)
    assert asked == []
    points[:40] = points[0]  # more equal points than spare candidates
    ids, squared = ExactSearcher(points).search(points[:500], 10)
    (n_asked,) = asked
    assert 40 <= n_asked < 100  # the equal ones, and those near to them
    assert np.array_equal(ids[:40], np.tile(np.arange(10), (40, 1)))
    assert (squared[:40] == 0).all()


def test_nearly_equal_points_far_from_the_origin_are_distinguished():
    rng = np.random.default_rng(0)
    base = (1e4 + rng.normal(size=(2_000, 10))).astype(np.float32)
    away = all_pairs(base[:100], base)
    ids, _ = ExactSearcher(base).search(base[:100], 5)
    assert np.array_equal(ids, np.argsort(away, axis=1, kind="stable")[:, :5])


def test_of_equally_near_centroids_the_first_is_returned():
    base = np.array([[0.0], [2.0], [2.0]], np.float32)
    ids, squared = nearest(np.array([[1.0], [3.0]], np.float32), base)
    assert ids.tolist() == [0, 1]
    assert squared.tolist() == [1, 1]


@settings(max_examples=30)
@given(st.integers(1, 300), st.integers(1, 4), st.integers(1, 9), st.integers(0, 1_000))
def test_each_query_searches_only_the_lists_that_it_visits(n, n_visits, k, seed):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(n, 5)).astype(np.float32)
    queries = rng.normal(size=(40, 5)).astype(np.float32)
    starts = np.sort(np.concatenate([[0, n], rng.integers(0, n + 1, 4)])).astype(np.int64)
    lists = np.array([rng.choice(5, n_visits, replace=False) for _ in queries])
    visitors, visits = visits_of(lists, 5)
    found = least_products(
        queries, base, half_norms(base), k, starts=starts, visitors=visitors, visits=visits
    )
    away = all_pairs(queries, base)
    for query, visited in enumerate(lists):
        seen = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in visited])
        wanted = seen[np.argsort(away[query, seen], kind="stable")][:k]
        rows = found.rows[query]
        assert rows[rows >= 0].tolist() == wanted.tolist()
        assert np.isinf(found.values[query, len(wanted) :]).all()
        assert np.allclose(
            squared_distances(queries[[query]], base, found.rows[[query]])[0, : len(wanted)],
            away[query, wanted],
            rtol=1e-4,
        )


@pytest.mark.parametrize("k", [1, 5, 40])
def test_rows_are_sorted_by_distance_then_id(k):
    rng = np.random.default_rng(k)
    ids = np.array([rng.permutation(100)[:k] for _ in range(50)])
    squared = rng.integers(0, 4, size=(50, k)).astype(np.float32)
    order = np.lexsort((ids, squared), axis=-1)
    found = sort_by_distance(ids, squared)
    assert np.array_equal(found[0], np.take_along_axis(ids, order, 1))
    assert np.array_equal(found[1], np.take_along_axis(squared, order, 1))
