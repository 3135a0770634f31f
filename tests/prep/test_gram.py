from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scrcl._threads import one_blas_thread
from scrcl.prep.gram import GramSums, added, column_sums, packed_gram, unpack


def rows_of(n_rows, n_columns, density, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.gamma(2, 1, (n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < density)
    return sparse.csr_matrix(values.astype(np.float32))


def products(rows, index_dtype=np.uint16):
    n_columns = rows.shape[1]
    return unpack(
        packed_gram(rows.indptr, rows.indices.astype(index_dtype), rows.data, n_columns),
        n_columns,
    )


@settings(max_examples=30)
@given(
    st.integers(0, 60), st.integers(1, 30), st.sampled_from([0, 0.02, 0.1, 0.5, 1]),
    st.sampled_from([np.uint16, np.int32]), st.integers(0, 1000),
)  # fmt: skip
def test_the_gram_matrix_equals_that_of_the_dense_rows(
    n_rows, n_columns, density, index_dtype, seed
):
    rows = rows_of(n_rows, n_columns, density, seed)
    wide = rows.toarray().astype(np.float64)
    np.testing.assert_allclose(products(rows, index_dtype), wide.T @ wide, rtol=1e-6)
    sums = column_sums(rows.indices, rows.data, n_columns)
    np.testing.assert_allclose(sums, wide.sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("density", [0.03, 0.4])
def test_precision_does_not_drop_with_many_rows(density):
    rows = rows_of(9000, 40, density)  # several chunks either way
    wide = rows.toarray().astype(np.float64)
    np.testing.assert_allclose(products(rows), wide.T @ wide, rtol=5e-7)


def test_sums_of_many_blocks_lose_no_digits():
    total = GramSums(np.zeros(1), np.array([2**24], np.float32))
    for _ in range(3):
        total = added(total, GramSums(np.ones(1), np.ones(1, np.float32)))
    assert total.gram.tolist() == [2**24 + 3]
    assert total.sums.tolist() == [3]


def test_bits_do_not_depend_on_the_threads_of_the_process():
    from threadpoolctl import threadpool_limits

    rows = rows_of(3000, 300, 0.5)
    found = []
    for limit in (1, 2):
        with threadpool_limits(limit):
            found.append(products(rows))
    np.testing.assert_array_equal(*found)


def test_the_thread_limit_holds_until_the_last_worker_leaves():
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        assert threads() == {1}
        first.__exit__(None, None, None)
        assert threads() == {1}
        second.__exit__(None, None, None)
        assert threads() == {2}
