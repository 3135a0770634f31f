import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist, pdist
from sklearn.metrics import adjusted_rand_score

from scrcl.cluster.agglomerate import MergeCost, agglomerate, cut, merge_tree
from scrcl.cluster.micro import MicroClusters, summarise
from scrcl.errors import InputError


def naive(points, labels, n_clusters, power):
    """Merge groups of points by their definition: means over all pairs of members."""
    groups = [np.flatnonzero(labels == name) for name in np.unique(labels)]
    while len(groups) > n_clusters:
        best = None
        for i in range(len(groups)):
            for j in range(i + 1, len(groups)):
                a, b = groups[i], groups[j]
                mean = cdist(points[a], points[b], "sqeuclidean").mean()
                cost = mean * (len(a) * len(b) / (len(a) + len(b))) ** power
                if best is None or cost < best[0] - 1e-12:
                    best = (cost, i, j)
        _, i, j = best
        groups[i] = np.concatenate([groups[i], groups.pop(j)])
    found = np.empty(len(points), dtype=int)
    for name, members in enumerate(groups):
        found[members] = name
    return found


@given(seed=st.integers(0, 200), power=st.sampled_from([0.0, 0.5, 1.0]), k=st.integers(1, 6))
def test_merging_summaries_is_merging_the_cells_in_them(seed, power, k):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(40, 3))
    labels = np.unique(rng.integers(10, size=40), return_inverse=True)[1]
    k = min(k, labels.max() + 1)
    merged = agglomerate(summarise(points, labels), k, cost=MergeCost(power))[labels]
    assert adjusted_rand_score(naive(points, labels, k, power), merged) == pytest.approx(1)


def test_single_cells_without_a_size_term_are_average_linkage():
    points = np.random.default_rng(0).normal(size=(60, 4))
    theirs = fcluster(linkage(pdist(points, "sqeuclidean"), "average"), 7, "maxclust")
    mine = agglomerate(summarise(points, np.arange(60)), 7, cost=MergeCost(0))
    assert adjusted_rand_score(theirs, mine) == 1


def test_a_large_type_stays_whole_next_to_small_ones():
    rng = np.random.default_rng(1)
    sizes = [2_000, 60, 60, 60]
    truth = np.repeat(np.arange(4), sizes)
    means = np.array([[0, 0], [9, 0], [0, 9], [9, 9]])
    points = means[truth] + rng.normal(size=(len(truth), 2))
    micro = np.unique(np.floor(points), axis=0, return_inverse=True)[1].ravel()
    merged = agglomerate(summarise(points, micro), 4, cost=MergeCost(0.5))[micro]
    assert adjusted_rand_score(truth, merged) > 0.99


def test_summaries_do_not_depend_on_the_block_size():
    rng = np.random.default_rng(2)
    points, labels = rng.normal(size=(100, 5)).astype(np.float32), rng.integers(7, size=100)
    whole, pieces = summarise(points, labels), summarise(points, labels, block_rows=13)
    for name in ("means", "sizes", "spreads"):
        assert getattr(whole, name) == pytest.approx(getattr(pieces, name))


def test_more_clusters_than_micro_clusters_are_refused():
    with pytest.raises(InputError, match=r"n_clusters .*\(2\); got 3"):
        agglomerate(summarise(np.eye(2), np.arange(2)), 3, cost=MergeCost(0.5))


def test_a_few_outliers_are_not_a_cluster():
    rng = np.random.default_rng(3)
    truth = np.repeat([0, 1, 2], [50, 50, 2])
    points = np.array([[0.0, 0], [8, 0], [60, 60]])[truth] + rng.normal(size=(102, 2))
    micro = summarise(points, np.arange(102))
    stray = agglomerate(micro, 2, cost=MergeCost(0))
    assert sorted(np.bincount(stray)) == [2, 100]
    kept = agglomerate(micro, 2, cost=MergeCost(0), smallest=5)
    assert adjusted_rand_score(truth[:100], kept[:100]) == 1
    assert kept[100] == kept[101] == kept[50]


def test_the_number_of_clusters_holds_if_all_micro_clusters_are_small():
    micro = summarise(np.random.default_rng(0).normal(size=(9, 2)), np.arange(9))
    assert len(set(agglomerate(micro, 6, cost=MergeCost(0.5), smallest=5))) == 6


@given(seed=st.integers(0, 50), k=st.integers(1, 12))
def test_a_cut_nests_in_every_coarser_one(seed, k):
    rng = np.random.default_rng(seed)
    micro = summarise(rng.normal(size=(12, 3)), np.arange(12))
    tree = merge_tree(micro, MergeCost(0.5))
    fine, coarse = cut(tree, k), cut(tree, max(k - 1, 1))
    assert len(set(fine)) == k
    assert len(set(zip(fine, coarse, strict=True))) == k


def test_given_joins_come_after_what_is_inside_and_before_costs():
    means = np.array([[0.0], [1.0], [10.0], [11.0], [20.0], [40.0]])
    micro = MicroClusters(means, np.full(6, 50), np.zeros(6))
    inside = np.array([0, 0, 1, 1, 2, 3])
    # Clusters 0 and 2 are joined though 0 and 1 are nearer. The second pair is one group by then.
    tree = merge_tree(micro, MergeCost(0.5), inside=[inside], joins=[(1, 4), (0, 4)])
    assert tree.pairs.tolist() == [[0, 1], [2, 3], [0, 4], [0, 2], [0, 5]]
    assert tree.costs[2] == pytest.approx((19.5**2 + 0.25) * (100 * 50 / 150) ** 0.5)
