from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.linalg import subspace_angles

from scrcl.errors import InputError, StoreError
from scrcl.prep.feature_store import write_features
from scrcl.prep.pca import Pca, fit_pca, gene_sketch, project_block, project_rows, restrict_to_genes


def expression(n_obs, n_vars, seed):
    rng = np.random.default_rng(seed)
    programs = rng.gamma(1.0, 1.0, size=(n_obs, 4)) @ rng.gamma(0.3, 1.0, size=(4, n_vars))
    return np.log1p(rng.poisson(programs)).astype(np.float32)


def pca_of(dense, n_comps):
    wide = dense.astype(np.float64)
    return fit_pca(wide.T @ wide, wide.sum(axis=0), len(dense), n_comps=n_comps)


@settings(max_examples=20)
@given(st.integers(20, 200), st.integers(8, 40), st.integers(0, 10_000))
def test_pca_from_sums_equals_pca_of_the_dense_matrix(n_obs, n_vars, seed):
    from sklearn.decomposition import PCA

    dense = expression(n_obs, n_vars, seed)
    found = pca_of(dense, 3)
    dense_pca = PCA(3, svd_solver="full").fit(dense.astype(np.float64))
    assert np.allclose(found.singular_values, dense_pca.singular_values_, rtol=1e-6, atol=1e-6)
    assert np.allclose(found.explained_variance, dense_pca.explained_variance_, atol=1e-8)
    assert np.allclose(
        found.explained_variance_ratio, dense_pca.explained_variance_ratio_, atol=1e-8
    )
    values = np.linalg.svd(dense - dense.mean(axis=0), compute_uv=False)
    if values[2] - values[3] > 1e-2 * values[0]:  # otherwise the subspace itself is not determined
        assert subspace_angles(found.loadings, dense_pca.components_.T).max() < 1e-3


def test_loadings_are_orthonormal_and_the_largest_of_each_component_is_positive():
    loadings = pca_of(expression(300, 30, 0), 6).loadings
    assert (loadings[np.abs(loadings).argmax(axis=0), np.arange(6)] > 0).all()
    assert np.allclose(loadings.T @ loadings, np.eye(6), atol=1e-5)
    assert loadings.flags.c_contiguous


def test_constant_cells_have_components_without_variance():
    found = pca_of(np.ones((10, 4), np.float32), 2)
    assert np.allclose(found.singular_values, 0)
    assert np.isfinite(found.explained_variance_ratio).all()


def test_the_sketch_of_all_components_gives_the_inner_products_of_centred_genes():
    dense = expression(100, 12, 1)
    sketch = gene_sketch(pca_of(dense, 12))
    centred = dense - dense.mean(axis=0, dtype=np.float64)
    assert sketch.dtype == np.float32
    assert np.allclose(sketch @ sketch.T, centred.T @ centred, rtol=1e-3, atol=1e-2)


def test_a_saved_pca_loads_unchanged_and_a_damaged_one_is_refused(tmp_path):
    found = pca_of(expression(50, 9, 2), 4)
    found.save(tmp_path / "pca.npz")
    again = Pca.load(tmp_path / "pca.npz")
    for name, value in vars(found).items():
        assert np.array_equal(getattr(again, name), value)
        assert getattr(again, name).dtype == value.dtype
    (tmp_path / "pca.npz").write_bytes(b"not a zip")
    with pytest.raises(StoreError, match=r"must be an \.npz file"):
        Pca.load(tmp_path / "pca.npz")
    with pytest.raises(StoreError):
        Pca.load(tmp_path / "absent.npz")


@pytest.mark.parametrize("n_comps", [0, 10, 60])
def test_more_components_than_genes_or_cells_are_refused(n_comps):
    with pytest.raises(InputError, match="n_comps"):
        pca_of(expression(50, 9, 2), n_comps)


def test_sums_of_another_shape_or_not_finite_are_refused():
    with pytest.raises(InputError, match="gram"):
        fit_pca(np.eye(3), np.ones(4), 10, n_comps=2)
    with pytest.raises(InputError, match="finite"):
        fit_pca(np.eye(3), np.array([1, np.nan, 1]), 10, n_comps=2)
    with pytest.raises(InputError, match="n_obs"):
        fit_pca(np.eye(3), np.ones(3), 1, n_comps=1)


