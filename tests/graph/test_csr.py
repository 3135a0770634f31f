from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scrcl.engine.stages.graph import EDGE_BLOCK_BYTES, NODE_BYTES
from scrcl.errors import InputError, StoreError
from scrcl.graph.csr import (
    Graph,
    connectivities,
    distances_matrix,
    normalized_adjacency,
    symmetric_graph,
)
from scrcl.graph.knn import knn
from tests.reference_graph import adjacency, assert_valid, normalized


@st.composite
def neighbour_ids(draw):
    n = draw(st.integers(1, 25))
    k = draw(st.integers(0, 5))
    dtype = draw(st.sampled_from([np.int32, np.int64]))
    return draw(arrays(dtype, (n, k), elements=st.integers(-1, n - 1)))


MODES = st.sampled_from(["union", "mutual"])


@settings(max_examples=150)
@given(neighbour_ids(), MODES, st.integers(1, 60))
def test_the_graph_joins_neighbours_for_any_block_size(ids, mode, block_entries):
    graph = symmetric_graph(ids, mode=mode, block_entries=block_entries)
    assert_valid(graph)
    assert np.array_equal(connectivities(graph).toarray(), adjacency(ids, mode))
    assert (graph.indptr.dtype, graph.indices.dtype) == (np.int64, np.int32)
    assert np.array_equal(graph.degrees, adjacency(ids, mode).sum(axis=1))


@settings(max_examples=40)
@given(ids=neighbour_ids(), mode=MODES, block_entries=st.integers(1, 60))
def test_a_graph_on_disk_equals_the_one_in_memory(tmp_path_factory, ids, mode, block_entries):
    folder = tmp_path_factory.mktemp("ids")
    np.save(folder / "ids.npy", ids)
    mapped = np.load(folder / "ids.npy", mmap_mode="r") if ids.size else ids
    graph = symmetric_graph(mapped, folder / "graph", mode=mode, block_entries=block_entries)
    wanted = symmetric_graph(ids, mode=mode)
    assert isinstance(graph.indices, np.memmap)
    assert np.array_equal(graph.indptr, wanted.indptr)
    assert np.array_equal(graph.indices, wanted.indices)
    assert {path.name for path in (folder / "graph").iterdir()} == {"indptr.npy", "indices.npy"}


@pytest.mark.parametrize("mode", ["union", "mutual"])
@pytest.mark.parametrize("block_entries", [1, 999, 20_000, 1 << 22])
def test_hubs_repeats_and_missing_neighbours_give_the_same_graph_for_any_block_size(
    mode, block_entries
):
    rng = np.random.default_rng(3)
    ids = (2_000 * rng.random((2_000, 6)) ** 4).astype(np.int32) - 1
    ids[::7] = 5
    ids[5] = np.arange(6) * 7
    graph = symmetric_graph(ids, mode=mode, block_entries=block_entries)
    assert np.array_equal(connectivities(graph).toarray(), adjacency(ids, mode))


@pytest.mark.parametrize("mode", ["union", "mutual"])
def test_many_nodes_are_numbered_with_64_bits(tmp_path, monkeypatch, mode):
    monkeypatch.setattr("scrcl.io.arrays.LARGEST_INT32", 10)
    ids = np.random.default_rng(0).integers(-1, 30, (30, 4))
    graph = symmetric_graph(ids, tmp_path / "graph", mode=mode, block_entries=20)
    assert_valid(graph)
    assert graph.indices.dtype == np.int64
    assert np.array_equal(connectivities(graph).toarray(), adjacency(ids, mode))
    dense = normalized(adjacency(ids, mode))
    assert np.allclose(normalized_adjacency(graph, 3, 9).toarray(), dense[3:9], atol=1e-6)


BUILD_AND_DIE = """
import os, sys
from pathlib import Path
import numpy as np
from scrcl.graph import csr, symmetry

def die(*_):
    os.kill(os.getpid(), 9)

symmetry._read = die
csr.symmetric_graph(np.array([[1], [0]], np.int32), Path(sys.argv[1]))
"""


@pytest.mark.usefixtures("warm")
def test_a_killed_build_leaves_no_graph_and_the_next_build_is_complete(tmp_path):
    folder = tmp_path / "graph"
    ended = subprocess.run([sys.executable, "-c", BUILD_AND_DIE, folder], check=False)
    assert ended.returncode == -9
    assert not folder.exists()
    assert_valid(symmetric_graph(np.array([[1], [0]], np.int32), folder))
    assert [path.name for path in tmp_path.iterdir()] == ["graph"]


def test_a_failed_build_leaves_no_files(tmp_path):
    with pytest.raises(InputError, match="ids must"):
        symmetric_graph(np.array([[1], [2]], np.int32), tmp_path / "graph")
    assert not list(tmp_path.iterdir())


