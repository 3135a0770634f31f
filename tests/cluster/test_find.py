import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import dendrogram, fcluster, is_valid_linkage, linkage
from sklearn.metrics import adjusted_rand_score

from scrcl.cluster.agglomerate import WARD, MergeCost, agglomerate, merge_tree
from scrcl.cluster.algorithms.leiden import resolve
from scrcl.cluster.consensus import consensus, separations
from scrcl.cluster.count import count_clusters
from scrcl.cluster.find import cluster, find_clusters
from scrcl.cluster.micro import micro_clusters_inside, summarise, summarise_clusters
from scrcl.cluster.names import Algorithm
from scrcl.cluster.protocol import Spaces
from scrcl.cluster.settings import ClusterSettings
from scrcl.cluster.table import ALGORITHMS
from scrcl.cluster.tree import Hierarchy, linkage_matrix
from scrcl.engine.load_config import load_config
from scrcl.errors import InputError

NAMES = sorted(ALGORITHMS)


def blobs(sizes=(160, 90, 60, 30), *, n_dims=5, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    means = rng.normal(scale=8, size=(len(sizes), n_dims))
    points = (means[truth] + rng.normal(size=(len(truth), n_dims))).astype(np.float32)
    order = rng.permutation(len(truth))
    return points[order], truth[order]


def found_by(algorithm, points, k, **options):
    chosen = ClusterSettings(algorithm=algorithm, n_micro=40, **options)
    return find_clusters(Spaces(points), k, settings=chosen, seed=0)


def nests(fine, coarse):
    return len(set(zip(fine.tolist(), coarse.tolist(), strict=True))) == len(set(fine.tolist()))


def test_every_name_has_an_algorithm():
    assert set(Algorithm.__args__) == set(ALGORITHMS)


@pytest.mark.parametrize("algorithm", NAMES)
def test_each_algorithm_finds_types_that_are_far_apart(algorithm):
    points, truth = blobs()
    found = found_by(algorithm, points, 4)
    assert adjusted_rand_score(truth, found.labels) > 0.99
    assert np.bincount(found.labels).tolist() == sorted(np.bincount(truth))[::-1]
    assert found.notes == []
    for name in ("labels", "cluster_of_micro"):
        assert getattr(found, name).dtype == np.int32
    means = [points[found.labels == k].mean(axis=0) for k in range(4)]
    np.testing.assert_allclose(found.cluster_means, means, atol=1e-4)
    assert found.micro_sizes.sum() == len(points)
    again = found_by(algorithm, points, 4)
    np.testing.assert_array_equal(again.labels, found.labels)


@pytest.mark.parametrize("algorithm", NAMES)
def test_the_nearest_micro_cluster_mean_gives_the_cluster(algorithm):
    from scipy.spatial.distance import cdist

    points, _ = blobs()
    found = found_by(algorithm, points, 4)
    nearest = cdist(points, found.micro_means).argmin(axis=1)
    assert np.mean(found.cluster_of_micro[nearest] == found.labels) > 0.98


@pytest.mark.parametrize("algorithm", NAMES)
def test_extra_cuts_nest_in_one_tree_that_scipy_draws(algorithm):
    points, _ = blobs((90, 80, 70, 60, 50))
    found = found_by(algorithm, points, 5, also=(2, 3, 8))
    assert {k: len(set(labels.tolist())) for k, labels in found.extra_cuts.items()} == {
        2: 2,
        3: 3,
        8: 8,
    }
    assert nests(found.labels, found.extra_cuts[3])
    assert nests(found.extra_cuts[3], found.extra_cuts[2])
    assert found.nested == {2: True, 3: True, 8: algorithm != "kmeans"}
    if algorithm == "kmeans":
        assert "8 clusters of cluster.also" in found.notes[0]
    else:
        assert nests(found.extra_cuts[8], found.labels)
    for tree, n in ((found.cluster_tree, 5), (found.micro_tree, len(found.micro_means))):
        assert is_valid_linkage(tree, throw=True)
        assert len(tree) == n - 1
        assert tree[-1, 3] == n
        assert (np.diff(tree[:, 2]) >= 0).all()
    assert sorted(dendrogram(found.cluster_tree, no_plot=True)["leaves"]) == list(range(5))
    theirs = fcluster(found.micro_tree, 5, "maxclust")
    if len(set(theirs)) == 5:  # scipy cuts by height, and heights may be equal
        assert adjusted_rand_score(theirs, found.cluster_of_micro) == 1


@given(seed=st.integers(0, 100), k=st.integers(1, 5), more=st.integers(0, 12))
def test_every_cut_nests_in_any_clusters(seed, k, more):
    rng = np.random.default_rng(seed)
    micro = summarise(rng.normal(size=(60, 3)), np.r_[np.arange(20), rng.integers(20, size=40)])
    clusters = np.r_[np.arange(k), rng.integers(k, size=20 - k)]
    tree = Hierarchy(micro, clusters, MergeCost(0.5))
    np.testing.assert_array_equal(tree.cut(k, smallest=3), clusters)
    n = min(k + more, 20)
    fine = tree.cut(n, smallest=3)
    assert len(set(fine.tolist())) == n
    assert nests(fine, clusters)
    coarse = tree.cut(max(k - 1, 1), smallest=3)
    assert nests(clusters, coarse)


def test_parts_of_a_cluster_are_not_outliers():
    points, _ = blobs((100, 100, 2), n_dims=2)
    micro = summarise(points, np.arange(202))
    clusters = agglomerate(micro, 2, cost=MergeCost(0.0), smallest=5)
    tree = Hierarchy(micro, clusters, MergeCost(0.0))
    assert np.bincount(tree.cut(4, smallest=5)).min() >= 5
    assert np.bincount(tree.cut(4, smallest=1)).min() < 5


@pytest.mark.parametrize("seed", range(3))
def test_without_spreads_the_tree_of_cells_is_wards(seed):
    points = np.random.default_rng(seed).normal(size=(50, 4))
    theirs = linkage(points, "ward")
    mine = merge_tree(summarise(points, np.arange(50)), WARD)
    np.testing.assert_allclose(np.sqrt(2 * mine.costs), theirs[:, 2], rtol=1e-6)
    matrix = linkage_matrix(mine)
    np.testing.assert_array_equal(matrix[:, [0, 1, 3]], theirs[:, [0, 1, 3]])


def test_ward_of_micro_clusters_counts_every_cell():
    points = np.random.default_rng(4).normal(size=(60, 3))
    labels = np.repeat(np.arange(12), 5)
    merges = merge_tree(summarise(points, labels), WARD)
    parts = {i: points[labels == i] for i in range(12)}

    def squares(cells):
        return ((cells - cells.mean(axis=0)) ** 2).sum()

    for (i, j), cost in zip(merges.pairs, merges.costs, strict=True):
        both = np.concatenate([parts[i], parts[j]])
        assert cost == pytest.approx(squares(both) - squares(parts[i]) - squares(parts[j]))
        parts[i] = both


def test_summaries_of_clusters_are_those_of_their_cells():
    rng = np.random.default_rng(5)
    points, labels = rng.normal(size=(80, 3)), np.arange(80) % 10
    clusters = np.arange(10) % 3
    mine = summarise_clusters(summarise(points, labels), clusters)
    true = summarise(points, clusters[labels])
    for name in ("means", "sizes", "spreads"):
        np.testing.assert_allclose(getattr(mine, name), getattr(true, name))


def test_spherical_clusters_are_directions():
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 50)
    directions = np.array([[1, 0, 0], [0.8, 0.6, 0], [0.8, 0, 0.6]])[truth]
    directions = directions + rng.normal(scale=0.03, size=(150, 3))
    points = (directions * rng.uniform(0.2, 9, size=(150, 1))).astype(np.float32)
    assert adjusted_rand_score(truth, found_by("kmeans", points, 3, spherical=True).labels) == 1
    assert adjusted_rand_score(truth, found_by("kmeans", points, 3).labels) < 0.7


