import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from scrcl.cluster.confidence import confidence, describe_confidence, shares_alike
from scrcl.cluster.margin import margins
from scrcl.cluster.mixing import batch_entropies, describe_mixing, neighbour_mixing
from scrcl.graph.csr import Graph, symmetric_graph
from scrcl.graph.knn import knn


def two_clusters(n=200, *, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    points = (np.array([[0.0, 0], [6, 0]])[labels] + rng.normal(size=(n, 2))).astype(np.float32)
    return points, labels


def test_the_margin_is_to_the_nearest_other_mean():
    means = np.array([[0, 0], [4, 0], [0, 9]], float)
    points = np.array([[0, 0], [1, 0], [2, 0], [3, 0]], float)
    found = margins(points, np.zeros(4, int), means)
    np.testing.assert_allclose(found, [1, 1 - 1 / 3, 0, 0], atol=1e-6)
    assert margins(points, np.zeros(4, int), means[:1]).tolist() == [1, 1, 1, 1]
    assert margins(np.zeros((1, 2)), np.zeros(1, int), np.zeros((2, 2))).tolist() == [0]


def test_shares_alike_are_those_of_the_adjacency():
    rng = np.random.default_rng(1)
    graph = symmetric_graph(knn(rng.normal(size=(50, 3)).astype(np.float32), 5, seed=0).ids)
    labels = rng.integers(3, size=50)
    dense = sparse.csr_matrix((np.ones(len(graph.indices)), graph.indices, graph.indptr)).toarray()
    whole = (dense * (labels[:, None] == labels)).sum(axis=1) / dense.sum(axis=1)
    np.testing.assert_allclose(shares_alike(graph, labels, 7, 31), whole[7:31])


def test_confidence_is_low_between_clusters_and_among_cells_of_another():
    points, labels = two_clusters()
    points[0] = [3, 0]
    graph = symmetric_graph(knn(points, 10, seed=0).ids)
    means = np.stack([points[labels == k].mean(axis=0) for k in (0, 1)])
    found = confidence(points, labels, means, graph)
    assert found.dtype == np.float32
    assert found[0] < np.quantile(found, 0.05)
    wrong = labels.copy()
    wrong[10] = 1 - wrong[10]
    assert confidence(points, wrong, means, graph)[10] < 0.1
    np.testing.assert_array_equal(found, confidence(points, labels, means, graph, block_values=23))


def test_confidence_is_the_mean_of_the_margin_and_of_the_share_of_neighbours():
    points, labels = two_clusters(40)
    graph = symmetric_graph(knn(points, 4, seed=0).ids)
    means = np.stack([points[labels == k].mean(axis=0) for k in (0, 1)])
    for cell, found in enumerate(confidence(points, labels, means, graph)):
        near = graph.indices[graph.indptr[cell] : graph.indptr[cell + 1]]
        own, other = (
            np.linalg.norm(points[cell] - means[k]) for k in (labels[cell], 1 - labels[cell])
        )
        share = np.mean(labels[near] == labels[cell])
        assert found == pytest.approx((max(1 - own / other, 0) + share) / 2, abs=1e-5)


def test_the_confidence_of_an_isolated_cell_is_its_margin():
    points, labels = two_clusters(20)
    graph = Graph(np.zeros(21, np.int64), np.empty(0, np.int32))
    means = np.stack([points[labels == k].mean(axis=0) for k in (0, 1)])
    np.testing.assert_allclose(
        confidence(points, labels, means, graph), margins(points, labels, means)
    )


def test_cells_of_low_confidence_are_counted_by_cluster():
    found = describe_confidence(np.array([0.9, 0.2, 0.4, 0.8, 0.7]), np.array([0, 1, 1, 0, 0]))
    assert found.n_low == 2
    assert found.low_by_cluster == [0, 2]
    assert found.median_by_cluster == pytest.approx([0.8, 0.3])
    assert found.mean == pytest.approx(0.6)
    # Linear between the values in order: .2, .4, .7, .8 and .9.
    assert [found.p5, found.p25, found.p50, found.p75, found.p95] == pytest.approx(
        [0.24, 0.4, 0.7, 0.8, 0.88]
    )


def test_entropy_is_0_for_one_batch_and_1_for_equal_numbers():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2])
    codes = np.array([0, 0, 0, 0, 0, 1, 0, 1, 1, 1])
    quarter = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    np.testing.assert_allclose(batch_entropies(labels, codes), [0, 1, quarter])
    assert batch_entropies(labels, np.zeros(10, int)).tolist() == [1, 1, 1]


def test_effective_batches_are_the_inverse_simpson_of_the_neighbours():
    codes = np.array([0, 0, 1, 2, 1])
    ids = np.array([[1, 2, 3], [0, -1, -1], [4, 0, 1], [0, 1, 2], [-1, -1, -1]])
    found = neighbour_mixing(ids, codes)
    effective = [3, 1, 9 / 5, 9 / 5]
    assert found.effective_batches == pytest.approx(np.mean(effective))
    assert found.across == pytest.approx((2 + 0 + 2 + 3) / 10)
    assert found.across_expected == pytest.approx(1 - (4 + 4 + 1) / 25)
    assert found.effective_expected == pytest.approx(25 / 9)


def test_all_measures_rise_as_batches_mix():
    points, labels = two_clusters()
    rng = np.random.default_rng(0)
    ids = knn(points, 10, seed=0).ids
    options = {"n_neighbors": 10, "n_cells": 1_000, "seed": 0}
    apart = describe_mixing(labels, labels + 3, ids, points, **options)
    codes = rng.integers(2, size=200)
    mixed = describe_mixing(labels, codes, ids, points, **options)
    assert apart.nmi == apart.ari == pytest.approx(1)
    assert mixed.nmi == pytest.approx(normalized_mutual_info_score(labels, codes))
    assert mixed.ari == pytest.approx(adjusted_rand_score(labels, codes))
    assert max(apart.entropy) == 0 < 0.9 < min(mixed.entropy)
    for low, high in ((apart.graph, mixed.graph), (apart.embedding, mixed.embedding)):
        assert low.across < 0.05 < 0.4 < high.across
        assert low.effective_batches < 1.1 < 1.6 < high.effective_batches
    few = describe_mixing(labels, codes, ids, points, **{**options, "n_cells": 60})
    assert few.embedding.n_cells == 60
    assert few.graph == mixed.graph
