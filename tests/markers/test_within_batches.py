"""Markers within batches: each cluster against the other cells of each batch."""

import numpy as np
import pytest
from scipy import stats

from scrcl.markers.scores import gene_scores, gene_scores_within
from scrcl.markers.values import ClusterValues

N_CELLS, N_GENES, N_BINS = 300, 12, 6


def values_of(codes, groups, n_groups):
    """Counts of whole numbers as `ClusterValues`: each value has a bin of its own."""
    cells = np.bincount(groups, minlength=n_groups)
    shape = (codes.shape[1], n_groups)
    found = ClusterValues(
        cells, np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape), np.zeros((*shape, N_BINS), np.uint32)
    )  # fmt: skip
    for group in range(n_groups):
        inside = codes[groups == group]
        found.expressing[:, group] = (inside > 0).sum(axis=0)
        found.total[:, group], found.squares[:, group] = inside.sum(axis=0), (inside**2).sum(axis=0)
        for value in range(1, N_BINS + 1):
            found.histogram[:, group, value - 1] = (inside == value).sum(axis=0)
    return found


@pytest.fixture(scope="module")
def cells():
    """Three clusters in two batches; gene 0 marks cluster 0, gene 1 is high in batch 0 whatever the cluster."""
    rng = np.random.default_rng(3)
    clusters, batches = rng.integers(0, 3, N_CELLS), (rng.random(N_CELLS) < 0.5).astype(int)
    batches[clusters == 0] = (rng.random((clusters == 0).sum()) < 0.1).astype(int)  # mostly batch 0
    values = rng.poisson(1.0, (N_CELLS, N_GENES)).clip(0, N_BINS).astype(float)
    values[clusters == 0, 0] = np.minimum(values[clusters == 0, 0] + 2, N_BINS)
    values[batches == 0, 1] = np.minimum(values[batches == 0, 1] + 3, N_BINS)
    return values, clusters, batches


