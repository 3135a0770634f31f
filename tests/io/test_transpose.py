from __future__ import annotations

import gzip
import tracemalloc
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scrcl.errors import StoreError
from scrcl.io.open import open_input
from scrcl.io.parts import Parts
from scrcl.io.stream import iter_rows
from scrcl.io.transpose import CompressedColumns, copy_row_major
from tests.stores import random_counts, table, write_mtx, write_store


def source_of(x):
    x = sparse.csc_matrix(x)

    @contextmanager
    def source():
        yield CompressedColumns(x.data, x.indices, x.indptr, x.shape)

    return source


@given(
    st.integers(1, 40), st.integers(1, 20), st.integers(1, 30), st.floats(0, 1), st.integers(0, 99)
)
@settings(max_examples=30)
def test_a_row_major_copy_equals_the_matrix_for_any_bucket_size(
    tmp_path_factory, n_obs, n_vars, n_entries, density, seed
):
    x = random_counts(n_obs, n_vars, seed=seed, density=density)
    folder = tmp_path_factory.mktemp("t") / "copy"
    copy_row_major(source_of(x), folder, block_bytes=64 * n_entries, label="x")
    parts = Parts(folder)
    rows = parts.rows(0, n_obs)
    np.testing.assert_array_equal(rows.toarray(), x.toarray())
    assert rows.dtype == np.float32
    for start, stop in parts.parts():
        assert stop - start == 1 or x[start:stop].nnz <= n_entries
    assert not (folder / "buckets.bin").exists()


def _set(part, at, value):
    def damage(file):
        file["X"][part][at] = value

    return damage


def _cut(part, n):
    def damage(file):
        values = file["X"][part][:n]
        del file["X"][part]
        file["X"][part] = values

    return damage


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (_set("indices", 5, 40), "value 5 is of cell 40"),
        (_set("indices", 5, -1), "value 5 is of cell -1"),
        (_set("indptr", 5, 0), "do not fit each other"),
        (_set("indptr", 0, 3), "do not fit each other"),
        (_set("indptr", 12, 5), "do not fit each other"),
        (_cut("indptr", 12), "do not fit each other"),
    ],
)
def test_damage_of_a_matrix_by_genes_is_named(tmp_path, damage, found):
    path = write_store("h5ad csc", table(random_counts(40, 12, density=0.9)), tmp_path)
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(StoreError, match=rf"X of sample\.h5ad must .*{found}"):
        open_input([path], scratch=tmp_path / "scratch").x(9)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_memory_is_bounded_by_block_bytes(tmp_path):
    x = random_counts(4000, 250, density=1.0)
    x_bytes = x.data.nbytes + x.indices.nbytes
    block_bytes = 500_000
    source = source_of(x)
    tracemalloc.start()
    copy_row_major(source, tmp_path / "copy", block_bytes=block_bytes, label="x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert block_bytes < x_bytes / 4
    assert peak < block_bytes + 24 * 4000 + 200_000


def test_a_truncated_mtx_is_an_error_and_leaves_no_files(tmp_path):
    counts = random_counts(60, 30)
    path = write_mtx(table(counts), tmp_path, zipped=True)
    file = path / "matrix.mtx.gz"
    whole = file.read_bytes()
    for content in (whole[:-300], gzip.compress(gzip.decompress(whole)[:-200])):
        file.write_bytes(content)
        matrix = open_input([path], scratch=tmp_path / "scratch")
        with pytest.raises(StoreError, match="sample"):
            matrix.x(10)
        assert list((tmp_path / "scratch").iterdir()) == []


def test_an_mtx_of_real_numbers_with_cells_as_rows_is_read(tmp_path):
    path = write_mtx(table(random_counts(3, 2)), tmp_path)
    (path / "matrix.mtx").write_text(
        "%%MatrixMarket matrix coordinate real general\n%\n3 2 3\n1 1 0.5\n3 2 1e2\n1 2 7\n"
    )
    ((_, block),) = iter_rows(open_input([path], scratch=tmp_path / "scratch").x(9))
    np.testing.assert_array_equal(block.toarray(), [[0.5, 7], [0, 0], [0, 100]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "%%MatrixMarket matrix array real general\n3 2\n",
            "must begin with .* Write the file again in this form.",
        ),
        (
            "%%MatrixMarket matrix coordinate real general\n% only\n",
            "must give its size; .* Copy or download it again.",
        ),
        ("%%MatrixMarket matrix coordinate real general\n2 3 1\n1 9 4\n", "columns 1 to 3"),
        ("%%MatrixMarket matrix coordinate real general\n2 3 1\n1 x 4\n", "in line 3"),
    ],
)
def test_an_invalid_mtx_names_its_fault(text, message, tmp_path):
    path = write_mtx(table(random_counts(3, 2)), tmp_path)
    (path / "matrix.mtx").write_text(text)
    with pytest.raises(StoreError, match=message):
        open_input([path], scratch=tmp_path / "scratch").x(9)
