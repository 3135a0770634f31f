from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scrcl.errors import StoreError
from scrcl.io.open import from_anndata
from scrcl.io.stream import Reading, iter_rows
from scrcl.prep.feature_store import FeatureStore, write_features
from tests import reference_io as reference
from tests.stores import random_counts, table

COUNTS = random_counts(97, 40)
RETAINED = np.arange(97) % 5 > 0
RETAINED[20:40] = False  # no cell of this block is retained
GENES = np.array([1, 2, 7, 30, 39])


def written(folder, block_rows=10, **options):
    x = from_anndata(table(COUNTS)).x(block_rows)
    options = {"retained": RETAINED, "genes": GENES, "already_log": False} | options
    return write_features(x, folder, **options)


@pytest.mark.parametrize("block_rows", [1, 10, 97])
@pytest.mark.parametrize("n_workers", [1, 3])
def test_the_store_holds_normalised_rows_and_their_gram_matrix(block_rows, n_workers, tmp_path):
    store = written(tmp_path, block_rows, reading=Reading(n_workers))
    expected = reference.features(COUNTS.toarray(), RETAINED, GENES)
    found = sparse.vstack([rows for _, rows in store]).toarray()
    assert (store.n_obs, store.n_vars) == expected.shape == found.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    wide = found.astype(np.float64)
    np.testing.assert_allclose(store.gram(), wide.T @ wide, rtol=1e-6)
    np.testing.assert_allclose(store.sums(), wide.sum(axis=0), rtol=1e-10)
    np.testing.assert_array_equal(store.parts()[0][0], 0)
    assert store.parts()[-1][1] == store.n_obs


@pytest.mark.parametrize("density", [0.02, 0.5])
def test_the_gram_matrix_is_right_for_sparse_and_for_dense_rows(density, tmp_path):
    x = from_anndata(table(random_counts(300, 60, density=density))).x(100)
    store = write_features(
        x, tmp_path, retained=np.ones(300, bool), genes=np.arange(60), already_log=False
    )
    wide = store.rows(0, 300).toarray().astype(np.float64)
    np.testing.assert_allclose(store.gram(), wide.T @ wide, rtol=1e-6)


def test_sums_and_gram_matrix_are_those_of_the_values_on_disk(tmp_path):
    store = written(tmp_path)
    assert np.load(tmp_path / "part-000000.data.npy").dtype == np.float32
    assert np.load(tmp_path / "part-000000.indices.npy").dtype == np.uint16
    rows = store.rows(0, store.n_obs)
    assert (rows.data.dtype, rows.indices.dtype) == (np.float32, np.int32)
    expected = reference.features(COUNTS.toarray(), RETAINED, GENES)
    np.testing.assert_allclose(rows.toarray(), expected, rtol=np.finfo(np.float32).eps)
    wide = rows.toarray().astype(np.float64)
    np.testing.assert_allclose(store.gram(), wide.T @ wide, rtol=1e-6)
    np.testing.assert_allclose(store.sums(), wide.sum(axis=0), rtol=1e-10)


def test_given_cell_sums_give_the_same_bits(tmp_path):
    sums = COUNTS.toarray().sum(axis=1, dtype=np.float64)
    one, other = written(tmp_path / "a"), written(tmp_path / "b", cell_sums=sums)
    for (_, a), (_, b) in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.toarray(), b.toarray())
    doubled = written(tmp_path / "c", cell_sums=sums * 2)
    assert doubled.sums().sum() < one.sums().sum()


def test_bits_do_not_depend_on_workers_and_block_size_changes_only_rounding(tmp_path):
    x = from_anndata(table(random_counts(3000, 80, density=0.08))).x
    options = {"retained": np.ones(3000, bool), "genes": np.arange(0, 80, 2), "already_log": False}
    stores = [
        write_features(x(n), tmp_path / f"{n}-{w}", reading=Reading(w), **options)
        for n, w in [(300, 1), (300, 2), (300, 4), (777, 2)]
    ]
    for other in stores[1:3]:
        np.testing.assert_array_equal(stores[0].gram(), other.gram())
        np.testing.assert_array_equal(stores[0].sums(), other.sums())
    np.testing.assert_allclose(stores[0].gram(), stores[3].gram(), rtol=1e-6)


def test_parts_with_int32_columns_are_read_too(tmp_path):
    store = written(tmp_path)
    whole = store.rows(0, store.n_obs).toarray()
    for path in tmp_path.glob("part-*.ind*.npy"):
        np.save(path, np.load(path).astype(np.int32))
    np.testing.assert_array_equal(store.rows(0, store.n_obs).toarray(), whole)


def test_the_gram_matrix_is_optional(tmp_path):
    assert written(tmp_path / "with").has_gram
    store = written(tmp_path / "without", with_gram=False)
    assert not store.has_gram
    with pytest.raises(StoreError, match="gram"):
        store.gram()


def test_parts_come_as_blocks_in_order(tmp_path):
    store = written(tmp_path)
    blocks = [block for _, block in iter_rows(store.x_parts())]
    assert [b.shape[0] for b in blocks] == [b - a for a, b in store.parts() if b > a]
    whole = store.rows(0, store.n_obs).toarray()
    np.testing.assert_array_equal(sparse.vstack(blocks).toarray(), whole)


def test_any_range_of_rows_can_be_read(tmp_path):
    store = written(tmp_path)
    found = sparse.vstack([rows for _, rows in FeatureStore(tmp_path)]).toarray()
    for start, stop in [(0, 1), (3, 30), (7, 9), (0, store.n_obs), (15, 17), (60, 200), (5, 5)]:
        block = store.rows(start, stop)
        np.testing.assert_array_equal(block.toarray(), found[start:stop])
        assert block.dtype == np.float32
    blocks = [block for _, block in iter_rows(store.x(13))]
    np.testing.assert_array_equal(sparse.vstack(blocks).toarray(), found)


def test_log_values_are_written_unchanged(tmp_path):
    store = written(tmp_path, already_log=True)
    np.testing.assert_array_equal(
        store.rows(0, store.n_obs).toarray(), COUNTS.toarray()[RETAINED][:, GENES]
    )


def test_progress_counts_all_rows(tmp_path):
    done = []
    written(tmp_path, reading=Reading(on_rows=done.append))
    assert sum(done) == 97


def test_a_damaged_store_names_what_is_missing(tmp_path):
    with pytest.raises(StoreError, match="numbered parts"):
        FeatureStore(tmp_path / "none")
    store = written(tmp_path)
    (tmp_path / "part-000001.data.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(StoreError, match="part 1"):
        store.read(1)
    (tmp_path / "gram.npy").unlink()
    with pytest.raises(StoreError, match="gram"):
        store.gram()
