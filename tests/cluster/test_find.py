import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import dendrogram, fcluster, is_valid_linkage, linkage
from sklearn.metrics import adjusted_rand_score

from scrcl.cluster.agglomerate import agglomerate, merge_tree, summarise
from scrcl.cluster.algorithms.leiden import resolve
from scrcl.cluster.consensus import agreed, parted
from scrcl.cluster.count import count_clusters
from scrcl.cluster.find import cluster, find_clusters
from scrcl.cluster.inside import groups_inside
from scrcl.cluster.names import Method
from scrcl.cluster.protocol import Spaces
from scrcl.cluster.settings import ClusterSettings
from scrcl.cluster.table import WAYS
from scrcl.cluster.tree import Hierarchy, linkage_matrix, united
from scrcl.engine.load_config import load_config
from scrcl.errors import InputError

WAY_NAMES = sorted(WAYS)


def blobs(sizes=(160, 90, 60, 30), *, n_dims=5, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    centres = rng.normal(scale=8, size=(len(sizes), n_dims))
    points = (centres[truth] + rng.normal(size=(len(truth), n_dims))).astype(np.float32)
    order = rng.permutation(len(truth))
    return points[order], truth[order]


def found_by(method, points, k, **options):
    config = ClusterSettings(algorithm=method, n_micro=40, **options)
    return find_clusters(Spaces(points), k, config=config, seed=0)


def nests(fine, coarse):
    return len(set(zip(fine.tolist(), coarse.tolist(), strict=True))) == len(set(fine.tolist()))


def test_every_name_has_a_way():
    assert set(Method.__args__) == set(WAYS)


@pytest.mark.parametrize("method", WAY_NAMES)
def test_each_way_finds_types_that_are_far_apart(method):
    points, truth = blobs()
    found = found_by(method, points, 4)
    assert adjusted_rand_score(truth, found.labels) > 0.99
    assert np.bincount(found.labels).tolist() == sorted(np.bincount(truth))[::-1]
    assert found.notes == []
    for name in ("labels", "owners"):
        assert getattr(found, name).dtype == np.int32
    means = [points[found.labels == k].mean(axis=0) for k in range(4)]
    np.testing.assert_allclose(found.centroids, means, atol=1e-4)
    assert found.sizes.sum() == len(points)
    again = found_by(method, points, 4)
    np.testing.assert_array_equal(again.labels, found.labels)


@pytest.mark.parametrize("method", WAY_NAMES)
def test_new_cells_go_where_the_nearest_centre_says(method):
    from scipy.spatial.distance import cdist

    points, _ = blobs()
    found = found_by(method, points, 4)
    assert np.mean(found.owners[cdist(points, found.centres).argmin(axis=1)] == found.labels) > 0.98


@pytest.mark.parametrize("method", WAY_NAMES)
def test_further_cuts_nest_in_one_tree_that_scipy_draws(method):
    points, _ = blobs((90, 80, 70, 60, 50))
    found = found_by(method, points, 5, also=(2, 3, 8))
    assert {k: len(set(labels.tolist())) for k, labels in found.also.items()} == {2: 2, 3: 3, 8: 8}
    assert nests(found.labels, found.also[3])
    assert nests(found.also[3], found.also[2])
    assert found.nested == {2: True, 3: True, 8: method != "kmeans"}
    if method == "kmeans":
        assert "run anew" in found.notes[0]
    else:
        assert nests(found.also[8], found.labels)
    for tree, n in ((found.tree, 5), (found.group_tree, len(found.centres))):
        assert is_valid_linkage(tree, throw=True)
        assert len(tree) == n - 1
        assert tree[-1, 3] == n
        assert (np.diff(tree[:, 2]) >= 0).all()
    assert sorted(dendrogram(found.tree, no_plot=True)["leaves"]) == list(range(5))
    groups = fcluster(found.group_tree, 5, "maxclust")
    if len(set(groups)) == 5:  # scipy cuts by height, and heights may tie
        assert adjusted_rand_score(groups, found.owners) == 1


@given(seed=st.integers(0, 100), k=st.integers(1, 5), more=st.integers(0, 12))
@settings(deadline=None)
def test_every_cut_nests_in_the_clusters_whatever_they_are(seed, k, more):
    rng = np.random.default_rng(seed)
    groups = summarise(rng.normal(size=(60, 3)), np.r_[np.arange(20), rng.integers(20, size=40)])
    owners = np.r_[np.arange(k), rng.integers(k, size=20 - k)]
    tree = Hierarchy(groups, owners, size_power=0.5, spreads=True)
    np.testing.assert_array_equal(tree.cut(k, smallest=3), owners)
    n = min(k + more, 20)
    fine = tree.cut(n, smallest=3)
    assert len(set(fine.tolist())) == n
    assert nests(fine, owners)
    coarse = tree.cut(max(k - 1, 1), smallest=3)
    assert nests(owners, coarse)


def test_parts_of_a_cluster_are_no_strays():
    points, _ = blobs((100, 100, 2), n_dims=2)
    groups = summarise(points, np.arange(202))
    owners = agglomerate(groups, 2, size_power=0.0, smallest=5)
    tree = Hierarchy(groups, owners, size_power=0.0, spreads=True)
    assert np.bincount(tree.cut(4, smallest=5)).min() >= 5
    assert np.bincount(tree.cut(4, smallest=1)).min() < 5


@pytest.mark.parametrize("seed", range(3))
def test_without_spreads_the_tree_of_cells_is_wards(seed):
    points = np.random.default_rng(seed).normal(size=(50, 4))
    theirs = linkage(points, "ward")
    mine = merge_tree(summarise(points, np.arange(50)), size_power=1.0, spreads=False)
    np.testing.assert_allclose(np.sqrt(2 * mine.costs), theirs[:, 2], rtol=1e-6)
    matrix = linkage_matrix(mine)
    np.testing.assert_array_equal(matrix[:, [0, 1, 3]], theirs[:, [0, 1, 3]])


def test_ward_of_groups_counts_every_cell():
    points = np.random.default_rng(4).normal(size=(60, 3))
    labels = np.repeat(np.arange(12), 5)
    merges = merge_tree(summarise(points, labels), size_power=1.0, spreads=False)
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
    owners = np.arange(10) % 3
    mine, true = united(summarise(points, labels), owners), summarise(points, owners[labels])
    for name in ("centroids", "sizes", "spreads"):
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
        return ((points - found.centroids[found.labels]) ** 2).sum()

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


def test_a_number_that_leiden_cannot_meet_is_told():
    found = resolve(lambda resolution: np.arange(40) % (2 if resolution < 3 else 6), 4, smallest=2)
    assert found.n_found == 6
    points = np.concatenate([blobs((60, 60, 60))[0]])
    said = found_by("leiden", points, 2)
    assert said.labels.max() + 1 == 3
    assert "no resolution with 2 communities; 3 are there" in said.notes[0]


def test_of_many_cells_leiden_looks_at_a_sample():
    points, truth = blobs((400, 300, 200))
    found = found_by("leiden", points, 3, auto_cells=300)
    assert adjusted_rand_score(truth, found.labels) > 0.99
    assert len(found.labels) == 900


def test_groups_lie_inside_clusters():
    points, truth = blobs()
    groups, centres, owners = groups_inside(points, truth, 30, seed=0)
    assert 25 <= len(centres) <= 35
    np.testing.assert_array_equal(owners[groups], truth)


def test_labels_alone_are_those_of_the_clustering():
    points, _ = blobs()
    config = ClusterSettings(n_micro=40)
    np.testing.assert_array_equal(
        cluster(points, 4, config=config, seed=0), found_by("linkage", points, 4).labels
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cluster.spherical=true", r"spherical must go with cluster.algorithm = kmeans; got auto"),
        ("cluster.also=[3,3]", r"each number once; got \[3, 3\]"),
        ("cluster.also=[1]", "cluster.also"),
        ("cluster.algorithm=magic", "cluster.algorithm must be"),
    ],
)
def test_settings_without_meaning_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        load_config(settings=[setting])


