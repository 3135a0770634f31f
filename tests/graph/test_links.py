import numpy as np
import pytest
from scipy.spatial.distance import cdist

from scrcl.graph.csr import connectivities, symmetric_graph
from scrcl.graph.knn import knn
from scrcl.graph.links import are_neighbours, normalized_links


def near(points, new):
    """Ids of all points by their distance to new ones, and the squared distances."""
    squared = cdist(new, points, "sqeuclidean").astype(np.float32)
    ids = squared.argsort(axis=1, kind="stable")
    return ids, np.take_along_axis(squared, ids, axis=1)


@pytest.mark.parametrize("mode", ["union", "mutual"])
def test_a_point_left_out_gets_the_neighbours_it_has_in_the_graph_of_all_points(mode):
    points = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    k = 5
    whole = symmetric_graph(knn(points, k, seed=0).ids, mode=mode)
    for left_out in range(20):
        others = np.delete(np.arange(80), left_out)
        found = knn(points[others], k, seed=0)
        ids, squared = near(points[others], points[[left_out]])
        is_neighbour = are_neighbours(ids, squared, found.distances[:, -1], k, mode=mode)
        theirs = whole.indices[whole.indptr[left_out] : whole.indptr[left_out + 1]]
        assert sorted(others[ids[is_neighbour]]) == sorted(theirs)


def test_a_missing_candidate_is_no_neighbour():
    ids, squared = np.array([[2, 0, -1]]), np.array([[1.0, 4.0, np.inf]], np.float32)
    reach = np.array([3.0, 0.0, 0.0])
    assert are_neighbours(ids, squared, reach, 3, mode="union").tolist() == [[True, True, False]]
    assert are_neighbours(ids, squared, reach, 1, mode="union").tolist() == [[True, True, False]]
    assert are_neighbours(ids, squared, reach, 3, mode="mutual").tolist() == [[False, True, False]]


def test_a_point_as_far_as_the_last_neighbour_of_a_node_does_not_take_its_place():
    ids, squared, reach = np.array([[0, 1]]), np.full((1, 2), 4, np.float32), np.array([2.0, 2.5])
    assert are_neighbours(ids, squared, reach, 2, mode="mutual").tolist() == [[False, True]]


def test_weights_use_the_degrees_of_the_graph():
    rng = np.random.default_rng(1)
    graph = symmetric_graph(rng.integers(0, 30, (30, 3)))
    ids = np.array([[4, 9, 2, 0], [9, 8, 7, 1]])
    neighbours = np.array([[True, True, True, False], [False, False, False, False]])
    links = normalized_links(ids, neighbours, graph)
    degrees = connectivities(graph).sum(axis=1).A1
    assert links.nodes.tolist() == [2, 4, 9]
    expected = 1 / np.sqrt(4 * (degrees[[2, 4, 9]] + 1))
    np.testing.assert_allclose(links.weights.toarray(), [expected, [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(links.own, [1 / 4, 1], rtol=1e-6)
    rows, of_nodes = rng.normal(size=(2, 5)), rng.normal(size=(3, 5))
    np.testing.assert_allclose(
        links.smooth(rows, of_nodes), [expected @ of_nodes + rows[0] / 4, rows[1]], rtol=1e-5
    )
