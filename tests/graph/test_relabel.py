from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl._random import stream
from scrcl.errors import InputError, MissingDependencyError
from scrcl.graph.csr import symmetric_graph
from scrcl.graph.relabel import RELABELLERS, relabel_compiled, relabel_torch_sparse, relabeller
from scrcl.graph.sample import sample_halo

HAS_TORCH_SPARSE = importlib.util.find_spec("torch_sparse") is not None
WAYS = [
    relabel_compiled,
    pytest.param(
        relabel_torch_sparse,
        marks=pytest.mark.skipif(not HAS_TORCH_SPARSE, reason="torch-sparse is not installed"),
    ),
]
IDS = st.integers(0, 2**31 - 1)
FEW = st.integers(0, 12)


def numbered(seeds, neighbours):
    """The naive twin: a dictionary."""
    nodes = [*seeds, *sorted(set(neighbours) - set(seeds))]
    place = {cell: at for at, cell in enumerate(nodes)}
    return nodes, [place[cell] for cell in neighbours]


@pytest.mark.parametrize("relabel", WAYS)
@settings(max_examples=80, deadline=None)
@given(st.data())
def test_cells_are_numbered_as_by_a_dictionary(relabel, data):
    ids = data.draw(st.sampled_from([IDS, FEW]))
    seeds = data.draw(st.lists(ids, max_size=20, unique=True))
    neighbours = data.draw(st.lists(ids, max_size=60))
    nodes, places = relabel(np.array(seeds, np.int64), np.array(neighbours, np.int32))
    assert (nodes.tolist(), places.tolist()) == numbered(seeds, neighbours)
    assert nodes.dtype == places.dtype == np.int64


@pytest.mark.parametrize("relabel", WAYS)
def test_a_repeated_seed_is_named(relabel):
    with pytest.raises(InputError, match=r"seeds must not repeat; got 7 twice"):
        relabel(np.array([7, 3, 7]), np.array([1], np.int32))


@pytest.mark.skipif(not HAS_TORCH_SPARSE, reason="torch-sparse is not installed")
@pytest.mark.parametrize("fanout", [None, 4])
def test_torch_sparse_gives_the_same_halo_to_the_last_bit(fanout):
    graph = symmetric_graph(np.random.default_rng(0).integers(0, 5_000, (5_000, 9)))
    seeds = stream(0, "seeds").permutation(5_000)[:600]
    ours, theirs = (
        sample_halo(graph, seeds, fanout=fanout, rng=stream(0, "keys"), relabel=relabeller(name))
        for name in ("native", "torch-sparse")
    )
    for name in ("nodes", "indptr", "indices"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


@pytest.mark.skipif(HAS_TORCH_SPARSE, reason="torch-sparse is installed")
def test_torch_sparse_is_named_with_its_extra_where_it_is_missing():
    with pytest.raises(MissingDependencyError, match=r"scrcl\[torch-sparse\].*or choose native"):
        relabeller("torch-sparse")


def test_auto_is_the_compiled_way():
    assert relabeller("auto") is relabeller("native") is RELABELLERS["native"] is relabel_compiled