def test_more_runs_of_kmeans_are_better():
    points = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)

    def objective(n_init):
        found = found_by("kmeans", points, 12, n_init=n_init)
        return ((points - found.cluster_means[found.labels]) ** 2).sum()

    assert objective(12) < 0.98 * objective(1)


@pytest.mark.parametrize("k", [1, 3, 7, 12])
def test_the_resolution_is_found_by_bisection(k):
    tried = []

    def communities(resolution):
        tried.append(resolution)
        return np.arange(60) % max(min(int(10 * resolution), 30), 1)

    found = resolve(communities, k, smallest=2)
    assert found.n_found == k
    assert len(tried) <= 24


def test_a_note_reports_a_number_that_leiden_cannot_find():
    found = resolve(lambda resolution: np.arange(40) % (2 if resolution < 3 else 6), 4, smallest=2)
    assert found.n_found == 6
    points = np.concatenate([blobs((60, 60, 60))[0]])
    clusters = found_by("leiden", points, 2)
    assert clusters.labels.max() + 1 == 3
    assert re.search("no resolution with 2 communities.* 3 ", clusters.notes[0])


def test_leiden_of_a_subset_gives_every_cell_a_cluster():
    points, truth = blobs((400, 300, 200))
    found = found_by("leiden", points, 3, auto_cells=300)
    assert adjusted_rand_score(truth, found.labels) > 0.99
    assert len(found.labels) == 900