MEASURE = """
import sys
from pathlib import Path
import numpy as np
from scrcl.engine.usage import UsageMeter
from scrcl.graph.csr import symmetric_graph
from scrcl.graph.statistics import describe

def build(ids, folder):
    return describe(symmetric_graph(ids, folder), ids)

folder = Path(sys.argv[1])
build(np.array([[1], [0]], np.int32), folder / "small")
with UsageMeter() as quiet:
    pass
with UsageMeter() as meter:
    build(np.load(folder / "ids.npy", mmap_mode="r"), folder / "large")
print(meter.usage.peak_rss_bytes - quiet.usage.peak_rss_bytes)
"""


def test_memory_stays_within_the_budget_and_does_not_grow_with_edges(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "ids.npy", rng.integers(0, 200_000, (200_000, 100), np.int32))
    command = [sys.executable, "-c", MEASURE, tmp_path]
    grown = int(subprocess.run(command, check=True, capture_output=True).stdout)
    assert grown < 200_000 * NODE_BYTES + EDGE_BLOCK_BYTES  # the ids take 80 MB, the edges 160 MB


@settings(max_examples=60)
@given(neighbour_ids(), st.data())
def test_rows_of_the_normalised_adjacency_equal_those_of_the_dense_matrix(ids, data):
    graph = symmetric_graph(ids)
    start = data.draw(st.integers(0, graph.n))
    stop = data.draw(st.integers(start, graph.n))
    block = normalized_adjacency(graph, start, stop)
    dense = normalized(adjacency(ids))
    assert np.allclose(block.toarray(), dense[start:stop], atol=1e-6)
    assert block.dtype == np.float32
    assert (np.diff(block.indices) > 0).sum() >= block.nnz - max(stop - start, 1)
    assert np.allclose(normalized_adjacency(graph).toarray(), dense, atol=1e-6)


def test_the_distance_matrix_stores_neighbours_at_distance_zero():
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


def test_the_distance_matrix_leaves_out_missing_neighbours():
    ids = np.array([[2, 1], [0, -1], [-1, -1], [0, 2]], np.int32)
    distances = np.array([[1, 2], [3, np.inf], [np.inf, np.inf], [4, 5]], np.float32)
    matrix = distances_matrix(ids, distances)
    assert matrix.indptr.tolist() == [0, 2, 3, 3, 5]
    assert matrix.indices.tolist() == [1, 2, 0, 0, 2]
    assert matrix.data.tolist() == [2, 1, 3, 4, 5]


@settings(max_examples=40)
@given(neighbour_ids(), st.data())
def test_a_range_of_rows_equals_that_range_of_the_whole_matrix(ids, data):
    graph, distances = symmetric_graph(ids), 0.5 * ids.astype(np.float32)
    start = data.draw(st.integers(0, graph.n))
    stop = data.draw(st.integers(start, graph.n))
    for rows in (partial(connectivities, graph), partial(distances_matrix, ids, distances)):
        block, whole = rows(start, stop), rows()
        assert block.shape == (stop - start, graph.n)
        assert block.dtype == np.float32
        assert np.array_equal(block.toarray(), whole.toarray()[start:stop])
        assert block.nnz == whole[start:stop].nnz


@pytest.mark.parametrize("mmap", [True, False])
def test_a_saved_graph_is_read_back(tmp_path, mmap):
    graph = symmetric_graph(np.array([[1], [2], [0], [0]], np.int32))
    graph.save(tmp_path / "graph")
    again = Graph.load(tmp_path / "graph", mmap=mmap)
    assert np.array_equal(again.indptr, graph.indptr)
    assert np.array_equal(again.indices, graph.indices)
    assert isinstance(again.indices, np.memmap) is mmap


def test_a_missing_or_damaged_graph_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"indptr.npy"):
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
def test_the_check_of_these_tests_finds_each_broken_rule(indptr, indices, rule):
    graph = Graph(np.array(indptr, np.int64), np.array(indices, np.int32))
    with pytest.raises(AssertionError, match=rule):
        assert_valid(graph)


@pytest.mark.parametrize("bad", [-2, 3, 2**32])
def test_ids_out_of_range_are_refused(bad):
    with pytest.raises(InputError, match="ids must"):
        symmetric_graph(np.array([[1], [2], [bad]]))


@pytest.mark.parametrize("bad", [np.zeros(4, np.int32), np.zeros((4, 1), np.float32)])
def test_ids_must_be_a_matrix_of_integers(bad):
    with pytest.raises(InputError, match="ids must"):
        symmetric_graph(bad)


def test_an_unknown_mode_is_refused():
    with pytest.raises(InputError, match="both"):
        symmetric_graph(np.array([[1], [0]]), mode="both")


def test_a_graph_is_shown_by_its_size():
    graph = Graph(np.array([0, 1, 3, 4]), np.array([1, 0, 2, 1], np.int32))
    assert repr(graph) == "Graph(n=3, n_edges=2)"
