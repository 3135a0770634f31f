"""Other values of a feature store equal those computed from the counts in memory."""

import numpy as np
import pytest
from scipy import sparse

from scrcl.io.rows import rows_from_reader
from scrcl.prep.feature_store import write_features
from scrcl.prep.pca import project_rows
from scrcl.prep.randomized_pca import fit_pca_store
from scrcl.prep.rescaled import rescale

COUNTS = np.random.default_rng(0).poisson(1.0, (60, 12)).astype(np.float32)
COUNTS[:, 3] = 0


def stored(folder):
    rows = sparse.csr_matrix(COUNTS)
    return write_features(
        rows_from_reader(lambda start, stop: rows[start:stop], shape=rows.shape, block_rows=16),
        folder,
        retained=np.ones(60, bool),
        genes=np.arange(12),
        already_log=False,
    )


def expected(depth, unit_variance):
    values = np.log1p(depth * COUNTS.astype(float) / COUNTS.sum(axis=1, keepdims=True))
    deviation = values.std(axis=0, ddof=1)
    return values / np.where(deviation > 0, deviation, 1) if unit_variance else values


@pytest.mark.parametrize("unit_variance", [True, False])
@pytest.mark.parametrize("depth", [1e4, 15.0])
def test_values_sums_and_products_are_those_of_the_counts(tmp_path, depth, unit_variance):
    store = rescale(stored(tmp_path), depth=depth, unit_variance=unit_variance, with_gram=True)
    values = expected(depth, unit_variance)
    assert np.allclose(store.rows(0, 60).toarray(), values, atol=1e-5)
    assert np.allclose(store.x_parts().compute().toarray(), values, atol=1e-5)
    assert np.allclose(store.sums(), values.sum(axis=0), rtol=1e-5, atol=1e-6)
    assert np.allclose(store.gram(), values.T @ values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("solver", ["gram", "randomized"])
def test_components_are_those_of_the_new_values(tmp_path, solver):
    store = rescale(
        stored(tmp_path / "store"), depth=15.0, unit_variance=True, with_gram=solver == "gram"
    )
    pca = fit_pca_store(store, 4, solver=solver)
    project_rows(store, pca, tmp_path / "scores.npy")
    centred = expected(15.0, unit_variance=True)
    centred -= centred.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    scores = np.load(tmp_path / "scores.npy")
    assert np.allclose(np.abs(scores), np.abs(left[:, :4] * singular[:4]), atol=1e-3)


def test_the_number_of_workers_changes_no_bit(tmp_path):
    store = stored(tmp_path)
    one, four = (
        rescale(store, depth=15.0, unit_variance=True, with_gram=True, n_workers=n) for n in (1, 4)
    )
    assert np.array_equal(one.gram(), four.gram())
