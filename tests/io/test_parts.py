"""Rows in numbered parts, some of them empty, against the same rows in memory."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scrcl.errors import StoreError
from scrcl.io.parts import Parts, column_dtype, row_starts, write_index, write_part
from tests.stores import random_counts

SIZES = [0, 3, 0, 0, 4, 1, 0, 5, 0]
N_ROWS, N_GENES = sum(SIZES), 11


@pytest.fixture(scope="module")
def matrix():
    rows = random_counts(N_ROWS, N_GENES, seed=3, density=0.4)
    return sparse.csr_matrix(
        rows.multiply((np.arange(N_ROWS) != 6)[:, None])
    )  # a row without values


@pytest.fixture(scope="module")
def parts(matrix, tmp_path_factory):
    folder, start = tmp_path_factory.mktemp("parts"), 0
    for number, size in enumerate(SIZES):
        write_part(folder, number, matrix[start : start + size])
        start += size
    write_index(folder, SIZES, N_GENES)
    return Parts(folder)


@given(start=st.integers(0, N_ROWS), stop=st.integers(0, N_ROWS + 4))
def test_any_range_of_rows_is_read_over_parts(parts, matrix, start, stop):
    found = parts.rows(start, stop)
    np.testing.assert_array_equal(found.toarray(), matrix[start : max(start, stop)].toarray())
    assert found.shape == (len(range(start, min(stop, N_ROWS))), N_GENES)
    assert found.indices.dtype == np.int32


@settings(max_examples=40)
@given(st.sets(st.integers(0, N_ROWS - 1)))
def test_any_rows_are_gathered(parts, matrix, chosen):
    rows = np.array(sorted(chosen), np.int64)
    found = parts.gather(rows)
    np.testing.assert_array_equal(found.toarray(), matrix[rows].toarray())
    assert found.shape == (len(rows), N_GENES)


def test_a_part_is_read_in_ranges_too(parts, matrix):
    np.testing.assert_array_equal(parts.read(4).toarray(), matrix[3:7].toarray())
    np.testing.assert_array_equal(parts.read(4, 1).toarray(), matrix[4:7].toarray())
    np.testing.assert_array_equal(parts.read(4, 1, 3).toarray(), matrix[4:6].toarray())
    assert parts.read(0).shape == (0, N_GENES)


def test_sizes_and_blocks_are_those_of_the_rows(parts, matrix):
    assert (parts.n_obs, parts.n_vars) == (N_ROWS, N_GENES)
    assert parts.x(5).chunks[0] == (5, 5, 3)
    assert parts.x_parts().chunks[0] == (3, 4, 1, 5)
    for x in (parts.x(5), parts.x_parts()):
        np.testing.assert_array_equal(x.compute().toarray(), matrix.toarray())


@pytest.mark.parametrize(("n_vars", "dtype"), [(65_536, np.uint16), (65_537, np.int32)])
def test_columns_are_narrow_where_all_of_them_fit(tmp_path, n_vars, dtype):
    assert column_dtype(n_vars) is dtype
    values = np.array([1, 2], np.float32)
    rows = sparse.csr_matrix((values, ([0, 2], [n_vars - 1, 0])), shape=(3, n_vars))
    write_part(tmp_path, 0, rows)
    write_index(tmp_path, [3], n_vars)
    assert np.load(tmp_path / "part-000000.indices.npy").dtype == dtype
    found = Parts(tmp_path).rows(0, 3)
    assert (found != rows).nnz == 0
    assert (found.dtype, found.indices.dtype) == (np.float32, np.int32)


def test_row_pointers_start_at_zero():
    assert row_starts(np.array([2, 0, 5])).tolist() == [0, 2, 2, 7]
    assert row_starts(np.array([], int)).tolist() == [0]


def test_a_missing_part_or_list_is_named(parts, matrix, tmp_path):
    with pytest.raises(StoreError, match=r"must hold numbered parts; got .*Write it again"):
        Parts(tmp_path)
    (tmp_path / "parts.json").write_text(json.dumps({"n_vars": 3}))
    with pytest.raises(StoreError, match="must hold numbered parts; got KeyError"):
        Parts(tmp_path)
    write_part(tmp_path, 0, matrix[:2])
    write_index(tmp_path, [2, 1], N_GENES)
    damaged = Parts(tmp_path)
    for read in (lambda: damaged.rows(0, 3), lambda: damaged.gather(np.array([0, 2]))):
        with pytest.raises(StoreError, match="must hold part 1; got"):
            read()
