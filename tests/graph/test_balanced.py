from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl.errors import InputError
from scrcl.graph.backends import make_searcher
from scrcl.graph.balanced import balanced_knn, cross_share, neighbors_per_batch
from scrcl.graph.csr import symmetric_graph
from scrcl.graph.exact import ExactSearcher
from scrcl.graph.knn import knn
from scrcl.graph.searcher import SearchTask
from tests.reference_graph import adjacency, balanced_neighbours


def exact(points, codes, k, **how):
    how = {"make_searcher": ExactSearcher, "make_exact": ExactSearcher, "seed": 0, **how}
    return balanced_knn(points, np.asarray(codes), k, **how)


def by_lists(backend="partitioned", k=15, seed=0):
    return partial(make_searcher, backend, task=SearchTask(k=k, seed=seed))


@settings(max_examples=60)
@given(
    n=st.integers(2, 60),
    n_dims=st.integers(1, 3),
    k=st.integers(1, 12),
    n_batches=st.integers(1, 8),
    backend=st.sampled_from(["exact", "ivf", "partitioned"]),
    seed=st.integers(0, 10_000),
)
def test_each_batch_gives_its_nearest_points_of_all_pairs(n, n_dims, k, n_batches, backend, seed):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 4, size=(n, n_dims)).astype(np.float32)
    codes = 3 * rng.integers(0, n_batches, size=n)
    # Such small batches are one list, which is searched whole.
    how = {} if backend == "exact" else {"make_searcher": by_lists(backend)}
    found = exact(points, codes, k, block_rows=7, **how)
    share = neighbors_per_batch(k, len(set(codes)))
    ids, distances = balanced_neighbours(points, codes, share)
    if backend != "partitioned":  # its ids among ties may be others
        assert np.array_equal(found.ids, ids)
    assert np.allclose(found.distances, distances)
    assert (found.recall, found.backend) == (1.0, f"balanced {backend}")
    assert (found.ids.dtype, found.distances.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize(
    ("k", "n_batches", "share"),
    [(15, 1, 15), (15, 2, 8), (15, 4, 4), (15, 10, 2), (15, 11, 1), (15, 90, 1), (1, 2, 1)],
)
def test_the_share_of_each_batch_is_rounded(k, n_batches, share):
    assert neighbors_per_batch(k, n_batches) == share


def two_batches(n, shift):
    """Four types of cells in two batches, with ``shift`` between the batches."""
    rng = np.random.default_rng(0)
    codes, types = rng.integers(0, 2, n), rng.integers(0, 4, n)
    centres = rng.normal(scale=6, size=(4, 10))
    points = centres[types] + rng.normal(size=(n, 10)) + shift * codes[:, None]
    return points.astype(np.float32), codes, types


def test_distant_batches_are_connected_within_types():
    points, codes, types = two_batches(2_000, shift=8.0)
    apart = symmetric_graph(knn(points, 15, seed=0).ids)
    joined = symmetric_graph(exact(points, codes, 15).ids)
    assert cross_share(apart, codes) < 0.001
    # Half the neighbours of a cell are from the other batch; in the union, hubs count more often.
    assert 0.5 <= cross_share(joined, codes) < 0.75
    dense = adjacency(exact(points, codes, 15).ids)
    mine = types[:, None] == types[None, :]
    across = codes[:, None] != codes[None, :]
    assert dense[mine & across].sum() > 0.6 * dense[across].sum()


def test_the_share_of_edges_between_batches_is_counted_in_blocks(monkeypatch):
    points, codes, _ = two_batches(300, shift=0.5)
    graph = symmetric_graph(knn(points, 5, seed=0).ids)
    monkeypatch.setattr("scrcl.graph.csr.BLOCK_ENTRIES", 7)
    dense = adjacency(knn(points, 5, seed=0).ids)
    expected = dense[codes[:, None] != codes[None, :]].sum() / dense.sum()
    assert cross_share(graph, codes) == pytest.approx(expected)


def test_a_search_is_widened_until_each_batch_reaches_the_recall():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(6_000, 8)).astype(np.float32)
    codes = rng.choice(3, size=6_000, p=[0.7, 0.29, 0.01])
    found = exact(points, codes, 15, make_searcher=by_lists(), recall=0.9)
    truth = exact(points, codes, 15)
    assert found.backend == "balanced partitioned"
    assert 0.9 <= found.recall < 1
    for batch in range(3):
        mine = codes[truth.ids] == batch
        hits = [np.isin(t[m], f).mean() for t, f, m in zip(truth.ids, found.ids, mine, strict=True)]
        assert np.mean(hits) > 0.88
    again = exact(points, codes, 15, make_searcher=by_lists(), recall=0.9, block_rows=999)
    assert np.array_equal(found.ids, again.ids)
    assert np.array_equal(found.distances, again.distances)


def test_progress_counts_each_point_once_per_batch():
    points, codes, _ = two_batches(300, shift=0)
    seen = []
    exact(points, codes, 5, on_rows=seen.append, block_rows=50)
    assert sum(seen) == 600


def test_a_point_with_thousands_of_equals_is_never_its_own_neighbour():
    points = np.concatenate([np.ones((3_000, 4)), np.zeros((50, 4))]).astype(np.float32)
    codes = np.arange(3_050) % 2
    for make in (ExactSearcher, by_lists()):
        found = exact(points, codes, 6, make_searcher=make)
        assert (found.ids != np.arange(3_050)[:, None]).all()
        assert all(len(set(row)) == 6 for row in found.ids.tolist())
        assert ((codes[found.ids] == 0).sum(axis=1) == 3).all()


def test_too_many_batches_too_few_points_and_bad_values_are_refused():
    points = np.zeros((201, 2), np.float32)
    with pytest.raises(InputError, match=r"200 .*201"):
        exact(points, np.arange(201), 5)
    assert exact(points[:200], np.arange(200), 5).ids.shape == (200, 200)
    with pytest.raises(InputError, match=r"k must .*0"):
        exact(points, np.zeros(201, int), 0)
    with pytest.raises(InputError, match=r"points must .*1"):
        exact(points[:1], [0], 1)
    points[4, 0] = np.nan
    with pytest.raises(InputError, match="row 4"):
        exact(points, np.zeros(201, int), 2)
