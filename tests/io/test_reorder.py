from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scrcl.errors import InputError
from scrcl.io.open import from_anndata, open_input
from scrcl.io.parts import Parts
from scrcl.io.reorder import reorder_rows
from scrcl.io.store import survey_values
from scrcl.io.stream import iter_rows
from tests.stores import random_counts, table, write_store


def whole(x):
    return sparse.vstack([block for _, block in iter_rows(x)]).toarray()


@given(
    st.integers(1, 40), st.integers(1, 20), st.integers(1, 2_000), st.floats(0, 1),
    st.integers(1, 50), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=15)
def test_any_rows_come_in_any_order_for_any_block_size(
    tmp_path_factory, n_obs, n_vars, block_bytes, density, block_rows, seed
):
    x = random_counts(n_obs, n_vars, seed=seed, density=density)
    rng = np.random.default_rng(seed)
    order = rng.permutation(n_obs)[: rng.integers(1, n_obs + 1)]
    folder = tmp_path_factory.mktemp("t")
    ordered = reorder_rows(from_anndata(table(x)), order, folder, block_bytes)
    np.testing.assert_array_equal(whole(ordered.x(block_rows)), x[order].toarray())
    parts = Parts(next(folder.iterdir()))
    n_values = block_bytes // (3 * (4 + survey_values(from_anndata(table(x)).x(9)).dtype.itemsize))
    for start, stop in parts.parts():
        assert stop - start == 1 or x[order[start:stop]].nnz <= max(n_values, 1)


def test_annotations_are_reordered_and_the_surveyed_dtype_is_used(tmp_path):
    adata = table(random_counts(50, 20))
    adata.obsm["spatial"] = np.arange(100.0).reshape(50, 2)
    matrix = from_anndata(adata)
    order = np.arange(50)[::-2]
    found = survey_values(matrix.x(10))
    ordered = reorder_rows(matrix, order, tmp_path, 1_000, survey=found)
    assert ordered.obs.index.tolist() == [f"cell{i}" for i in order]
    np.testing.assert_array_equal(ordered.obsm["spatial"], adata.obsm["spatial"][order])
    assert ordered.nnz == adata.X[order].nnz
    assert ordered.identity != reorder_rows(matrix, order[::-1], tmp_path, 1_000).identity
    ((_, block),) = iter_rows(ordered.rows(50))
    assert block.dtype == np.uint8


def test_the_copy_is_made_once_and_leaves_no_buckets(tmp_path):
    path = write_store("h5ad csr", table(random_counts(50, 20)), tmp_path / "in")
    order = np.random.default_rng(0).permutation(50)
    whole(reorder_rows(open_input([path]), order, tmp_path / "s", 500).x(9))
    (folder,) = (tmp_path / "s").iterdir()
    stamp = folder.stat().st_mtime_ns
    assert not list(folder.glob("*.bin"))
    whole(reorder_rows(open_input([path]), order, tmp_path / "s", 500).x(7))
    assert [p.stat().st_mtime_ns for p in (tmp_path / "s").iterdir()] == [stamp]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (np.array([0, 1, 1]), "row 1 2 times"),
        (np.array([0, 50]), "rows 0 to 49; got 50"),
        (np.array([-1]), "got -1"),
        (np.array([0.0]), "list of row numbers; got float64"),
        (np.array([], dtype=int), r"shape \(0,\)"),
    ],
)
def test_an_invalid_order_is_refused(order, message, tmp_path):
    with pytest.raises(InputError, match=message):
        reorder_rows(from_anndata(table(random_counts(50, 20))), order, tmp_path, 1_000)


def test_memory_is_bounded_by_block_bytes(tmp_path):
    x = random_counts(4000, 250, density=1.0)
    matrix = from_anndata(table(x))
    order = np.random.default_rng(0).permutation(4000)
    found = survey_values(matrix.x(100))
    tracemalloc.start()
    reorder_rows(matrix, order, tmp_path, 500_000, survey=found).x(100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert x.nnz * 8 > 4_000_000
    assert peak < 500_000 + 40 * 4000 + 1_000_000
