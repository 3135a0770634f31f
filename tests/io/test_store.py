from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.experimental import read_elem_lazy
from anndata.io import sparse_dataset
from scipy import sparse

from scrcl.errors import InputError, StoreError
from scrcl.io import store
from scrcl.io.matrix import CellMatrix
from scrcl.io.open import from_anndata, open_input
from scrcl.io.rows import rows_from_reader
from scrcl.io.stored_dtype import exact_rows, exact_x
from scrcl.io.stream import iter_rows
from tests.stores import random_counts, table, write_zarr

COUNTS = random_counts(83, 31)


@pytest.fixture
def small_shards(monkeypatch):
    """Make shards so small that a few hundred values fill many."""
    monkeypatch.setattr(store, "CHUNK_VALUES", 16)
    monkeypatch.setattr(store, "SHARD_VALUES", 64)


def whole(x):
    return sparse.vstack([block for _, block in iter_rows(x)]).toarray()


def write(matrix, path, *, block_rows=10, uns=None):
    found = store.survey_values(exact_x(matrix, block_rows))
    store.create_store(path, matrix, found, uns or {})
    store.fill_values(path, exact_x(matrix, block_rows), found.indptr, on_shard=int)
    store.finish_store(path)
    return found


def contents(path):
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def test_anndata_reads_the_store_whole_backed_and_lazily(tmp_path, small_shards):
    adata = table(COUNTS)
    adata.obs["kind"] = pd.Categorical(["a", "b"] * 41 + [None])
    adata.obs["mixed"] = [1, "x", *[None] * 81]
    adata.var["length"] = np.arange(31.0)
    adata.obsm["spatial"] = np.arange(166.0).reshape(83, 2)
    write(from_anndata(adata), tmp_path / "a.zarr", uns={"made": {"by": "test"}})
    back = ad.read_zarr(tmp_path / "a.zarr")
    np.testing.assert_array_equal(back.X.toarray(), COUNTS.toarray())
    np.testing.assert_array_equal(back[5:9, [3, 1]].X.toarray(), COUNTS[5:9][:, [3, 1]].toarray())
    assert (back.X.dtype, back.X.indices.dtype, back.X.indptr.dtype) == ("uint8", "uint16", "int64")
    pd.testing.assert_series_equal(back.obs["kind"], adata.obs["kind"])
    pd.testing.assert_frame_equal(back.var, adata.var)
    assert back.obs["mixed"].iloc[0] == "1"
    np.testing.assert_array_equal(back.obsm["spatial"], adata.obsm["spatial"])
    assert back.uns["made"] == {"by": "test"}
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group.metadata.consolidated_metadata is not None
    rows = np.array([70, 3, 4])
    np.testing.assert_array_equal(
        sparse_dataset(group["X"])[rows].toarray(), COUNTS[rows].toarray()
    )
    lazy = read_elem_lazy(group["X"], chunks=(20, 31))
    np.testing.assert_array_equal(lazy.compute().toarray(), COUNTS.toarray())
    matrix = open_input([tmp_path / "a.zarr"])
    np.testing.assert_array_equal(whole(matrix.x(7)), COUNTS.toarray())
    assert (matrix.layout, matrix.nnz) == ("csr", COUNTS.nnz)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([1, 255], "f4"), "uint8"),
        (np.array([1, 256], "f4"), "uint16"),
        (np.array([1, 65_536], "i8"), "uint32"),
        (np.array([1, 16_777_217], "i8"), "uint32"),
        (np.array([1, 2**32 - 1], "f8"), "uint32"),
        (np.array([1, 2**32], "f8"), "float32"),
        (np.array([1, 2**32 + 1], "f8"), "float64"),
        (np.array([-1, 2], "i4"), "float32"),
        (np.array([1, 0.5], "f8"), "float32"),
        (np.array([1, np.nan, np.inf], "f8"), "float32"),
        (np.array([1, 0.1], "f8"), "float64"),
        (np.array([-1, 2**24 + 1], "i8"), "float64"),
        (np.array([1, 0.5], "f2"), "float32"),
        (np.array([True]), "uint8"),
    ],
)
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_the_smallest_exact_dtype_is_chosen(values, dtype, layout, tmp_path):
    dense = np.zeros((2, 5), dtype=values.dtype)
    dense[0, : len(values)] = values
    if layout == "csr" and values.dtype == "f2":
        pytest.skip("scipy has no float16")
    adata = ad.AnnData(dense if layout == "dense" else sparse.csr_matrix(dense))
    adata.write_h5ad(tmp_path / "in.h5ad")
    found = write(open_input([tmp_path / "in.h5ad"]), tmp_path / "a.zarr")
    assert found.dtype == dtype
    back = ad.read_zarr(tmp_path / "a.zarr").X
    assert back.dtype == dtype
    np.testing.assert_array_equal(back.toarray().astype(values.dtype), dense)


def test_values_that_no_dtype_holds_exactly_are_refused():
    x = sparse.csr_matrix(np.array([[-1, 2**60 + 1]]))
    with pytest.raises(InputError, match=r"2\^53"):
        store.survey_values(exact_x(from_anndata(table(x)), 1))


@pytest.mark.parametrize("values", [[2.0**24], [0.5]])
def test_values_that_a_row_major_copy_may_have_rounded_are_refused(values):
    x = exact_x(from_anndata(table(sparse.csr_matrix(np.array([values])))), 1)
    with pytest.raises(InputError, match="16,777,216"):
        store.survey_values(x, column_major=True)