def within(cells, test="wilcoxon"):
    values, clusters, batches = cells
    there, pairs = np.unique(batches * 3 + clusters, return_inverse=True)
    found = values_of(values, pairs, len(there))
    return gene_scores_within(found, there % 3, there // 3, test=test)


def test_a_gene_of_a_batch_marks_no_cluster_of_it(cells):
    values, clusters, _ = cells
    for test in ("wilcoxon", "t-test"):
        over_all = gene_scores(values_of(values, clusters, 3), test=test)
        scores = within(cells, test)
        assert over_all.score[1, 0] > 3 > 2.5 > abs(scores.score[1, 0])
        assert scores.score[0, 0] > 5
        assert scores.auc[1, 0] == pytest.approx(0.5, abs=0.1)
        assert abs(scores.log_fold_change[1, 0]) < 0.6 < over_all.log_fold_change[1, 0]


def test_shares_are_of_the_batches_that_are_compared(cells):
    values, clusters, batches = cells
    missing = (clusters == 0) & (batches == 1)  # batch 1 has none of cluster 0
    kept = values[~missing], clusters[~missing], batches[~missing]
    scores = within(kept)
    of_batch = [kept[0][(kept[2] == 0) & inside] > 0 for inside in (kept[1] == 0, kept[1] != 0)]
    for found, cells_of in zip((scores.share_in, scores.share_out), of_batch, strict=True):
        assert found[:, 0] == pytest.approx(cells_of.mean(axis=0))


def test_a_gene_of_a_batch_has_the_same_share_in_and_outside_of_its_clusters(cells):
    values, clusters, batches = (each.copy() for each in cells)
    values[:, 2] = batches == 0
    over_all = gene_scores(values_of(values, clusters, 3), test="wilcoxon")
    scores = within((values, clusters, batches))
    assert over_all.share_in[2, 0] - over_all.share_out[2, 0] > 0.3
    assert scores.share_in[2, 0] == pytest.approx(scores.share_out[2, 0])


def test_rank_sums_are_combined_by_van_elteren(cells):
    values, clusters, batches = cells
    excess = variance = 0.0
    for batch in (0, 1):
        own = batches == batch
        inside, n = clusters[own] == 1, own.sum()
        ranks = stats.rankdata(values[own, 4])
        n_in, n_out = inside.sum(), n - inside.sum()
        excess += (ranks[inside].sum() - n_in * (n + 1) / 2) / (n + 1)
        variance += n_in * n_out / (12 * (n + 1))
    scores = within(cells)
    assert scores.score[4, 1] == pytest.approx(excess / np.sqrt(variance), rel=1e-5)
    assert scores.p_value[4, 1] == pytest.approx(2 * stats.norm.sf(abs(scores.score[4, 1])))


def test_t_is_of_the_mean_difference_within_batches(cells):
    """Welch's test of differences that are weighted as in a linear model with batches."""
    values, clusters, batches = cells
    scores = within(cells, "t-test")
    for cluster, gene in ((0, 1), (1, 4), (2, 7)):
        weights, differences, errors, freedoms = [], [], [], []
        for batch in (0, 1):
            inside, outside = (
                values[(batches == batch) & part, gene]
                for part in (clusters == cluster, clusters != cluster)
            )
            weights.append(len(inside) * len(outside) / (len(inside) + len(outside)))
            differences.append(inside.mean() - outside.mean())
            parts = [each.var(ddof=1) / len(each) for each in (inside, outside)]
            errors.append(sum(parts))
            freedoms.append(parts[0] ** 2 / (len(inside) - 1) + parts[1] ** 2 / (len(outside) - 1))
        shares = np.array(weights) / sum(weights)
        error = np.sum(shares**2 * errors)
        t = np.sum(shares * differences) / np.sqrt(error)
        p = 2 * stats.t.sf(abs(t), error**2 / np.sum(shares**4 * freedoms))
        assert scores.score[gene, cluster] == pytest.approx(t, rel=1e-5)
        assert scores.p_value[gene, cluster] == pytest.approx(p, rel=1e-5)


def test_auc_folds_and_shares_are_means_over_batches(cells):
    values, clusters, batches = cells
    scores = within(cells)
    for cluster, gene in ((0, 0), (1, 4), (2, 7)):
        above = pairs = 0.0
        weights, means, shares = [], [], []
        for batch in (0, 1):
            inside, outside = (
                values[(batches == batch) & part, gene]
                for part in (clusters == cluster, clusters != cluster)
            )
            apart = np.sign(inside[:, None] - outside)
            above, pairs = above + (apart + 1).sum() / 2, pairs + apart.size
            weights.append(len(inside) * len(outside) / (len(inside) + len(outside)))
            means.append([inside.mean(), outside.mean()])
            shares.append([(inside > 0).mean(), (outside > 0).mean()])
        mean_in, mean_out = np.average(means, axis=0, weights=weights)
        share_in, share_out = np.average(shares, axis=0, weights=weights)
        assert scores.auc[gene, cluster] == pytest.approx(above / pairs)
        fold = np.log2(np.expm1(mean_in) / np.expm1(mean_out))
        assert scores.log_fold_change[gene, cluster] == pytest.approx(fold, abs=1e-6)
        assert scores.share_in[gene, cluster] == pytest.approx(share_in)
        assert scores.share_out[gene, cluster] == pytest.approx(share_out)


def test_ties_are_corrected_within_each_batch(cells):
    values, clusters, batches = cells
    there, pairs = np.unique(batches * 3 + clusters, return_inverse=True)
    found = values_of(values, pairs, len(there))
    scores = gene_scores_within(found, there % 3, there // 3, test="wilcoxon", tie_correct=True)
    excess = variance = 0.0
    for batch in (0, 1):
        own = values[batches == batch, 4]
        inside, n = clusters[batches == batch] == 1, len(own)
        n_in = inside.sum()
        excess += (stats.rankdata(own)[inside].sum() - n_in * (n + 1) / 2) / (n + 1)
        ties = stats.tiecorrect(stats.rankdata(own))
        variance += ties * n_in * (n - n_in) / (12 * (n + 1))
    assert scores.score[4, 1] == pytest.approx(excess / np.sqrt(variance), rel=1e-5)


def test_two_cells_are_in_order_or_not():
    values = np.array([[2.0, 0.0, 1.0], [1.0, 3.0, 1.0]])
    scores = gene_scores(values_of(values, np.array([0, 1]), 2), test="wilcoxon")
    assert scores.auc.tolist() == [[1, 0], [0, 1], [0.5, 0.5]]


def test_of_one_batch_scores_are_those_without(cells):
    values, clusters, _ = cells
    found = values_of(values, clusters, 3)
    for test in ("wilcoxon", "t-test"):
        one = gene_scores_within(found, np.arange(3), np.zeros(3, int), test=test)
        for mine, without in zip(one, gene_scores(found, test=test), strict=True):
            assert mine == pytest.approx(without, rel=1e-5, abs=1e-9)


def test_a_cluster_that_is_alone_in_its_batch_is_compared_with_all_cells(cells):
    values, clusters, _ = cells
    alone = np.where(clusters == 2, 1, 0)
    there, pairs = np.unique(alone * 3 + clusters, return_inverse=True)
    found = gene_scores_within(
        values_of(values, pairs, len(there)), there % 3, there // 3, test="wilcoxon"
    )
    over_all = gene_scores(values_of(values, clusters, 3), test="wilcoxon")
    assert np.array_equal(found.score[:, 2], over_all.score[:, 2])
    assert not np.array_equal(found.score[:, 0], over_all.score[:, 0])
