from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl._random import stream
from scrcl.errors import InputError, MissingDependencyError
from scrcl.graph.csr import symmetric_graph
from scrcl.graph.relabel import relabel_compiled, relabel_torch_sparse, relabeller
from scrcl.graph.sample import sample_halo

HAS_TORCH_SPARSE = importlib.util.find_spec("torch_sparse") is not None
RELABELLERS = [
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
    position = {cell: at for at, cell in enumerate(nodes)}
    return nodes, [position[cell] for cell in neighbours]


@pytest.mark.parametrize("relabel", RELABELLERS)
@settings(max_examples=80)
@given(st.data())
def test_cells_get_the_numbers_of_a_dictionary(relabel, data):
    ids = data.draw(st.sampled_from([IDS, FEW]))
    seeds = data.draw(st.lists(ids, max_size=20, unique=True))
    neighbours = data.draw(st.lists(ids, max_size=60))
    nodes, positions = relabel(np.array(seeds, np.int64), np.array(neighbours, np.int32))
    assert (nodes.tolist(), positions.tolist()) == numbered(seeds, neighbours)
    assert nodes.dtype == positions.dtype == np.int64


@pytest.mark.parametrize("relabel", RELABELLERS)
def test_the_message_names_a_repeated_seed(relabel):
    with pytest.raises(InputError, match=r"seeds must .* 7 "):
        relabel(np.array([7, 3, 7]), np.array([1], np.int32))


@pytest.mark.skipif(not HAS_TORCH_SPARSE, reason="torch-sparse is not installed")
@pytest.mark.parametrize("fanout", [None, 4])
def test_torch_sparse_gives_the_same_halo(fanout):
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
def test_without_torch_sparse_the_message_names_the_extra_to_install():
    with pytest.raises(MissingDependencyError, match=r"scrcl\[torch-sparse\].*native"):
        relabeller("torch-sparse")


def test_auto_is_the_compiled_one():
    assert relabeller("auto") is relabeller("native") is relabel_compiled
