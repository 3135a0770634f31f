"""Markers against scanpy's tests, on cells that fit into memory."""

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import stats

from scrcl.io.open import from_anndata
from scrcl.io.stream import Reading
from scrcl.markers.listed import ListedGenes
from scrcl.markers.ranking import OrderRule, adjusted, marker_table, n_held_back, scanpy_entry
from scrcl.markers.scores import _normal_p, _welch, gene_scores
from scrcl.markers.values import Bins, bins_and_parts, table_bytes, values_by_cluster
from tests.cells import make_cells

N_CELLS, N_GENES = 200, 60


def genes_of(adata):
    return ListedGenes.of_var(adata.var)


@pytest.fixture(scope="module")
def adata():
    cells = make_cells(N_CELLS, N_GENES, n_types=3)
    seen = np.ones((1, N_GENES), dtype=np.float32)
    seen[0, 7] = 0  # a gene that no cell has
    cells.X = cells.X.multiply(seen).tocsr()
    cells.X.eliminate_zeros()
    return cells


@pytest.fixture(scope="module")
def logs(adata):
    """The cells as scanpy prepares them, with their labels as categories."""
    found = adata.copy()
    sc.pp.normalize_total(found, target_sum=1e4)
    sc.pp.log1p(found)
    found.obs["cluster"] = pd.Categorical(found.obs["cell_type"].cat.codes.astype(str))
    return found


def labels_of(adata):
    return adata.obs["cell_type"].cat.codes.to_numpy().astype(np.int32)


def values_of(adata, logs, *, n_bins=256, labels=None, genes=None, block=64, **how):
    dense = logs.X.toarray()
    expressing = (dense > 0).sum(axis=0)
    bins = Bins.around(dense.mean(axis=0), dense.var(axis=0, ddof=1), N_CELLS, expressing, n_bins)
    genes = range(N_GENES) if genes is None else genes
    return values_by_cluster(
        from_anndata(adata).x(block),
        genes,
        labels=labels_of(adata) if labels is None else labels,
        n_clusters=3,
        bins=bins.of(genes),
        cell_sums=np.asarray(adata.X.sum(axis=1)).ravel(),
        **how,
    )


def theirs(logs, cluster, **how):
    """Return scanpy's scores, in the order of the genes."""
    tested = logs.copy()
    with np.errstate(invalid="ignore"):  # scanpy divides 0 by 0 for a gene that no cell has
        sc.tl.rank_genes_groups(tested, "cluster", **how)
    table = sc.get.rank_genes_groups_df(tested, str(cluster)).set_index("names")
    return table.reindex(tested.var_names)


@pytest.mark.parametrize("tie_correct", [False, True])
def test_rank_sums_are_those_of_scanpy_up_to_ties_within_a_bin(adata, logs, tie_correct):
    scores = gene_scores(values_of(adata, logs), test="wilcoxon", tie_correct=tie_correct)
    for cluster in range(3):
        expected = theirs(logs, cluster, method="wilcoxon", tie_correct=tie_correct)
        seen = np.arange(N_GENES) != 7  # scanpy gives NaN to a gene that no cell has
        assert np.abs(scores.score[seen, cluster] - expected["scores"][seen]).max() < 0.05
        assert scores.score[7, cluster] == 0
        assert scores.p_value[7, cluster] == 1


def test_welchs_t_and_fold_changes_are_those_of_scanpy(adata, logs):
    scores = gene_scores(values_of(adata, logs), test="t-test")
    for cluster in range(3):
        expected = theirs(logs, cluster, method="t-test")
        for ours, its in (("score", "scores"), ("log_fold_change", "logfoldchanges")):
            found = getattr(scores, ours)[:, cluster]
            assert found == pytest.approx(expected[its].to_numpy(), rel=2e-3, abs=1e-3)
        assert scores.p_value[:, cluster] == pytest.approx(expected["pvals"], rel=1e-3, abs=1e-12)


def test_genes_that_one_cell_has_are_ties_in_welchs_t_as_in_scanpy(adata):
    rare = adata.copy()
    counts = rare.X.tolil()
    counts[:, 20:] = 0
    for gene in range(20, N_GENES):
        counts[3 * gene, gene] = 1 + gene % 7
    rare.X = counts.tocsr()
    logs = rare.copy()
    sc.pp.normalize_total(logs, target_sum=1e4)
    sc.pp.log1p(logs)
    logs.obs["cluster"] = pd.Categorical(labels_of(rare).astype(str))
    scores = gene_scores(values_of(rare, logs), test="t-test").score
    of_rare = np.isin(3 * np.arange(20, N_GENES) % N_CELLS, np.flatnonzero(labels_of(rare) != 0))
    assert of_rare.sum() > 10
    assert (scores[20:, 0][of_rare] == -1).all()
    for cluster in range(3):
        expected = theirs(logs, cluster, method="t-test")["scores"].fillna(0)
        assert stats.spearmanr(scores[:, cluster], expected).statistic > 0.9999


