from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl._random import stream
from scrcl.errors import InputError
from scrcl.graph.csr import Graph, symmetric_graph
from scrcl.graph.sample import sample_halo
from tests.reference_graph import halo


def random_graph(n, k, seed):
    rng = np.random.default_rng(seed)
    return symmetric_graph(rng.integers(0, n, size=(n, k)).astype(np.int32))


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(0, 6),
    st.one_of(st.none(), st.integers(1, 8)),
    st.integers(0, 1_000),
    st.data(),
)
def test_a_halo_equals_the_loop_over_seeds(n, k, fanout, seed, data):
    graph = random_graph(n, k, seed)
    seeds = np.array(data.draw(st.permutations(range(n))), int)[: data.draw(st.integers(0, n))]
    found = sample_halo(graph, seeds, fanout=fanout, rng=stream(seed, "test"))
    nodes, rows = halo(graph, seeds, fanout, stream(seed, "test"))
    assert found.nodes.tolist() == nodes
    assert found.n_seeds == len(seeds)
    assert [
        found.indices[a:b].tolist()
        for a, b in zip(found.indptr[:-1], found.indptr[1:], strict=True)
    ] == rows
    assert found.nodes.dtype == found.indptr.dtype == found.indices.dtype == np.int64


def test_the_sample_is_a_function_of_its_generator():
    graph = random_graph(200, 10, 0)
    seeds = np.arange(0, 200, 3)
    first, again, other = (
        sample_halo(graph, seeds, fanout=4, rng=stream(0, "test", step)) for step in (1, 1, 2)
    )
    assert np.array_equal(first.nodes, again.nodes)
    assert np.array_equal(first.indices, again.indices)
    assert not np.array_equal(first.nodes[first.indices], other.nodes[other.indices])
    assert np.diff(first.indptr).max() == 4


def test_every_neighbour_is_drawn_equally_often():
    hub = Graph(
        np.array([0, 10, *range(11, 21)], np.int64),
        np.array([*range(1, 11), *[0] * 10], np.int32),
    )
    hub.validate()
    rng = np.random.default_rng(0)
    drawn = [sample_halo(hub, np.array([0]), fanout=3, rng=rng).nodes[1:] for _ in range(2_000)]
    counts = np.bincount(np.concatenate(drawn), minlength=11)[1:]
    assert np.all(np.abs(counts - 600) < 120)


def test_all_cells_as_seeds_give_the_graph_itself(tmp_path):
    random_graph(50, 4, 1).save(tmp_path / "graph")
    graph = Graph.load(tmp_path / "graph")
    found = sample_halo(graph, np.arange(50), fanout=None, rng=stream(0, "test"))
    assert np.array_equal(found.indptr, graph.indptr)
    assert np.array_equal(found.indices, graph.indices)


def test_bad_seeds_and_fanouts_are_refused():
    graph = random_graph(10, 3, 0)
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=r"repeat.* 4 twice"):
        sample_halo(graph, np.array([4, 2, 4]), fanout=None, rng=rng)
    with pytest.raises(InputError, match="got 10"):
        sample_halo(graph, np.array([1, 10]), fanout=None, rng=rng)
    with pytest.raises(InputError, match="got -1"):
        sample_halo(graph, np.array([-1, 3]), fanout=None, rng=rng)
    with pytest.raises(InputError, match="fanout"):
        sample_halo(graph, np.array([1]), fanout=0, rng=rng)
