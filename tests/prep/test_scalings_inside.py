import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.spatial.distance import pdist

from scrcl.prep import scalings
from scrcl.prep.scalings import median_depth_scores, residual_scores, scores_inside


def counts_of(n_cells, n_genes, *, seed=0):
    rng = np.random.default_rng(seed)
    profiles = rng.gamma(0.5, size=(3, n_genes))
    kinds = rng.integers(3, size=n_cells)
    counts = rng.poisson(profiles[kinds] * rng.lognormal(0, 0.3, n_cells)[:, None])
    totals = np.maximum(counts.sum(axis=1), 1).astype(float)
    return csr_matrix(np.log1p(counts / totals[:, None] * 1e4).astype(np.float32)), totals


@pytest.mark.parametrize("most_dense", [4096, 100])  # of more cells, products of genes are added
def test_each_scaling_has_components_of_these_cells(most_dense, monkeypatch):
    monkeypatch.setattr(scalings, "_MOST_DENSE", most_dense)
    logs, totals = counts_of(150, 60)
    found = scores_inside(logs, totals, 5)
    assert [rows.shape for rows in found] == [(150, 5)] * 3
    dense = logs.toarray().astype(float)
    left, values, _ = np.linalg.svd(dense - dense.mean(axis=0), full_matrices=False)
    exact = [
        (left * values)[:, :5],
        median_depth_scores(logs, totals, 5),
        residual_scores(logs, totals, 5),
    ]
    for rows, expected in zip(found, exact, strict=True):
        # The last components are noise, which the randomised SVD has less exactly.
        assert np.corrcoef(pdist(rows), pdist(expected))[0, 1] > 0.999
        np.testing.assert_allclose(pdist(rows[:, :2]), pdist(expected[:, :2]), rtol=0.02, atol=0.05)


def test_without_counts_there_are_log_values_alone():
    logs, _ = counts_of(80, 40)
    assert len(scores_inside(logs, None, 5)) == 1


def test_genes_of_two_cells_do_not_count():
    logs, totals = counts_of(80, 40)
    rare = np.zeros((80, 1), np.float32)
    rare[:2] = 9
    more = csr_matrix(np.hstack([logs.toarray(), rare]))
    for plain, rows in zip(
        scores_inside(logs, totals, 5), scores_inside(more, totals, 5), strict=True
    ):
        np.testing.assert_array_equal(plain, rows)


def test_there_are_as_many_components_as_cells_allow():
    logs, totals = counts_of(6, 40)
    assert {rows.shape[1] for rows in scores_inside(logs, totals, 30)} == {5}


def test_cells_without_a_selected_gene_are_alike():
    found = scores_inside(csr_matrix((20, 8), dtype=np.float32), np.full(20, 5.0), 3)
    assert [np.abs(rows).max() for rows in found] == [0, 0, 0]


def test_cells_that_share_no_gene_have_components_too():
    own = csr_matrix(np.eye(8, 20, dtype=np.float32))
    assert [rows.shape for rows in scores_inside(own, np.full(8, 50.0), 5)] == [(8, 5)] * 3
