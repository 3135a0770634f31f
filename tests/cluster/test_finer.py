"""Further division of clusters: which split comes next, and how parts are joined again."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from scrcl.cluster.agglomerate import MergeCost
from scrcl.cluster.agreement import Communities
from scrcl.cluster.find import find_clusters
from scrcl.cluster.finer import Halving, divide_further
from scrcl.cluster.protocol import Spaces
from scrcl.cluster.settings import ClusterSettings


class Valleys:
    """Evidence that knows how deep the valley around one group is; other groups have none between them."""

    def __init__(self, group, depth):
        self.group, self.depth = set(np.asarray(group).tolist()), depth

    def support(self, a, b):
        return self.depth if self.group in (set(a.tolist()), set(b.tolist())) else 0.0


def cells(sizes, places, seed=0):
    """Groups at these places on a line; their places, and the group of each cell."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    noise = 0.1 * np.random.default_rng(seed).normal(size=len(groups))
    return (np.asarray(places)[groups] + noise)[:, None].astype(np.float32), groups


def divided(points, labels, groups, joins, n_parts, *, depth=0.4, clear=2, smallest=5):
    return divide_further(
        Valleys(np.flatnonzero(groups == clear), depth),
        points,
        labels,
        Communities(groups, joins),
        n_parts,
        halving=Halving(60, MergeCost(0.5), smallest),
        seed=0,
    )


def test_a_small_community_with_a_valley_comes_before_the_halves_of_a_large_one():
    # The embedding parts the halves of the first type most, and the second type is of twelve cells.
    points, groups = cells((150, 150, 12), (-2.0, 2.0, 3.5))
    one, communities = np.zeros(312, int), np.maximum(groups - 1, 0)
    found = divided(points, one, np.where(groups == 2, 2, communities), [(0, 2)], 2)
    assert set(found.labels[groups == 2]) != set(found.labels[groups < 2])
    assert adjusted_rand_score(groups == 2, found.labels) == 1
    # Without a valley around it the halves are further apart.
    halves = divided(points, one, np.where(groups == 2, 2, communities), [(0, 2)], 2, depth=0.0)
    assert adjusted_rand_score(groups == 0, halves.labels) == 1


def test_groups_that_are_no_communities_are_halves_in_the_embedding():
    points, groups = cells((100, 60, 40), (0.0, 5.0, 6.0))
    none = Communities(np.zeros(200, int), [])
    found = divide_further(
        Valleys([], 0.0),
        points,
        np.zeros(200, int),
        none,
        3,
        halving=Halving(60, MergeCost(0.5), 5),
        seed=0,
    )
    assert adjusted_rand_score(groups, found.labels) == 1


def test_parts_are_joined_to_their_clusters_in_the_order_of_the_splits():
    points, groups = cells((60, 60, 60, 60), (0.0, 4.0, 20.0, 23.0))
    labels = groups // 2
    few, many = (divided(points, labels, groups, [(2, 3), (0, 1)], n_parts) for n_parts in (4, 8))
    assert few.joins == many.joins[-2:]
    assert sorted(set(many.labels)) == list(range(8))
    part = np.arange(8)
    for kept, joined in many.joins[:-2]:
        part[part == joined] = kept
    np.testing.assert_array_equal(part[many.labels], few.labels)
    for kept, joined in many.joins[-2:]:
        part[part == joined] = kept
    np.testing.assert_array_equal(part[many.labels], labels)


def test_no_part_has_too_few_cells():
    points, groups = cells((60, 4), (0.0, 9.0))
    found = divided(points, np.zeros(64, int), groups, [(0, 1)], 40, clear=1, depth=1.0)
    assert np.bincount(found.labels).min() >= 5
    assert found.labels.max() + 1 <= 12
    with_four = divided(
        points, np.zeros(64, int), groups, [(0, 1)], 2, clear=1, depth=1.0, smallest=4
    )
    assert adjusted_rand_score(groups, with_four.labels) == 1


def test_cells_of_several_communities_that_were_never_merged_are_one_cluster():
    points, groups = cells((40, 40, 40), (0.0, 5.0, 9.0))
    labels = np.minimum(groups, 1)  # the last two were joined by something else
    found = divided(points, labels, groups, [], 2)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.joins == []
    assert adjusted_rand_score(groups, divided(points, labels, groups, [], 3).labels) == 1


@pytest.mark.parametrize("n_cells", [3, 9])
def test_cells_that_are_too_few_for_two_parts_stay_whole(n_cells):
    points, groups = cells((n_cells,), (0.0,))
    assert divided(points, groups, groups, [], 4).labels.tolist() == [0] * n_cells


def test_more_clusters_than_supported_show_small_types_first():
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], (400, 60))
    scores = rng.normal(size=(460, 12)).astype(np.float32)
    scores[truth == 1, 0] += 7
    halves = np.arange(460) % 2
    embedding = 0.3 * rng.normal(size=(460, 2))
    embedding[:, 0] += np.where(truth == 0, 4 * halves, 0)
    embedding[:, 1] += 3 * truth
    spaces = Spaces(embedding.astype(np.float32), scores)
    settings = ClusterSettings(least_support=1.0, rare_cells=0)
    assert find_clusters(spaces, None, settings=settings, seed=0).labels.max() == 0
    found = find_clusters(spaces, 2, settings=settings, seed=0)
    assert adjusted_rand_score(truth, found.labels) > 0.98
    assert found.levels.next_split is not None
