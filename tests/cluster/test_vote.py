import re

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from scrcl.cluster.agreement import fewer_neighbors, nearest_cells, vote
from scrcl.cluster.algorithms.vote import by_vote
from scrcl.cluster.evidence import Evidence
from scrcl.cluster.find import find_clusters
from scrcl.cluster.merging import merge_unsupported
from scrcl.cluster.protocol import Representations, Spaces
from scrcl.cluster.settings import ClusterSettings
from scrcl.graph.communities import neighbour_graph
from scrcl.prep.scalings import median_depth_scores, residual_scores, totals_behind


def types(sizes, *, apart=9.0, n_dims=12, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    means = apart * np.eye(n_dims)[: len(sizes)]
    points = means[truth] + rng.normal(size=(len(truth), n_dims))
    order = rng.permutation(len(truth))
    return points[order].astype(np.float32), truth[order]


def clusters(points, k=None, *, representations=None, **options):
    spaces = Spaces(points, points, representations=representations)
    return find_clusters(spaces, k, settings=ClusterSettings(**options), seed=0)


def test_dominant_types_stay_whole_and_small_ones_are_found():
    points, truth = types((700, 60, 40), apart=5)
    found = clusters(points)
    assert adjusted_rand_score(truth, found.labels) > 0.9
    # The communities cut the dominant type.
    assert clusters(points, least_support=0).labels.max() > 2


@pytest.mark.parametrize("n", [100, 600])
def test_one_type_is_one_cluster(n):
    points = np.random.default_rng(0).normal(size=(n, 15)).astype(np.float32)
    assert clusters(points).labels.max() == 0


def test_types_of_ten_cells_are_found():
    points, truth = types((10,) * 12, apart=6, n_dims=15)
    found = clusters(points)
    assert adjusted_rand_score(truth, found.labels) > 0.9
    # Types run together in a graph with more neighbours than a type has cells.
    assert clusters(points, n_neighbors=15).labels.max() < found.labels.max()


def test_small_data_sets_have_fewer_neighbours():
    numbers = [fewer_neighbors(15, n) for n in (50, 100, 225, 400, 900, 10_000)]
    assert numbers == [5, 5, 8, 10, 15, 15]
    assert fewer_neighbors(4, 900) == 4


def overlapping(n_others, *, seed):
    """Two groups of eight cells that overlap, and others that are far apart."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(n_others + 2), 8)
    means = 20 * np.eye(9)[: n_others + 2]
    means[1] = means[0] + 3 * np.eye(9)[8]
    points = means[truth] + rng.normal(size=(len(truth), 9))
    return Evidence(np.arange(len(truth)), [points], seed=0), truth


def test_in_small_groups_it_counts_whether_valleys_part_the_others():
    evidence, truth = overlapping(5, seed=7)
    pair = np.flatnonzero(truth == 0), np.flatnonzero(truth == 1)
    assert 0.4 < evidence.support(*pair) < 0.45
    assert merge_unsupported(evidence, truth, 0.5).max() + 1 == 7
    assert merge_unsupported(evidence, truth, 0.6).max() + 1 == 6
    # One pair says nothing about other pairs.
    evidence, truth = overlapping(0, seed=10)
    assert 0.4 < evidence.support(np.arange(8), np.arange(8, 16)) < 0.5
    assert merge_unsupported(evidence, truth, 0.4).max() + 1 == 1
    assert merge_unsupported(evidence, truth, 0.2).max() + 1 == 2


@pytest.mark.parametrize("k", [2, 3, 7])
def test_any_number_is_cut_from_the_tree_of_the_supported_clusters(k):
    points, _ = types((300, 200, 100, 60))
    supported, cut = clusters(points), clusters(points, k)
    assert supported.labels.max() + 1 == 4
    assert cut.labels.max() + 1 == k
    pairs = set(zip(supported.labels.tolist(), cut.labels.tolist(), strict=True))
    assert len(pairs) == max(k, 4)
    assert re.search(f"supports 4 clusters .* {k} were asked for", cut.notes[0])
    assert not supported.notes
    if k < 4:
        expected = {2: "200, 100 and 60 cells (360 in all)", 3: "100 and 60 cells (160 in all)"}
        assert f"Joined are clusters of {expected[k]}." in cut.notes[0]
    assert cut.levels.next_merge is not None


def test_more_clusters_than_supported_are_parts_in_the_embedding():
    scores, truth = types((300, 200))
    halves = np.random.default_rng(1).permutation(len(truth)) % 2
    parts = np.where(truth == 0, halves, 2)
    embedding = (8 * np.eye(3)[parts] + np.random.default_rng(2).normal(size=(500, 3))).astype(
        np.float32
    )
    spaces = Spaces(embedding, scores)
    found = find_clusters(spaces, None, settings=ClusterSettings(also=(3,)), seed=0)
    assert adjusted_rand_score(truth, found.labels) > 0.99  # scores do not show the parts
    assert adjusted_rand_score(parts, found.extra_cuts[3]) > 0.99


def test_other_cells_take_the_cluster_of_the_nearest_micro_cluster():
    points, truth = types((900, 600, 300))
    found = clusters(points, vote_cells=400)
    assert adjusted_rand_score(truth, found.labels) > 0.99


def test_equal_cells_are_one_cluster():
    found = clusters(np.ones((60, 5), np.float32))
    assert set(found.labels) == {0}
    assert found.levels.next_split is None or found.levels.next_split.support <= 0


@pytest.mark.parametrize("n", [2, 5, 12])
def test_a_few_cells_are_clustered(n):
    points = types((n,))[0]
    assert clusters(points).labels.max() == 0
    assert clusters(points, 2).labels.max() == 1


def test_without_scores_linkage_is_taken():
    points, _ = types((200, 100))
    found = find_clusters(Spaces(points), 2, settings=ClusterSettings(n_micro=40), seed=0)
    linked = find_clusters(
        Spaces(points), 2, settings=ClusterSettings(n_micro=40, algorithm="linkage"), seed=0
    )
    np.testing.assert_array_equal(found.labels, linked.labels)


def test_edges_weigh_by_the_graphs_and_partitions_that_agree():
    a, truth = types((60, 60), apart=4, seed=1)
    b = types((60, 60), apart=4, seed=2)[0][np.argsort(np.argsort(truth, kind="stable"))]
    graph, partitions = vote(nearest_cells([a, b], 20, 0), 15, 0)
    # Two representations, each at three resolutions.
    assert [len(partition) for partition in partitions] == [120] * 6
    assert (graph != graph.T).nnz == 0
    assert graph.data.min() > 0
    assert graph.data.max() <= 1
    # 12 components are below 15 and 30, so each representation has one graph.
    union = neighbour_graph(a, 15, 0) + neighbour_graph(b, 15, 0)
    assert set(zip(*graph.nonzero(), strict=True)) <= set(zip(*union.nonzero(), strict=True))
    both = union.multiply(graph > 0).tocsr()
    assert graph[both == 1].max() <= 0.5


def test_the_representations_vote_together():
    # Each shows two of three types.
    points, truth = types((200, 200, 200))
    first, second = points.copy(), points.copy()
    first[:, 0], second[:, 1] = points[:, 3], points[:, 3]
    second[:, 2], first[:, 2] = points[:, 4], points[:, 4]
    alone = clusters(first)
    # Each valley is in one of the two representations, so its mean depth is about a half.
    both = clusters(
        first,
        representations=lambda cells: Representations([first[cells], second[cells]]),
        least_support=0.4,
    )
    assert alone.labels.max() + 1 == 2
    assert adjusted_rand_score(truth, both.labels) > 0.95


def counts(n=300, m=80, *, seed=0):
    rng = np.random.default_rng(seed)
    profile = rng.gamma(0.5, size=(3, m))
    rows = profile[rng.integers(3, size=n)] * rng.lognormal(3, 0.5, size=(n, 1))
    return rng.poisson(rows / profile.sum(axis=1).mean()).astype(np.float64) + (np.arange(m) == 0)


def logs_of(x, totals):
    return csr_matrix(np.log1p(1e4 * x / totals[:, None]).astype(np.float32))


def same_scores(found, rows):
    expected = PCA(found.shape[1], svd_solver="full").fit_transform(rows)
    signs = np.sign((expected * found).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=2e-3 * np.abs(expected).max())


def test_median_depth_scores_are_those_of_the_rescaled_counts():
    x = counts()
    totals = x.sum(axis=1) + 5  # genes that were not selected
    found = median_depth_scores(logs_of(x, totals), totals, 4)
    same_scores(found, np.log1p(x * np.median(totals) / totals[:, None]))


def test_residual_scores_are_those_of_pearson_residuals():
    x = counts()
    x[:, 7] = 0  # a gene that these cells lack
    x[3, 2] += 400  # beyond the limit
    totals = x.sum(axis=1)
    found = residual_scores(logs_of(x, totals), totals, 4)
    mean = totals[:, None] * x.sum(axis=0) / totals.sum()
    with np.errstate(invalid="ignore"):
        residuals = np.nan_to_num((x - mean) / np.sqrt(mean + mean**2 / 100))
    assert residuals.max() > np.sqrt(300)
    same_scores(found, np.clip(residuals, -np.sqrt(300), np.sqrt(300)))


@pytest.mark.parametrize("target", [1e4, 2_345.6])
def test_log_values_of_counts_show_their_totals(target):
    x = counts()
    totals = x.sum(axis=1) + 5
    logs = logs_of(x * target / 1e4, totals)
    found = totals_behind(logs)
    np.testing.assert_allclose(found * target / 1e4, totals, rtol=1e-4)
    for scores in (median_depth_scores, residual_scores):
        same = scores(logs_of(x, totals), totals, 4)
        np.testing.assert_allclose(
            np.abs(scores(logs, found, 4)), np.abs(same), atol=2e-3 * np.abs(same).max()
        )


def test_a_cell_without_a_count_of_one_or_without_values_changes_no_other():
    x = counts()
    x[0, x[0] < 2] = 0
    x[1] = 0
    totals = np.linspace(500, 2000, 300)
    found = totals_behind(logs_of(x, totals))
    np.testing.assert_allclose(found[2:], totals[2:], rtol=1e-4)
    assert 0 < found[0] < totals[0]
    assert found[1] == pytest.approx(np.median(totals), rel=0.05)


def test_values_without_counts_behind_show_no_totals():
    x, rng = counts(), np.random.default_rng(0)
    totals = x.sum(axis=1)
    assert totals_behind(logs_of(x * rng.uniform(0.9, 1.1, x.shape), totals)) is None
    assert totals_behind(logs_of(np.minimum(x, 1), totals)) is None  # ones alone say nothing
    assert totals_behind(csr_matrix((5, 5), dtype=np.float32)) is None
    negative = logs_of(x, totals)
    negative.data[3] = -0.5
    assert totals_behind(negative) is None


def test_there_are_at_most_as_many_scores_as_genes():
    x = counts(20, 6)
    assert median_depth_scores(logs_of(x, x.sum(axis=1)), x.sum(axis=1), 30).shape == (20, 6)


def test_by_vote_repeats_itself():
    points, _ = types((100, 60))
    one, two = (
        by_vote(Spaces(points, points), None, settings=ClusterSettings(), seed=3) for _ in range(2)
    )
    np.testing.assert_array_equal(one.micro_labels, two.micro_labels)
    np.testing.assert_array_equal(one.cluster_of_micro, two.cluster_of_micro)


def test_the_next_split_is_what_one_cluster_more_gives():
    points, _ = types((300, 200, 100, 60))
    found, more = clusters(points), clusters(points, 5)
    split = found.levels.next_split
    of_the_split = more.labels[found.labels == split.clusters[0]]
    assert sorted(np.bincount(of_the_split)[np.unique(of_the_split)]) == sorted(split.cells)