def test_each_micro_cluster_is_inside_one_cluster():
    points, truth = blobs()
    micro_labels, means, cluster_of_micro = micro_clusters_inside(points, truth, 30, seed=0)
    assert 25 <= len(means) <= 35
    np.testing.assert_array_equal(cluster_of_micro[micro_labels], truth)


def test_labels_alone_are_those_of_the_clustering():
    points, _ = blobs()
    found = cluster(points, 4, settings=ClusterSettings(n_micro=40), seed=0)
    np.testing.assert_array_equal(found, found_by("linkage", points, 4).labels)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cluster.spherical=true", r"cluster\.spherical .*kmeans; got vote"),
        ("cluster.also=[3,3]", r"cluster\.also .*got \[3, 3\]"),
        ("cluster.also=[1]", "cluster.also"),
        ("cluster.n_neighbors=0", r"cluster\.n_neighbors .*got 0"),
        ("cluster.algorithm=magic", r"cluster\.algorithm .*magic"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        load_config(settings=[setting])


def test_distance_between_micro_clusters_is_the_share_of_views_that_separate_them():
    from scipy.spatial.distance import cdist

    rng = np.random.default_rng(0)
    micro_labels = np.concatenate([np.arange(6), rng.integers(0, 6, 94)])
    views = [rng.integers(0, k, 100) for k in (2, 3, 5)]
    separated = np.mean([labels[:, None] != labels[None, :] for labels in views], axis=0)
    found = separations(micro_labels, iter(views))
    between = cdist(found.means, found.means, "sqeuclidean")
    between += found.spreads[:, None] + found.spreads[None, :]
    for i in range(6):
        for j in range(6):
            if i != j:  # the diagonal also has pairs of a cell with itself
                expected = separated[np.ix_(micro_labels == i, micro_labels == j)].mean()
                assert between[i, j] == pytest.approx(expected)


def test_one_view_is_outvoted_by_two():
    truth = np.repeat([0, 1, 2], 20)
    strange = np.tile([0, 1, 2], 20)
    micro_labels = np.arange(60) // 2
    found = consensus(micro_labels, [truth, strange, (truth + 1) % 3], 3, smallest=1)
    assert adjusted_rand_score(truth, found[micro_labels]) == 1


def test_with_restarts_labels_depend_less_on_the_seed():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(600, 4)).astype(np.float32)  # no clusters: any cut is chance

    def agreement(restarts):
        chosen = ClusterSettings(n_micro=40, restarts=restarts)
        found = [cluster(points, 4, settings=chosen, seed=seed) for seed in range(4)]
        return np.mean([adjusted_rand_score(a, b) for i, a in enumerate(found) for b in found[:i]])

    assert agreement(12) > agreement(1) + 0.05


