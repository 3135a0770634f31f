from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl.errors import InputError
from scrcl.graph.csr import Graph, connectivities, symmetric_graph
from scrcl.graph.renumber import positions_in, renumbered
from tests.reference_graph import assert_valid


def some_graph(n, k, seed):
    rng = np.random.default_rng(seed)
    return symmetric_graph(rng.integers(0, n, (n, k))), rng.permutation(n)


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(0, 6), st.integers(1, 50), st.integers(0, 30))
def test_a_renumbered_graph_has_the_same_edges(n, k, block_rows, seed):
    graph, order = some_graph(n, k, seed)
    found = renumbered(graph, order, block_rows=block_rows)
    assert_valid(found)
    dense = connectivities(graph).toarray()
    assert np.array_equal(connectivities(found).toarray(), dense[np.ix_(order, order)])
    assert found.indices.dtype == graph.indices.dtype


def test_a_graph_on_disk_equals_the_one_in_memory(tmp_path):
    graph, order = some_graph(500, 7, 0)
    graph.save(tmp_path / "graph")
    kept = Graph.load(tmp_path / "graph")
    found = renumbered(kept, order, tmp_path / "found", block_rows=64)
    wanted = renumbered(graph, order)
    assert isinstance(found.indices, np.memmap)
    assert np.array_equal(found.indptr, wanted.indptr)
    assert np.array_equal(found.indices, wanted.indices)


def test_positions_are_the_inverse_of_the_order():
    _, order = some_graph(300, 1, 3)
    assert np.array_equal(order[positions_in(order)], np.arange(300))


def test_an_order_must_hold_every_node_once(tmp_path):
    graph, _ = some_graph(9, 2, 0)
    with pytest.raises(InputError, match=r"order must .* 9 .*\(8,\)"):
        renumbered(graph, np.arange(8), tmp_path / "out")
    for wrong in (np.zeros(9, int), np.arange(9) + 1, np.arange(9) - 1):
        with pytest.raises(InputError, match=r"order must .* 9 "):
            renumbered(graph, wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists()