def test_the_auc_is_the_share_of_pairs_in_order(adata, logs):
    from sklearn.metrics import roc_auc_score

    scores, labels = gene_scores(values_of(adata, logs), test="wilcoxon"), labels_of(adata)
    for gene in (0, 11, 30):
        exact = roc_auc_score(labels == 1, logs.X[:, gene].toarray().ravel())
        assert scores.auc[gene, 1] == pytest.approx(exact, abs=2e-3)


def test_blocks_workers_and_parts_of_the_genes_change_no_bit(adata, logs):
    whole = values_of(adata, logs)
    for other in (
        values_of(adata, logs, block=200, reading=Reading(1)),
        values_of(adata, logs, block=17, reading=Reading(3)),
    ):
        for name in ("cells", "expressing", "total", "squares", "histogram"):
            assert np.array_equal(getattr(whole, name), getattr(other, name)), name
    part = values_of(adata, logs, genes=range(20, 45))
    assert np.array_equal(part.histogram, whole.histogram[20:45])
    assert np.array_equal(part.total, whole.total[20:45])


@pytest.mark.parametrize("test", ["wilcoxon", "t-test"])
def test_scores_of_a_few_genes_at_a_time_are_those_of_all(adata, logs, monkeypatch, test):
    values = values_of(adata, logs)
    whole = gene_scores(values, test=test, tie_correct=True)
    monkeypatch.setattr("scrcl.markers.scores._CHUNK_VALUES", 7 * 3 * 256)
    assert N_GENES % 7
    for name, part in gene_scores(values, test=test, tie_correct=True)._asdict().items():
        np.testing.assert_array_equal(part, getattr(whole, name), err_msg=name)


def test_cells_without_a_cluster_are_left_out(adata, logs):
    labels = labels_of(adata).copy()
    labels[::4] = -1
    kept = labels >= 0
    found = values_of(adata, logs, labels=labels)
    assert np.array_equal(found.cells, np.bincount(labels[kept]))
    of_first = logs.X.toarray()[labels == 0]
    assert found.total[:, 0] == pytest.approx(of_first.sum(axis=0), rel=1e-5)
    assert np.array_equal(found.histogram.sum(axis=2), found.expressing)


def test_values_beyond_the_bins_are_in_the_first_and_the_last(adata, logs):
    dense = logs.X.toarray().astype(np.float64)
    middle = float(np.median(dense[dense > 0])) + 1e-4
    found = values_by_cluster(
        from_anndata(adata).x(64),
        range(N_GENES),
        labels=labels_of(adata),
        n_clusters=3,
        bins=Bins(np.full(N_GENES, middle), np.full(N_GENES, 1e5), 8),
        cell_sums=np.asarray(adata.X.sum(axis=1)).ravel(),
    )
    by_bin = found.histogram.sum(axis=1)
    np.testing.assert_array_equal(by_bin[:, 0], ((dense > 0) & (dense < middle)).sum(axis=0))
    np.testing.assert_array_equal(by_bin[:, 7], (dense > middle).sum(axis=0))