def test_distance_between_groups_is_the_share_of_views_that_part_their_cells():
    from scipy.spatial.distance import cdist

    rng = np.random.default_rng(0)
    groups = np.concatenate([np.arange(6), rng.integers(0, 6, 94)])
    views = [rng.integers(0, k, 100) for k in (2, 3, 5)]
    parting = np.mean([labels[:, None] != labels[None, :] for labels in views], axis=0)
    found = parted(groups, iter(views))
    between = cdist(found.centroids, found.centroids, "sqeuclidean")
    between += found.spreads[:, None] + found.spreads[None, :]
    for i in range(6):
        for j in range(6):
            if i != j:  # of one group with itself, pairs of a cell with itself are in the mean
                expected = parting[np.ix_(groups == i, groups == j)].mean()
                assert between[i, j] == pytest.approx(expected)


def test_a_view_alone_is_outvoted():
    truth = np.repeat([0, 1, 2], 20)
    strange = np.tile([0, 1, 2], 20)
    groups = np.arange(60) // 2
    owners = agreed(groups, [truth, strange, (truth + 1) % 3], 3, smallest=1)
    assert adjusted_rand_score(truth, owners[groups]) == 1


def test_restarts_make_labels_hang_less_on_the_seed():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(600, 4)).astype(np.float32)  # no clusters: any cut is chance

    def agreement(restarts):
        config = ClusterSettings(n_micro=40, restarts=restarts)
        found = [cluster(points, 4, config=config, seed=seed) for seed in range(4)]
        return np.mean([adjusted_rand_score(a, b) for i, a in enumerate(found) for b in found[:i]])

    assert agreement(12) > agreement(1) + 0.05


