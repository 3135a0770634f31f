from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from scipy.linalg import subspace_angles

from scrcl.errors import InputError
from scrcl.io.open import from_anndata
from scrcl.prep.feature_store import write_features
from scrcl.prep.randomized_pca import fit_pca_randomized, fit_pca_store, uses_gram
from tests.stores import table

SMALL = Path(__file__).parents[2].parent / "shared/data/klein_mES_subset_900g.h5ad"


def counts_of_programs(n_obs=900, n_vars=300, n_programs=12, seed=0):
    rng = np.random.default_rng(seed)
    programs = rng.gamma(0.5, 1.0, (n_obs, n_programs)) @ rng.gamma(0.2, 1.0, (n_programs, n_vars))
    return sparse.csr_matrix(rng.poisson(programs).astype(np.float32))


def stored(counts, folder, *, block_rows=200, **options):
    n_obs = counts.shape[0]
    genes = np.flatnonzero(counts.getnnz(axis=0))
    options = {"retained": np.ones(n_obs, bool), "genes": genes, "already_log": False} | options
    return write_features(from_anndata(table(counts)).x(block_rows), folder, **options)


def scanpy_pca(counts, n_comps):
    import scanpy as sc

    adata = table(counts[:, np.flatnonzero(counts.getnnz(axis=0))])
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.X = adata.X.toarray().astype(np.float64)
    sc.pp.pca(adata, n_comps=n_comps, svd_solver="full")
    return adata.varm["PCs"], adata.uns["pca"]


def widest_gap(variance):
    """Number of components with the largest relative drop in variance after the last."""
    return int(np.argmax(1 - variance[4:-1] / variance[3:-2])) + 4


CASES = [
    "programs",
    pytest.param("klein", marks=pytest.mark.skipif(not SMALL.exists(), reason="no data")),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("solver", ["gram", "randomized"])
def test_components_equal_those_of_scanpy(case, solver, tmp_path):
    counts = counts_of_programs()
    if case == "klein":
        import anndata as ad

        counts = sparse.csr_matrix(ad.read_h5ad(SMALL).X, dtype=np.float32)
    loadings, wanted = scanpy_pca(counts, 21)
    n_comps = widest_gap(wanted["variance"])
    found = fit_pca_store(stored(counts, tmp_path), n_comps, solver=solver)
    angle = subspace_angles(found.loadings, loadings[:, :n_comps]).max()
    assert angle < 1e-3
    rtol = 1e-5
    np.testing.assert_allclose(found.explained_variance, wanted["variance"][:n_comps], rtol=rtol)
    np.testing.assert_allclose(
        found.explained_variance_ratio, wanted["variance_ratio"][:n_comps], rtol=rtol
    )


def test_both_solvers_agree_in_values_and_signs(tmp_path):
    store = stored(counts_of_programs(), tmp_path)
    one, other = (fit_pca_store(store, 8, solver=solver) for solver in ("gram", "randomized"))
    np.testing.assert_allclose(one.loadings, other.loadings, atol=1e-3)
    np.testing.assert_allclose(one.singular_values, other.singular_values, rtol=1e-5)
    np.testing.assert_array_equal(one.mean, other.mean)


def test_both_solvers_agree_on_a_flat_spectrum(tmp_path):
    rng = np.random.default_rng(0)
    store = stored(sparse.csr_matrix(rng.poisson(0.3, (800, 200)).astype(np.float32)), tmp_path)
    one, other = (fit_pca_store(store, 20, solver=solver) for solver in ("gram", "randomized"))
    np.testing.assert_allclose(one.singular_values, other.singular_values, rtol=1e-4)


def test_bits_depend_on_the_seed_but_not_on_workers(tmp_path):
    store = stored(counts_of_programs(), tmp_path, with_gram=False)
    found = [fit_pca_randomized(store, 6, seed=3, n_workers=n).loadings for n in (1, 2, 4)]
    assert all(np.array_equal(found[0], other) for other in found[1:])
    assert not np.array_equal(found[0], fit_pca_randomized(store, 6, seed=4).loadings)


def test_with_few_genes_or_cells_the_components_are_exact(tmp_path):
    few_genes = stored(counts_of_programs(200, 25), tmp_path / "a")
    few_cells = stored(counts_of_programs(9, 60), tmp_path / "b", block_rows=4)
    for store, n_comps in [(few_genes, few_genes.n_vars), (few_cells, 5), (few_cells, 9)]:
        one, other = (fit_pca_store(store, n_comps, solver=s) for s in ("gram", "randomized"))
        largest = one.singular_values[0]
        np.testing.assert_allclose(
            one.singular_values, other.singular_values, rtol=1e-4, atol=1e-2 * largest**0.5
        )
        assert np.allclose(other.loadings.T @ other.loadings, np.eye(n_comps), atol=1e-5)


def test_auto_chooses_the_solver_by_the_number_of_genes(tmp_path):
    assert uses_gram("auto", 2000)
    assert not uses_gram("auto", 20_000)
    assert uses_gram("gram", 20_000)
    assert not uses_gram("randomized", 10)
    store = stored(counts_of_programs(60, 20), tmp_path, with_gram=False)
    with pytest.raises(InputError, match="Gram"):
        fit_pca_store(store, 3)
    with pytest.raises(InputError, match="n_comps"):
        fit_pca_store(store, 61, solver="randomized")


def test_progress_counts_the_rows_of_each_pass(tmp_path):
    done = []
    fit_pca_randomized(stored(counts_of_programs(), tmp_path), 4, on_rows=done.append)
    assert sum(done) % 900 == 0
    assert sum(done) >= 2 * 900
