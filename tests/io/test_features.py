from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scrcl.errors import StoreError
from scrcl.io.features import FeatureStore, write_features
from scrcl.io.open import from_anndata
from scrcl.io.stream import iter_rows
from tests import reference_io as reference
from tests.stores import random_counts, table

COUNTS = random_counts(97, 40)
ROWS = np.arange(97) % 5 > 0
ROWS[20:40] = False  # a block with no cell left
GENES = np.array([1, 2, 7, 30, 39])


def written(folder, block_rows=10, **options):
    x = from_anndata(table(COUNTS)).x(block_rows)
    options = {"rows": ROWS, "genes": GENES, "already_log": False} | options
    return write_features(x, folder, **options)


@pytest.mark.parametrize("block_rows", [1, 10, 97])
@pytest.mark.parametrize("n_workers", [1, 3])
def test_the_store_holds_normalised_rows_and_their_products(block_rows, n_workers, tmp_path):
    store = written(tmp_path, block_rows, n_workers=n_workers)
    expected = reference.features(COUNTS.toarray(), ROWS, GENES)
    found = sparse.vstack([rows for _, rows in store]).toarray()
    assert (store.n_obs, store.n_vars) == expected.shape == found.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    wide = found.astype(np.float64)
    np.testing.assert_allclose(store.gram(), wide.T @ wide, rtol=1e-10)
    np.testing.assert_allclose(store.sums(), wide.sum(axis=0), rtol=1e-10)
    np.testing.assert_array_equal(store.parts()[0][0], 0)
    assert store.parts()[-1][1] == store.n_obs


@pytest.mark.parametrize("density", [0.02, 0.5])
def test_products_are_the_same_for_sparse_and_for_full_rows(density, tmp_path):
    x = from_anndata(table(random_counts(300, 60, density=density))).x(100)
    store = write_features(
        x, tmp_path, rows=np.ones(300, bool), genes=np.arange(60), already_log=False
    )
    wide = store.rows_block(0, 300).toarray().astype(np.float64)
    np.testing.assert_allclose(store.gram(), wide.T @ wide, rtol=1e-10)


def test_any_range_of_rows_can_be_read(tmp_path):
    store = written(tmp_path)
    found = sparse.vstack([rows for _, rows in FeatureStore.open(tmp_path)]).toarray()
    for start, stop in [(0, 1), (3, 30), (7, 9), (0, store.n_obs), (15, 17), (60, 200), (5, 5)]:
        block = store.rows_block(start, stop)
        np.testing.assert_array_equal(block.toarray(), found[start:stop])
        assert block.dtype == np.float32
    blocks = [block for _, block in iter_rows(store.x(13))]
    np.testing.assert_array_equal(sparse.vstack(blocks).toarray(), found)


def test_log_values_pass_unchanged(tmp_path):
    store = written(tmp_path, already_log=True)
    np.testing.assert_array_equal(
        store.rows_block(0, store.n_obs).toarray(), COUNTS.toarray()[ROWS][:, GENES]
    )


def test_progress_counts_all_rows(tmp_path):
    done = []
    written(tmp_path, on_rows=done.append)
    assert sum(done) == 97


def test_a_damaged_store_is_one_clear_error(tmp_path):
    with pytest.raises(StoreError, match="must hold numbered parts"):
        FeatureStore.open(tmp_path / "none")
    store = written(tmp_path)
    (tmp_path / "part-000001.data.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(StoreError, match="must hold part 1 whole"):
        store.read(1)
    (tmp_path / "gram.npy").unlink()
    with pytest.raises(StoreError, match="gram"):
        store.gram()
