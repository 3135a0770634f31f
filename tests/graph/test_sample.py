from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl._random import stream
from scrcl.errors import InputError
from scrcl.graph.csr import Graph, symmetric_graph
from scrcl.graph.sample import sample_halo
from tests.reference_graph import assert_valid, halo


def random_graph(n, k, seed):
    rng = np.random.default_rng(seed)
    return symmetric_graph(rng.integers(0, n, size=(n, k)).astype(np.int32))


@settings(max_examples=80)
@given(
    st.integers(1, 40),
    st.integers(0, 6),
    st.one_of(st.none(), st.integers(1, 8)),
    st.integers(0, 1_000),
    st.data(),
)
def test_a_halo_equals_that_of_a_loop_over_seeds(n, k, fanout, seed, data):
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


class Coarse:
    """A generator whose keys are often equal."""

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)

    def integers(self, low, high, size):
        return self._rng.integers(low, high, size) % 3


@settings(max_examples=60)
@given(st.integers(2, 30), st.integers(1, 8), st.integers(1, 8), st.integers(0, 1_000))
def test_the_first_neighbours_with_equal_keys_are_kept(n, k, fanout, seed):
    graph = random_graph(n, k, seed)
    found = sample_halo(graph, np.arange(n), fanout=fanout, rng=Coarse(seed))
    _, rows = halo(graph, np.arange(n), fanout, Coarse(seed))
    assert found.indices.tolist() == [each for row in rows for each in row]


def test_threads_build_the_same_halos_as_a_loop():
    graph = random_graph(3_000, 12, 0)

    def build(step):
        seeds = stream(1, "seeds", step).permutation(3_000)[:400]
        return sample_halo(graph, seeds, fanout=6, rng=stream(1, "keys", step))

    one_by_one = [build(step) for step in range(24)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(build, range(24)))
    for one, other in zip(one_by_one, together, strict=True):
        assert np.array_equal(one.nodes, other.nodes)
        assert np.array_equal(one.indices, other.indices)


def test_sampling_does_not_change_the_graph():
    graph = random_graph(60, 5, 0)
    before = graph.indices.copy()
    sample_halo(graph, np.arange(60), fanout=2, rng=stream(0, "test"))
    assert np.array_equal(graph.indices, before)


def test_the_sample_depends_only_on_the_generator():
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
    assert_valid(hub)
    rng = np.random.default_rng(0)
    drawn = [sample_halo(hub, np.array([0]), fanout=3, rng=rng).nodes[1:] for _ in range(2_000)]
    counts = np.bincount(np.concatenate(drawn), minlength=11)[1:]
    assert np.all(np.abs(counts - 600) < 120)


def test_the_halo_of_all_cells_is_the_graph(tmp_path):
    random_graph(50, 4, 1).save(tmp_path / "graph")
    graph = Graph.load(tmp_path / "graph")
    found = sample_halo(graph, np.arange(50), fanout=None, rng=stream(0, "test"))
    assert np.array_equal(found.indptr, graph.indptr)
    assert np.array_equal(found.indices, graph.indices)


def test_bad_seeds_and_fanouts_are_refused():
    graph = random_graph(10, 3, 0)
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=r"seeds must .* 4 "):
        sample_halo(graph, np.array([4, 2, 4]), fanout=None, rng=rng)
    with pytest.raises(InputError, match="got 10"):
        sample_halo(graph, np.array([1, 10]), fanout=None, rng=rng)
    with pytest.raises(InputError, match="got -1"):
        sample_halo(graph, np.array([-1, 3]), fanout=None, rng=rng)
    with pytest.raises(InputError, match="fanout"):
        sample_halo(graph, np.array([1]), fanout=0, rng=rng)
