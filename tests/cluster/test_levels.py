import numpy as np
from scipy.cluster.hierarchy import is_valid_linkage
from sklearn.metrics import adjusted_rand_score

from scrcl.cluster.evidence import Evidence
from scrcl.cluster.find import find_clusters
from scrcl.cluster.merging import join_order, merge_unsupported
from scrcl.cluster.protocol import Spaces
from scrcl.cluster.settings import ClusterSettings


def normal(n, *, at=0.0, n_dims=10, seed=0):
    points = np.random.default_rng(seed).normal(size=(n, n_dims))
    points[:, 0] += at
    return points.astype(np.float32)


def merged(points, labels, least_support=0.5, seed=0):
    evidence = Evidence(np.arange(len(points)), [points], seed=seed)
    return merge_unsupported(evidence, labels, least_support)


def test_pieces_of_a_type_are_merged_and_types_are_not():
    points = np.concatenate([normal(400), normal(200, at=8, seed=1), normal(200, at=16, seed=2)])
    types = np.repeat([0, 1, 2], [400, 200, 200])
    pieces = np.where((types == 0) & (points[:, 1] > 0), 3, types)
    assert merged(points, pieces).tolist() == [0, 1, 2, 0]
    assert merged(points, pieces, least_support=-1).tolist() == [0, 1, 2, 3]
    assert merged(points, pieces, least_support=1.1).tolist() == [0, 0, 0, 0]


def test_a_low_barrier_is_crossed_before_a_short_way():
    compact, other, diffuse = normal(300), normal(300, seed=1), normal(300, seed=2)
    points = np.concatenate([0.2 * compact, 0.2 * other, 2.5 * diffuse])
    points[300:600, 0] += 4
    points[600:, 1] += 5
    evidence = Evidence(np.arange(900), [points], seed=0)
    types = np.repeat([0, 1, 2], 300)
    first, second = join_order(evidence, types, points, 0.5)
    assert first in {(0, 2), (1, 2)}
    assert second == (0, 1)
    assert join_order(evidence, np.zeros(900, np.intp), points, 0.5) == []


def test_clusters_of_too_few_cells_join_the_nearest():
    points = np.concatenate([normal(200), normal(200, at=9, seed=1), normal(2, at=30, seed=2)])
    assert merged(points, np.repeat([0, 1, 2], [200, 200, 2])).tolist() == [0, 1, 1]


def test_one_cluster_stays_one():
    assert merged(normal(50), np.zeros(50, int)).tolist() == [0]


def test_at_most_800_cells_of_a_group_are_measured():
    points = np.concatenate([normal(3000), normal(900, at=4, seed=1)])
    a, b = np.arange(3000), np.arange(3000, 3900)
    one, other = (Evidence(np.arange(3900), [points], seed=seed).support(a, b) for seed in (0, 1))
    assert one != other  # other cells are drawn
    assert abs(one - other) < 0.2


def found(points, k=None, **options):
    chosen = ClusterSettings(**{"n_micro": 40, "restarts": 2, "algorithm": "linkage"} | options)
    return find_clusters(Spaces(points), k, settings=chosen, seed=0)


def test_one_type_is_one_cluster():
    one = found(normal(300))
    assert set(one.labels) == {0}
    assert one.levels.next_merge is None
    assert one.levels.partings == ()
    assert one.levels.next_split.support < 0.5
    assert set(one.levels.coarse) == {0}
    assert set(one.levels.fine) == {0, 1}
    assert found(normal(300), least_support=0).labels.max() > 0


def test_levels_nest_and_the_next_steps_are_named():
    sizes = (300, 200, 150, 100)
    points = np.concatenate([normal(n, at=9 * at, seed=at) for at, n in enumerate(sizes)])
    clusters = found(points)
    levels, truth = clusters.levels, np.repeat(np.arange(4), sizes)
    assert adjusted_rand_score(truth, clusters.labels) > 0.98
    assert (levels.fine.max() + 1, levels.coarse.max() + 1) == (8, 2)
    for fine, coarse in ((levels.fine, clusters.labels), (clusters.labels, levels.coarse)):
        pairs = set(zip(fine.tolist(), coarse.tolist(), strict=True))
        assert len(pairs) == len(set(fine.tolist()))
        assert np.all(np.diff(np.bincount(fine)) <= 0)
    assert is_valid_linkage(np.maximum(levels.splits, 0))
    assert levels.splits[-1, 3] == 8
    # The merges inside of clusters come first, and have no valley.
    assert levels.splits[:4, 2].max() < 0.5 < levels.splits[4:, 2].min()
    merge, split = levels.next_merge, levels.next_split
    assert merge.cells == tuple(np.bincount(clusters.labels)[list(merge.clusters)])
    assert merge.support == levels.splits[4, 2]
    assert split.clusters[0] == split.clusters[1]
    assert sum(split.cells) == np.bincount(clusters.labels)[split.clusters[0]]
    assert split.support == levels.splits[:4, 2].max()
    # The smaller of the two that would be joined next is least apart from the larger, or from what comes later.
    assert len(levels.partings) == 4
    larger, smaller = merge.clusters
    assert levels.partings[smaller].support <= merge.support
    assert larger not in levels.partings[larger].others
    assert levels.partings[0].support == levels.splits[-1, 2]  # the largest is joined to none
    assert {each.support for each in levels.partings} <= set(levels.splits[4:, 2])


def test_a_small_group_beside_a_cluster_says_nothing_against_the_cluster():
    sizes = (400, 300, 80)
    starts = (0, 30, 35)  # the small one is near the second
    parts = zip(sizes, starts, strict=True)
    points = np.concatenate([normal(n, at=at, seed=int(at)) for n, at in parts])
    clusters = found(points)
    truth = np.repeat([0, 1, 2], sizes)
    assert adjusted_rand_score(truth, clusters.labels) > 0.98
    first, second, small = clusters.levels.partings
    assert (first.others, second.others, small.others) == ((1, 2), (0,), (1,))
    assert small.support < min(first.support, second.support)
    assert first.support == second.support


def test_no_split_is_tested_by_linkage_if_the_number_is_given():
    assert found(normal(200), 2).levels is None
