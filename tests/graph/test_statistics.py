from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from scipy.stats import skew

from scrcl.graph.csr import Graph, symmetric_graph
from scrcl.graph.statistics import components, cross_share, degree_counts, describe, hubness
from tests.reference_graph import adjacency


@st.composite
def neighbour_ids(draw):
    n, k = draw(st.integers(1, 40)), draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return rng.integers(-1, n, (n, k)).astype(np.int32)


@settings(max_examples=100)
@given(neighbour_ids())
def test_a_description_counts_edges_degrees_components_and_hubs(ids):
    dense = adjacency(ids)
    degrees = dense.sum(axis=1)
    n_components, labels = connected_components(dense, directed=False)
    found = describe(symmetric_graph(ids))
    assert found == {
        "n_nodes": len(ids),
        "n_edges": dense.sum() // 2,
        "mean_degree": pytest.approx(degrees.mean()),
        "median_degree": np.quantile(degrees, 0.5, method="lower"),
        "low_degree": np.quantile(degrees, 0.01, method="lower"),
        "high_degree": np.quantile(degrees, 0.99, method="lower"),
        "max_degree": degrees.max(),
        "n_isolated": (degrees == 0).sum(),
        "n_hubs": 1,
        "hub_share": pytest.approx(degrees.max() / max(degrees.sum(), 1)),
        "n_components": n_components,
        "n_kept_apart": 1,
        "largest_component": np.bincount(labels).max() / len(ids),
    }


@settings(max_examples=100)
@given(neighbour_ids(), st.integers(1, 30))
def test_components_equal_those_of_scipy_for_any_block_size(ids, block_entries):
    graph = symmetric_graph(ids)
    _, labels = connected_components(adjacency(ids), directed=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scrcl.graph.csr.BLOCK_ENTRIES", block_entries)
        firsts, sizes = components(graph)
    assert sizes.tolist() == np.bincount(labels).tolist()
    assert firsts.tolist() == np.unique(labels, return_index=True)[1].tolist()


def test_a_shuffled_path_with_a_gap_has_two_components():
    order = np.random.default_rng(1).permutation(3_000)
    ids = np.full((3_000, 1), -1)
    ids[order[:-1], 0] = order[1:]
    ids[order[1_500]] = -1
    assert sorted(components(symmetric_graph(ids))[1]) == [1_499, 1_501]


def test_the_largest_component_is_that_of_each_group_where_groups_are_kept_apart():
    graph = symmetric_graph(np.array([[1], [0], [1], [4], [3], [-1]]))
    assert describe(graph)["largest_component"] == 3 / 6
    found = describe(graph, groups=np.array([0, 0, 0, 2, 2, 2]))
    assert (found["n_kept_apart"], found["largest_component"]) == (2, 5 / 6)


def test_hubs_are_the_thousandth_of_nodes_with_the_highest_degrees():
    ids = np.full((3_000, 2), -1)
    ids[3:, 0], ids[1_000:, 1] = 0, 1
    found = describe(symmetric_graph(ids))
    assert found["n_hubs"] == 3
    assert found["hub_share"] == pytest.approx((2_997 + 2_000 + 2) / (2 * 4_997))


def test_degree_counts_are_a_histogram():
    graph = symmetric_graph(np.array([[1], [2], [-1], [-1]]))
    assert degree_counts(graph).tolist() == [1, 2, 1]
    assert degree_counts(Graph(np.zeros(1, np.int64), np.empty(0, np.int32))).tolist() == [0]


def test_hubness_is_the_skewness_of_in_degrees():
    rng = np.random.default_rng(0)
    ids = (100 * rng.random((100, 5)) ** 3).astype(np.int32)
    ids[ids == np.arange(100)[:, None]] = -1
    assert hubness(ids) == pytest.approx(skew(np.bincount(ids[ids >= 0], minlength=100)))
    assert hubness(np.roll(np.arange(10), 1)[:, None]) == 0.0


def test_all_statistics_of_an_empty_graph_are_zero():
    found = describe(Graph(np.zeros(1, np.int64), np.empty(0, np.int32)), np.empty((0, 3), int))
    assert set(found.values()) == {0}


def test_the_share_of_edges_between_groups_is_counted_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    ids, codes = rng.integers(-1, 300, (300, 5)).astype(np.int32), rng.integers(0, 2, 300)
    monkeypatch.setattr("scrcl.graph.csr.BLOCK_ENTRIES", 7)
    dense = adjacency(ids)
    expected = dense[codes[:, None] != codes[None, :]].sum() / dense.sum()
    assert cross_share(symmetric_graph(ids), codes) == pytest.approx(expected)
    assert cross_share(symmetric_graph(np.full((3, 1), -1)), codes) == 0
