from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl.errors import InputError, StoreError
from scrcl.graph.backends import Search
from scrcl.graph.csr import symmetric_graph
from scrcl.graph.divide import partition
from scrcl.graph.knn import knn
from scrcl.graph.locality import locality
from scrcl.graph.partition import Partition, write_in_order
from scrcl.graph.walk import walk_order


def blobs(n, n_dims=6, n_groups=20, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(scale=5, size=(n_groups, n_dims))
    return (centres[rng.integers(n_groups, size=n)] + rng.normal(size=(n, n_dims))).astype("f4")


def test_every_point_is_once_in_the_list_of_its_nearest_centroid():
    points = blobs(5_000)
    found = partition(points, seed=0, list_rows=100)
    assert found.n_lists == 50
    assert np.array_equal(np.sort(found.order), np.arange(5_000))
    away = ((points[:, None] - found.centroids[None]) ** 2).sum(axis=2)
    for i in range(found.n_lists):
        members = found.order[found.starts[i] : found.starts[i + 1]]
        assert (np.diff(members) > 0).all()
        assert np.allclose(away[members, i], away[members].min(axis=1), rtol=1e-4)


def test_threads_change_no_bit_and_seeds_do():
    points = blobs(40_000)
    one, two = (partition(points, seed=1, n_workers=n) for n in (1, 2))
    other = partition(points, seed=2)
    assert np.array_equal(one.order, two.order)
    assert np.array_equal(one.centroids, two.centroids)
    assert not np.array_equal(one.order, other.order)


def test_lists_of_a_small_sample_are_evened_out_by_all_points(monkeypatch):
    points = np.random.default_rng(0).normal(size=(20_000, 40)).astype(np.float32)
    monkeypatch.setattr("scrcl.graph.divide._MOST_SAMPLE_ROWS", 600)
    found = {}
    for n_passes in (0, 2):
        monkeypatch.setattr("scrcl.graph.divide._REFINEMENTS", n_passes)
        found[n_passes] = partition(points, seed=0, list_rows=64)
        assert np.array_equal(np.sort(found[n_passes].order), np.arange(20_000))
        assert found[n_passes].n_lists == 312
    sizes = {n_passes: np.diff(each.starts) for n_passes, each in found.items()}
    assert sizes[2].max() < sizes[0].max() / 2
    assert np.count_nonzero(sizes[2] < 8) < np.count_nonzero(sizes[0] < 8) / 4
    one = partition(points, seed=0, list_rows=64, n_workers=1)
    assert np.array_equal(one.order, found[2].order)


def test_equal_points_are_in_one_list():
    points = blobs(3_000)
    points[1_000:2_500] = points[0]
    found = partition(points, seed=0, list_rows=64)
    lists = np.searchsorted(found.starts, np.argsort(found.order), side="right") - 1
    assert len(np.unique(lists[1_000:2_500])) == 1


@pytest.mark.parametrize("n", [1, 2, 30])
def test_few_points_make_one_list(n):
    found = partition(blobs(n), seed=0)
    assert found.starts.tolist() == [0, n]
    assert found.order.tolist() == list(range(n))


def test_a_saved_partition_is_read_back(tmp_path):
    found = partition(blobs(500), seed=0, list_rows=50)
    found.save(tmp_path / "lists")
    again = Partition.load(tmp_path / "lists")
    assert np.array_equal(again.order, found.order)
    assert again.n_lists == 10
    (tmp_path / "lists" / "members.npy").write_bytes(b"")
    with pytest.raises(StoreError, match="partition"):
        Partition.load(tmp_path / "lists")


def test_points_and_list_sizes_that_break_a_rule_are_refused():
    with pytest.raises(InputError, match="list_rows"):
        partition(np.zeros((0, 3), np.float32), seed=0)
    with pytest.raises(InputError, match="list_rows"):
        partition(blobs(10), seed=0, list_rows=0)
    with pytest.raises(InputError, match="row 2"):
        partition(np.array([[0.0], [1.0], [np.nan]], np.float32), seed=0)


def test_rows_are_written_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("scrcl.graph.partition._COPY_ROWS", 7)
    points, order = blobs(50), np.random.default_rng(0).permutation(50)
    centre = points[3]
    written = write_in_order(points, order, centre, tmp_path / "a.npy")
    assert np.array_equal(written, points[order] - centre)


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 4), st.integers(0, 1_000))
def test_a_walk_visits_every_centroid_once(n, n_dims, seed):
    centroids = np.random.default_rng(seed).integers(0, 4, (n, n_dims)).astype(np.float32)
    assert np.array_equal(np.sort(walk_order(centroids)), np.arange(n))


def test_a_walk_along_a_line_ends_at_the_other_end():
    positions = np.random.default_rng(0).permutation(40)
    order = walk_order(positions[:, None].astype(np.float32))
    assert positions[order].tolist() in ([*range(40)], [*range(39, -1, -1)])


def test_a_walk_takes_the_small_branch_first():
    # A long line with a branch of one in its middle, which lies nearer to nothing else.
    centroids = np.array([[0, 0], [1, 0], [2, 0], [3, 0], [4, 0], [5, 0], [2, 1]], np.float32)
    order = walk_order(centroids).tolist()
    if order[0] != 0:
        order = [5 - i if i < 6 else i for i in order]
    assert order.index(6) in (order.index(2) + 1, order.index(3) + 1)


def naive_locality(graph, order, read_rows):
    read = {node: at // read_rows for at, node in enumerate(order)}
    inside, halo = 0, set()
    for node in range(graph.n):
        for other in graph.indices[graph.indptr[node] : graph.indptr[node + 1]].tolist():
            inside += read[node] == read[other]
            if read[node] != read[other]:
                halo.add((read[node], other))
    return inside / max(len(graph.indices), 1), len(halo) / graph.n


@pytest.mark.parametrize("read_rows", [1, 7, 50, 1_000])
def test_locality_equals_a_plain_count(read_rows):
    rng = np.random.default_rng(read_rows)
    graph = symmetric_graph(rng.integers(0, 200, size=(200, 3)).astype(np.int32))
    order = rng.permutation(200)
    for given_order, expected in ((None, np.arange(200)), (order, order)):
        found = locality(graph, read_rows, given_order)
        assert np.allclose(found, naive_locality(graph, expected.tolist(), read_rows))


def test_a_graph_without_edges_has_no_halo():
    graph = symmetric_graph(np.full((5, 2), -1, np.int32))
    assert locality(graph, 2) == (1.0, 0.0)


def test_the_order_of_a_partition_brings_neighbours_together():
    points = blobs(20_000, n_groups=100)
    graph = symmetric_graph(knn(points, 10, seed=0, search=Search("partitioned")).ids)
    order = partition(points, seed=0, list_rows=128).order
    before, after = locality(graph, 512), locality(graph, 512, order)
    assert after.inside > 10 * before.inside
    assert after.halo < before.halo / 3
