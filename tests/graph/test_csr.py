from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse.csgraph import connected_components

from scrcl.errors import InputError, StoreError
from scrcl.graph.csr import (
    Graph,
    connectivities,
    describe,
    distances_matrix,
    normalized_adjacency,
    symmetric_graph,
)
from scrcl.graph.knn import knn
from tests.reference_graph import adjacency, normalized


@st.composite
def neighbour_ids(draw):
    n = draw(st.integers(1, 25))
    k = draw(st.integers(0, 5))
    return draw(arrays(np.int32, (n, k), elements=st.integers(0, n - 1)))


@settings(max_examples=60, deadline=None)
@given(neighbour_ids())
def test_the_graph_is_the_symmetric_union_of_the_neighbours(ids):
    graph = symmetric_graph(ids)
    graph.validate()
    assert np.array_equal(connectivities(graph).toarray(), adjacency(ids))
    assert (graph.indptr.dtype, graph.indices.dtype) == (np.int64, np.int32)
    assert np.array_equal(graph.degrees, adjacency(ids).sum(axis=1))


@settings(max_examples=60, deadline=None)
@given(neighbour_ids(), st.data())
def test_rows_of_the_normalised_adjacency_equal_the_dense_ones(ids, data):
    graph = symmetric_graph(ids)
    start = data.draw(st.integers(0, graph.n))
    stop = data.draw(st.integers(start, graph.n))
    block = normalized_adjacency(graph, start, stop)
    dense = normalized(adjacency(ids))
    assert np.allclose(block.toarray(), dense[start:stop], atol=1e-6)
    assert block.dtype == np.float32
    assert (np.diff(block.indices) > 0).sum() >= block.nnz - max(stop - start, 1)
    assert np.allclose(normalized_adjacency(graph).toarray(), dense, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(neighbour_ids())
def test_the_description_counts_edges_degrees_and_components(ids):
    dense = adjacency(ids)
    assert describe(symmetric_graph(ids)) == {
        "n_nodes": len(ids),
        "n_edges": dense.sum() // 2,
        "mean_degree": pytest.approx(dense.sum() / len(ids)),
        "max_degree": dense.sum(axis=1).max(),
        "n_components": connected_components(dense)[0],
    }


def test_the_distance_matrix_keeps_every_neighbour_even_at_distance_zero():
    points = np.random.default_rng(0).integers(0, 3, size=(40, 2)).astype(np.float32)
    found = knn(points, 4, seed=0)
    matrix = distances_matrix(found.ids, found.distances)
    assert matrix.nnz == 160
    assert matrix.dtype == np.float32
    for i, (ids, distances) in enumerate(zip(found.ids, found.distances, strict=True)):
        row = matrix[i]
        assert row.indices.tolist() == sorted(ids.tolist())
        stored = dict(zip(row.indices.tolist(), row.data.tolist(), strict=True))
        assert stored == dict(zip(ids.tolist(), distances.tolist(), strict=True))


@pytest.mark.parametrize("mmap", [True, False])
def test_a_saved_graph_reads_back(tmp_path, mmap):
    graph = symmetric_graph(np.array([[1], [2], [0], [0]], np.int32))
    graph.save(tmp_path / "graph")
    again = Graph.load(tmp_path / "graph", mmap=mmap)
    assert np.array_equal(again.indptr, graph.indptr)
    assert np.array_equal(again.indices, graph.indices)
    assert isinstance(again.indices, np.memmap) is mmap


def test_a_missing_or_damaged_graph_is_refused(tmp_path):
    with pytest.raises(StoreError, match="Build the graph again"):
        Graph.load(tmp_path)
    symmetric_graph(np.array([[1], [0]], np.int32)).save(tmp_path / "graph")
    np.save(tmp_path / "graph" / "indices.npy", np.zeros(7, np.int32))
    with pytest.raises(StoreError, match="length"):
        Graph.load(tmp_path / "graph")


@pytest.mark.parametrize(
    ("indptr", "indices", "rule"),
    [
        ([0, 1, 1], [1], "symmetric"),
        ([0, 1, 2], [0, 1], "self loops"),
        ([0, 2, 3, 4], [2, 1, 0, 0], "ascending"),
        ([0, 2, 4], [1, 1, 0, 0], "ascending"),
        ([0, 1, 2], [1, 7], "ids"),
        ([0, 1, 2], [1], "indptr"),
    ],
)
def test_a_graph_that_breaks_a_rule_is_refused(indptr, indices, rule):
    graph = Graph(np.array(indptr, np.int64), np.array(indices, np.int32))
    with pytest.raises(InputError, match=rule):
        graph.validate()


@pytest.mark.parametrize("bad", [-1, 3])
def test_ids_out_of_range_are_refused(bad):
    with pytest.raises(InputError, match="ids must be"):
        symmetric_graph(np.array([[1], [2], [bad]], np.int32))