@pytest.mark.parametrize(("n_types", "n_strays"), [(4, 3), (40, 3)])
def test_auto_counts_types_however_many_and_not_strays(n_types, n_strays):
    sizes = [60 * 40 // n_types] * n_types + [4] * n_strays
    points, _ = blobs(sizes, n_dims=12)
    counted = count_clusters([points], n_neighbors=15, config=ClusterSettings(), seed=0)
    assert counted.n_clusters == pytest.approx(n_types, abs=n_types // 10)
    assert counted.note is None


def test_a_count_of_few_cells_says_so():
    points, _ = blobs((300, 200, 100), n_dims=12)
    counted = count_clusters(
        [points], n_neighbors=15, config=ClusterSettings(resolution=1e3), seed=0
    )
    assert counted.n_clusters == 2
    assert "counted from 0% of the cells" in counted.note
    assert "cluster.resolution 1000" in counted.note


def test_further_clusterings_of_a_sample_agree_with_those_of_all_cells(monkeypatch):
    from scrcl.cluster.algorithms import linkage as by_linkage

    points, truth = blobs((900, 500, 300, 40), n_dims=6)
    whole = found_by("linkage", points, 4)
    looked_at = []
    kmeans = by_linkage.kmeans
    monkeypatch.setattr(by_linkage, "VIEW_CELLS", 400)
    monkeypatch.setattr(
        by_linkage, "kmeans", lambda p, *a, **k: looked_at.append(len(p)) or kmeans(p, *a, **k)
    )
    some = found_by("linkage", points, 4)
    assert looked_at[0] == len(points)
    assert len(looked_at) == 8
    assert all(400 <= n <= 440 for n in looked_at[1:])
    assert adjusted_rand_score(whole.labels, some.labels) > 0.99
    assert adjusted_rand_score(truth, some.labels) > 0.99
    np.testing.assert_array_equal(some.sizes, np.bincount(whole_groups(points)))


def whole_groups(points):
    config = ClusterSettings(n_micro=40, restarts=1)
    return WAYS["linkage"](Spaces(points), 4, config=config, seed=0).groups


def test_leiden_has_clusters_where_every_community_is_small():
    profiles = np.random.default_rng(0).normal(scale=9, size=(20, 4))
    pairs = np.repeat(profiles, 2, axis=0).astype(np.float32)
    config = ClusterSettings(algorithm="leiden")
    found = find_clusters(Spaces(pairs, n_neighbors=1), 2, config=config, seed=0)
    assert found.labels.max() + 1 > 2
    assert f"{found.labels.max() + 1} are there" in found.notes[0]


def test_leiden_keeps_a_type_that_only_its_sample_makes_small():
    points, truth = blobs((500, 300, 200))
    config = ClusterSettings(algorithm="leiden", auto_cells=100, smallest_cells=100, n_micro=40)
    found = find_clusters(Spaces(points, n_neighbors=10), 3, config=config, seed=0)
    assert adjusted_rand_score(truth, found.labels) > 0.95


def test_heights_of_a_tree_are_never_below_zero():
    summary = summarise(np.full((6, 3), 0.1, np.float32), np.arange(6) % 3)
    merges = merge_tree(summary, size_power=1, spreads=False)
    lowered = merges._replace(costs=np.asarray(merges.costs) - 1e-9)
    assert (linkage_matrix(lowered)[:, 2] >= 0).all()