def stored(dense, folder, block_rows, retained):
    blocks = [
        da.from_array(sparse.csr_matrix(dense[start : start + block_rows]), asarray=False)
        for start in range(0, len(dense), block_rows)
    ]
    return write_features(
        da.concatenate(blocks),
        folder,
        retained=retained,
        genes=np.arange(dense.shape[1]),
        already_log=True,
    )


def test_scores_equal_the_dense_ones_and_do_not_depend_on_parts_and_workers(tmp_path):
    dense = expression(230, 20, 3)
    retained = np.ones(230, bool)
    retained[50:101] = False  # with blocks of 50 rows one part is empty
    pca = pca_of(dense[retained], 5)
    wanted = (dense[retained] - pca.mean.astype(np.float64)) @ pca.loadings
    results, rows = [], []
    for block_rows, n_workers in [(50, 1), (50, 3), (230, 2), (7, 2)]:
        store = stored(dense, tmp_path / f"{block_rows}-{n_workers}", block_rows, retained)
        out = tmp_path / f"{block_rows}-{n_workers}.npy"
        project_rows(store, pca, out, n_workers=n_workers, on_rows=rows.append)
        results.append(np.load(out))
    assert results[0].dtype == np.float32
    assert np.allclose(results[0], wanted, atol=1e-5)
    assert all(np.array_equal(results[0], other) for other in results[1:])
    assert sum(rows) == 4 * retained.sum()
    assert not list(tmp_path.glob(".*partial"))


def test_a_store_with_another_number_of_genes_is_refused(tmp_path):
    dense = expression(30, 8, 4)
    store = stored(dense, tmp_path / "store", 10, np.ones(30, bool))
    with pytest.raises(InputError, match="8"):
        project_rows(store, pca_of(dense[:, :7], 2), tmp_path / "out.npy")
    assert not (tmp_path / "out.npy").exists()


def scores_without(dense, pca, present):
    less = restrict_to_genes(pca, present)
    offset = less.mean.astype(np.float64) @ less.loadings.astype(np.float64)
    return project_block(sparse.csr_matrix(dense[:, present]), less.loadings, offset)


def test_scores_of_low_rank_rows_need_only_some_of_the_genes():
    rng = np.random.default_rng(0)
    dense = (rng.gamma(1.0, size=(60, 3)) @ rng.gamma(1.0, size=(3, 40))).astype(np.float32)
    pca = pca_of(dense, 3)
    present = rng.random(40) < 0.6
    whole = (dense - pca.mean) @ pca.loadings
    np.testing.assert_allclose(
        scores_without(dense, pca, present), whole, atol=1e-3 * np.abs(whole).max()
    )
    assert restrict_to_genes(pca, np.ones(40, dtype=bool)) is pca


def test_the_score_of_an_unmeasured_direction_is_zero():
    pca = Pca(
        loadings=np.eye(4, 2, dtype=np.float32),
        singular_values=np.ones(2),
        mean=np.ones(4, np.float32),
        explained_variance=np.ones(2),
        explained_variance_ratio=np.ones(2) / 2,
    )
    scores = scores_without(np.array([[3, 5, 1, 1]], np.float32), pca, np.arange(4) != 1)
    np.testing.assert_allclose(scores, [[2, 0]], atol=1e-6)


@pytest.mark.parametrize(("share", "is_fitted"), [(0.05, False), (0.2, True)])
def test_a_direction_is_fitted_if_a_tenth_of_it_was_measured(share, is_fitted):
    loadings = np.array([[1, 0], [0, np.sqrt(1 - share)], [0, np.sqrt(share)]], np.float32)
    pca = Pca(loadings, np.ones(2), np.zeros(3, np.float32), np.ones(2), np.ones(2) / 2)
    assert restrict_to_genes(pca, np.arange(3) != 1).loadings[:, 1].any() == is_fitted