def test_sums_of_duplicates_do_not_wrap():
    x = sparse.csr_matrix(
        (np.array([200, 200, 0, 1], "u1"), np.array([2, 2, 0, 1]), [0, 2, 4]), shape=(2, 3)
    )
    np.testing.assert_array_equal(exact_rows(x).toarray(), [[0, 0, 400], [0, 1, 0]])
    assert exact_rows(x).nnz == 2
    assert x.nnz == 4


def test_columns_are_int32_where_uint16_is_too_small(tmp_path):
    x = sparse.csr_matrix(([1.0, 2], ([0, 1], [65_535, 65_536])), shape=(2, 65_537))
    write(from_anndata(table(x)), tmp_path / "a.zarr")
    back = ad.read_zarr(tmp_path / "a.zarr").X
    assert back.indices.dtype == np.int32
    assert (back != x).nnz == 0
    write(from_anndata(table(x[:, :65_536])), tmp_path / "b.zarr")
    back = ad.read_zarr(tmp_path / "b.zarr").X
    assert back.indices.dtype == np.uint16
    assert (back != x[:, :65_536]).nnz == 0


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_a_store_without_values_or_with_only_the_first_gene_is_complete(
    density, tmp_path, small_shards
):
    x = sparse.csr_matrix((np.ones((100, 1)) * density).astype(np.float32))
    write(from_anndata(table(x)), tmp_path / "a.zarr")
    np.testing.assert_array_equal(
        whole(open_input([tmp_path / "a.zarr"]).x(9)), np.full((100, 1), density)
    )


@pytest.mark.parametrize("block_rows", [1, 7, 83])
def test_bytes_do_not_depend_on_blocks_and_interruptions(block_rows, tmp_path, small_shards):
    matrix = from_anndata(table(COUNTS))
    found = write(matrix, tmp_path / "a.zarr")
    shards = []
    path = tmp_path / "b.zarr"

    class StoppedError(Exception):
        pass

    def stop_after_one(n_values):
        shards.append(n_values)
        raise StoppedError

    store.create_store(path, matrix, found, {})
    while not shards or shards[-1] < found.n_values:
        n_done = shards[-1] if shards else 0
        (path / "X/data/c").mkdir(exist_ok=True)
        (path / "X/data/c/9.cut.partial").touch()
        with pytest.raises(StoppedError):
            store.fill_values(
                path,
                exact_x(matrix, block_rows),
                found.indptr,
                n_done=n_done,
                on_shard=stop_after_one,
            )
    assert shards == [*range(64, found.n_values, 64), found.n_values]
    (path / "X/data/c/9.cut.partial").unlink(missing_ok=True)
    store.fill_values(
        path,
        exact_x(matrix, block_rows),
        found.indptr,
        n_done=found.n_values,
        on_shard=stop_after_one,
    )
    store.finish_store(path)
    assert contents(path) == contents(tmp_path / "a.zarr")


def test_a_flipped_bit_is_noticed_with_its_file_and_rows(tmp_path, small_shards):
    write(from_anndata(table(COUNTS)), tmp_path / "a.zarr")
    file = tmp_path / "a.zarr/X/indices/c/1"
    damaged = bytearray(file.read_bytes())
    damaged[20] ^= 4
    file.write_bytes(damaged)
    matrix = open_input([tmp_path / "a.zarr"])
    first = int(np.searchsorted(COUNTS.indptr, 64, side="right")) - 1
    with pytest.raises(StoreError, match=rf"a.zarr .*chunk .* rows {first} to "):
        whole(exact_x(matrix, 1)[first:])


@pytest.mark.large
def test_more_than_2_to_the_31_values_are_written_and_read(tmp_path):
    n_obs, n_vars = 43_100, 50_000
    assert n_obs * n_vars > 2**31
    columns = np.arange(n_vars, dtype=np.int32)
    pattern = (columns % 7 + 1).astype(np.uint8)

    def read(start, stop):
        data = np.tile(pattern, stop - start)
        data[::n_vars] = np.arange(start, stop) % 251 + 1
        n_rows = stop - start
        return sparse.csr_matrix(
            (data, np.tile(columns, n_rows), np.arange(n_rows + 1) * n_vars), shape=(n_rows, n_vars)
        )

    names = pd.DataFrame(index=np.arange(n_obs).astype(str))
    matrix = CellMatrix(
        label="pattern", n_obs=n_obs, n_vars=n_vars, dtype=np.dtype(np.uint8), layout="csr",
        nnz=n_obs * n_vars, chunk_rows=None, load_obs=lambda: names,
        var=pd.DataFrame(index=np.arange(n_vars).astype(str)), load_obsm=dict, identity={},
        rows=lambda rows: rows_from_reader(read, shape=(n_obs, n_vars), block_rows=rows),
    )  # fmt: skip
    found = write(matrix, tmp_path / "a.zarr", block_rows=200)
    assert found.n_values > 2**31
    x = open_input([tmp_path / "a.zarr"]).x(100)
    for start in (0, 42_900, 43_000):  # row 42,949 holds value number 2^31
        ((_, block),) = iter_rows(x[start : start + 100])
        expected = np.tile(pattern, (100, 1))
        expected[:, 0] = np.arange(start, start + 100) % 251 + 1
        np.testing.assert_array_equal(block.toarray(), expected)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")["X"]
    (last,) = sparse_dataset(group)[n_obs - 1 :].toarray()
    assert last[0] == (n_obs - 1) % 251 + 1
    np.testing.assert_array_equal(last[1:], pattern[1:])


def test_converting_a_store_again_gives_the_same_bytes(tmp_path):
    write(open_input([write_zarr(table(COUNTS), tmp_path / "in.zarr")]), tmp_path / "a.zarr")
    write(open_input([tmp_path / "a.zarr"]), tmp_path / "b.zarr")
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")
