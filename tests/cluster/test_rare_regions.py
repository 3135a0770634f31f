"""Regions of an atlas where rare types may be."""

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import NearestNeighbors

from scrcl.cluster.algorithms.leiden import of_all_cells
from scrcl.cluster.find import find_clusters
from scrcl.cluster.protocol import Spaces
from scrcl.cluster.rare import cells_together
from scrcl.cluster.rare_regions import _groups, rare_regions
from scrcl.cluster.settings import ClusterSettings

N_RARE = 12


def atlas(n_cells=4_000, seed=0):
    """Three large types and twelve cells apart from them; these come last. Also their nearest cells."""
    rng = np.random.default_rng(seed)
    truth = np.append(np.arange(n_cells) % 3, np.full(N_RARE, 3))
    means = np.diag([20, 20, 20, 30])[truth]
    points = rng.normal(size=(len(truth), 12)).astype(np.float32)
    points[:, :4] += means
    near = NearestNeighbors(n_neighbors=16).fit(points).kneighbors(points, return_distance=False)
    return points, truth, near[:, 1:].astype(np.int32)


def test_groups_are_the_components_of_pairs_that_belong_together():
    _, _, nearest = atlas(600)
    near = nearest[:, :7]
    together = cells_together(near)
    sets = [set(row) for row in near]
    for i, row in enumerate(near):
        for a, j in enumerate(row):
            expected = j > i and i in sets[j] and len(sets[i] & sets[j]) >= 2
            assert together[i, a] == expected
    rows, columns = np.nonzero(together)
    graph = csr_matrix((np.ones(len(rows)), (rows, near[rows, columns])), shape=(len(near),) * 2)
    expected = connected_components(graph, directed=False)[1]
    found = _groups(near, together)
    assert (found <= np.arange(len(near))).all()
    np.testing.assert_array_equal(found[:, None] == found, expected[:, None] == expected)


def test_a_rare_type_and_what_is_around_it_are_found():
    _, _, nearest = atlas()
    found, groups = rare_regions(nearest, n_drawn=200, most=2_000)
    rare = np.arange(len(nearest) - N_RARE, len(nearest))
    assert np.isin(rare, found).all()
    assert len(set(groups[np.isin(found, rare)])) == 1
    assert np.isin(nearest[rare], found).all()
    assert (np.diff(found) > 0).all()
    assert len(found) < len(nearest) / 2
    # The rare type has the largest share of its neighbours inside, so it is the last to be given up.
    few, of_few = rare_regions(nearest, n_drawn=200, most=16 * N_RARE)
    np.testing.assert_array_equal(few, np.union1d(rare, nearest[rare]))
    np.testing.assert_array_equal(of_few, np.where(np.isin(few, rare), 0, -1))
    assert len(rare_regions(nearest, n_drawn=200, most=10)[0]) == 0


def test_missing_neighbours_are_none():
    nearest = np.full((10, 7), -1, np.int32)
    assert len(rare_regions(nearest, n_drawn=5, most=100)[0]) == 0


def test_missing_neighbours_of_the_last_cells_are_not_among_themselves():
    nearest = np.full((40, 7), -1, np.int32)
    first, last = np.arange(5), np.arange(36, 40)  # with four and three mates
    for group in (first, last):
        for cell in group:
            nearest[cell, : len(group) - 1] = group[group != cell]
    nearest[first, 4:] = np.arange(10, 25).reshape(5, 3)
    found, groups = rare_regions(nearest, n_drawn=20, most=60)  # room for one group
    np.testing.assert_array_equal(found[groups == 0], first)
    both, of_both = rare_regions(nearest, n_drawn=20, most=72)
    np.testing.assert_array_equal(both, [*first, *range(10, 25), *last])
    assert of_both.tolist() == [0] * 5 + [-1] * 15 + [1] * 4


def test_a_type_that_the_draw_lacks_is_a_cluster():
    points, truth, nearest = atlas()
    settings = ClusterSettings(vote_cells=500)

    def labels(nearest, **others):
        spaces = Spaces(points, points, nearest=nearest)
        return find_clusters(
            spaces, None, settings=settings.model_copy(update=others), seed=0
        ).labels

    assert labels(None).max() == 2
    found = labels(nearest)
    assert found.max() == 3
    np.testing.assert_array_equal(found == 3, truth == 3)
    assert labels(nearest, rare_cells=0).max() == 2


def test_other_cells_join_only_what_takes_them():
    points = np.array([[0.0], [1.0], [0.9], [5.0]], np.float32)
    means, cells, own = points[[0, 1]], np.array([0, 1]), np.array([0, 1], np.int32)
    assert of_all_cells(points, cells, own, means).tolist() == [0, 1, 1, 1]
    takes = np.array([True, False])
    assert of_all_cells(points, cells, own, means, takes).tolist() == [0, 1, 0, 0]