def test_histograms_keep_to_their_memory_with_any_number_of_clusters():
    for n_genes in (100, 2_000, 60_000):
        for n_clusters in (1, 7, 50, 500):
            n_bins, n_parts = bins_and_parts(n_genes, n_clusters)
            assert n_bins >= 48
            per_part = -(-n_genes // n_parts)
            assert (
                4 * per_part * n_clusters * n_bins <= table_bytes(n_genes) + 4 * n_clusters * n_bins
            )


RULE = OrderRule(min_fold_change=1.0, max_share_out=0.9, common_fold_change=2.0)


def test_common_genes_come_after_those_that_mark_a_cluster_unless_they_are_far_stronger(
    adata, logs
):
    found = gene_scores(values_of(adata, logs), test="wilcoxon")
    share, fold = found.share_out.copy(), found.log_fold_change.copy()
    best, weak, strong = 3, 4, 5
    share[[weak, strong]], fold[[best, weak, strong]] = 0.97, [[2.5], [1.5], [4.0]]
    score = found.score.copy()
    score[[best, weak, strong]] = [[90.0], [99.0], [95.0]]
    scores = found._replace(share_out=share, log_fold_change=fold, score=score)
    table = marker_table(scores, genes_of(adata), n_top=N_GENES, rule=RULE)
    for _, rows in table.groupby("cluster"):
        names, is_common = rows["gene"].tolist(), rows["share_out"] > 0.9
        marks = (rows["log_fold_change"] >= np.where(is_common, 2, 1)).to_numpy()
        n_marks = int(marks.sum())
        assert 0 < n_marks < N_GENES
        assert marks[:n_marks].all()
        assert rows["score"].iloc[:n_marks].is_monotonic_decreasing
        assert rows["score"].iloc[n_marks:].is_monotonic_decreasing
        assert names[:2] == [adata.var_names[strong], adata.var_names[best]]
        assert names[n_marks] == adata.var_names[weak]


def test_genes_held_back_are_counted_where_they_would_have_been_listed(adata, logs):
    found = gene_scores(values_of(adata, logs), test="wilcoxon")
    share, fold = np.zeros_like(found.share_out), np.full_like(found.share_out, 3)
    score = np.arange(N_GENES, 0, -1)[:, None] * np.ones((1, 3))
    share[[0, 30], 1], fold[[0, 30], 1] = 0.95, 1.5
    scores = found._replace(share_out=share, log_fold_change=fold, score=score)
    assert n_held_back(scores, n_top=20, rule=RULE) == 1
    assert n_held_back(scores, n_top=N_GENES, rule=RULE) == 2
    assert n_held_back(scores, n_top=20, rule=RULE._replace(max_share_out=1)) == 0
    two = scores._replace(**{name: getattr(scores, name)[:, :2] for name in scores._fields})
    assert n_held_back(two, n_top=20, rule=RULE) == 0
    assert marker_table(two, genes_of(adata), n_top=20, rule=RULE)["gene"][20] == adata.var_names[0]


def test_one_cluster_has_no_markers(adata, logs):
    labels = np.zeros(N_CELLS, np.int32)
    values = values_of(adata, logs, labels=labels)
    scores = gene_scores(values, test="t-test")
    assert np.isfinite(scores.score).all()
    one = scores._replace(**{name: getattr(scores, name)[:, :1] for name in scores._fields})
    table = marker_table(one, genes_of(adata), n_top=5, rule=RULE)
    assert not len(table)
    assert list(table) == ["cluster", "rank", "gene", "score", "log_fold_change", "p_value",
                           "p_adjusted", "auc", "share_in", "share_out", "kind"]  # fmt: skip


def test_scanpy_reads_the_entry(adata, logs):
    scores = gene_scores(values_of(adata, logs), test="wilcoxon")
    table = marker_table(scores, genes_of(adata), n_top=5, rule=OrderRule(0, 1, 0))
    logs.uns["rank_genes_groups"] = scanpy_entry(table, groupby="cluster", test="wilcoxon")
    found = sc.get.rank_genes_groups_df(logs, "2")
    mine = table[table["cluster"] == 2]
    assert found["names"].tolist() == mine["gene"].tolist()
    assert found["pct_nz_group"].to_numpy() == pytest.approx(mine["share_in"].to_numpy())
    assert found["pvals_adj"].to_numpy() == pytest.approx(mine["p_adjusted"].to_numpy())


def test_shares_are_of_the_cells_in_and_outside_of_a_cluster(adata, logs):
    scores = gene_scores(values_of(adata, logs), test="wilcoxon")
    has, labels = adata.X.toarray() > 0, labels_of(adata)
    for cluster in range(3):
        inside = labels == cluster
        np.testing.assert_allclose(scores.share_in[:, cluster], has[inside].mean(axis=0))
        np.testing.assert_allclose(scores.share_out[:, cluster], has[~inside].mean(axis=0))


def test_p_values_are_those_of_scipy():
    rng = np.random.default_rng(0)
    z = np.append(rng.normal(size=50) * 9, [0, np.inf])
    assert np.array_equal(_normal_p(z), 2 * stats.norm.sf(np.abs(z)))
    p_values = np.append(rng.random(50) ** 4, [0, 0.2, 0.2])
    assert np.array_equal(adjusted(p_values), stats.false_discovery_control(p_values))
    n = np.array([0.0, 1, 2, 100]), np.array([200.0, 199, 198, 100])
    mean, variance = rng.gamma(1, size=(2, 9, 4)), rng.gamma(1, size=(2, 9, 4))
    variance[0, 3] = variance[1, 3:5] = variance[0, 5] = 0  # that of a single cell always is
    with np.errstate(all="ignore"):
        theirs = stats.ttest_ind_from_stats(
            mean[0],
            np.sqrt(variance[0]),
            n[0],
            mean[1],
            np.sqrt(variance[1]),
            n[1],
            equal_var=False,
        )
    known = np.isfinite(theirs.statistic) & np.isfinite(theirs.pvalue)
    t, p = _welch(mean[0], variance[0], n[0], mean[1], variance[1], n[1])
    assert known.any()
    assert np.array_equal(t, np.where(known, theirs.statistic, 0))
    assert np.array_equal(p, np.where(known, theirs.pvalue, 1))