@pytest.mark.parametrize(("n_types", "n_outliers"), [(4, 3), (40, 3)])
def test_few_and_many_types_are_counted_without_outliers(n_types, n_outliers):
    sizes = [60 * 40 // n_types] * n_types + [4] * n_outliers
    points, _ = blobs(sizes, n_dims=12)
    counted = count_clusters([points], n_neighbors=15, settings=ClusterSettings(), seed=0)
    assert counted.n_clusters == pytest.approx(n_types, abs=n_types // 10)
    assert counted.note is None


def test_a_note_reports_a_count_of_few_cells():
    points, _ = blobs((300, 200, 100), n_dims=12)
    high = ClusterSettings(resolution=1e3)
    counted = count_clusters([points], n_neighbors=15, settings=high, seed=0)
    assert counted.n_clusters == 2
    assert "0% of the cells" in counted.note
    assert "cluster.resolution 1000" in counted.note


def test_further_clusterings_of_a_subset_agree_with_those_of_all_cells(monkeypatch):
    from scrcl.cluster.algorithms import linkage as by_linkage

    points, truth = blobs((900, 500, 300, 40), n_dims=6)
    whole = found_by("linkage", points, 4)
    n_clustered = []
    kmeans = by_linkage.kmeans
    monkeypatch.setattr(by_linkage, "VIEW_CELLS", 400)
    monkeypatch.setattr(
        by_linkage, "kmeans", lambda p, *a, **k: n_clustered.append(len(p)) or kmeans(p, *a, **k)
    )
    some = found_by("linkage", points, 4)
    assert n_clustered[0] == len(points)
    assert len(n_clustered) == 8
    assert all(400 <= n <= 440 for n in n_clustered[1:])
    assert adjusted_rand_score(whole.labels, some.labels) > 0.99
    assert adjusted_rand_score(truth, some.labels) > 0.99
    np.testing.assert_array_equal(some.micro_sizes, np.bincount(first_micro_labels(points)))


def first_micro_labels(points):
    once = ClusterSettings(n_micro=40, restarts=1)
    return ALGORITHMS["linkage"](Spaces(points), 4, settings=once, seed=0).micro_labels


def test_leiden_has_clusters_if_every_community_is_small():
    profiles = np.random.default_rng(0).normal(scale=9, size=(20, 4))
    pairs = np.repeat(profiles, 2, axis=0).astype(np.float32)
    chosen = ClusterSettings(algorithm="leiden")
    found = find_clusters(Spaces(pairs, n_neighbors=1), 2, settings=chosen, seed=0)
    assert found.labels.max() + 1 > 2
    assert f" {found.labels.max() + 1} " in found.notes[0]


def test_leiden_keeps_a_type_that_is_small_only_in_its_subset():
    points, truth = blobs((500, 300, 200))
    chosen = ClusterSettings(algorithm="leiden", auto_cells=100, smallest_cells=100, n_micro=40)
    found = find_clusters(Spaces(points, n_neighbors=10), 3, settings=chosen, seed=0)
    assert adjusted_rand_score(truth, found.labels) > 0.95


def test_heights_of_a_tree_are_never_below_zero():
    summary = summarise(np.full((6, 3), 0.1, np.float32), np.arange(6) % 3)
    merges = merge_tree(summary, WARD)
    lowered = merges._replace(costs=np.asarray(merges.costs) - 1e-9)
    assert (linkage_matrix(lowered)[:, 2] >= 0).all()
