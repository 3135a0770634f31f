"""Reading rows of stores, and errors that name the damaged part."""

import os
import pickle
import shutil

import h5py
import numpy as np
import pytest
import zarr
from scipy import sparse
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, ZstdCodec

from scrcl.engine.convert import convert
from scrcl.errors import StoreError
from scrcl.io.formats.element import CompressedRows, DenseRows
from scrcl.io.open import open_input
from scrcl.io.rows import as_csr
from scrcl.io.stream import iter_rows
from scrcl.prep.compute_stats import compute_stats
from tests.stores import random_counts, table, write_store, write_zarr

COUNTS = random_counts(300, 40, density=0.5)


def whole(path):
    return np.vstack([block.toarray() for _, block in iter_rows(open_input([path]).x(64))])


def our_store(folder):
    write_store("h5ad csr", table(COUNTS), folder)
    convert([folder / "sample.h5ad"], folder / "ours.zarr")
    return folder / "ours.zarr"


def foreign(folder, arrays):
    """Return a store whose ``X`` was written without scrcl and anndata."""
    path = write_zarr(table(COUNTS), folder / "foreign.zarr", 3)
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    attributes = dict(group["X"].attrs)
    del group["X"]
    x = group.create_group("X", attributes=attributes)
    for name in ("data", "indices", "indptr"):
        values = getattr(COUNTS, name)
        array = x.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=(512,), **arrays(values)
        )
        array[:] = values
    return path


@pytest.mark.parametrize(
    "arrays",
    [
        lambda _: {"compressors": [GzipCodec(level=1)]},
        lambda _: {"compressors": None},
        lambda _: {"shards": (1024,), "compressors": [BloscCodec(cname="zstd"), Crc32cCodec()]},
        lambda _: {"serializer": BytesCodec(endian="big")},
        lambda _: {
            "compressors": None,
            "serializer": ShardingCodec(
                chunk_shape=(128,), codecs=[BytesCodec()], index_location="start"
            ),
        },
    ],
    ids=["gzip", "plain", "shards", "big endian", "shards with their index first"],
)
def test_stores_with_other_codecs_are_read(tmp_path, arrays):
    np.testing.assert_array_equal(whole(foreign(tmp_path, arrays)), COUNTS.toarray())


def test_rows_are_read_with_the_fast_codecs(tmp_path):
    rows = CompressedRows(our_store(tmp_path), "X", COUNTS.shape)
    with rows._element() as arrays:
        assert type(arrays["data"].async_array.codec_pipeline).__name__ == "ZarrsCodecPipeline"


@pytest.mark.parametrize("name", ["h5ad csr gzip", "zarr v2", "zarr v3 shards"])
def test_an_unpickled_reader_reads_the_same_rows(tmp_path, name):
    path = write_store(name, table(COUNTS), tmp_path)
    rows = CompressedRows(path, "X", COUNTS.shape)
    before = as_csr(rows(7, 250))
    after = as_csr(pickle.loads(pickle.dumps(rows))(7, 250))
    np.testing.assert_array_equal(before.toarray(), COUNTS[7:250].toarray())
    np.testing.assert_array_equal(after.toarray(), before.toarray())


def flip(path, at=0.5):
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("at", [0.1, 0.3, 0.6])
def test_a_flipped_bit_in_a_converted_store_names_shard_chunk_and_rows(tmp_path, at):
    path = our_store(tmp_path)
    flip(path / "X/data/c/0", at=at)
    with pytest.raises(
        StoreError, match=r"ours\.zarr .* chunk 0 of shard X/data/c/0, .*rows 0 to 299, is not"
    ):
        compute_stats(open_input([path]).rows(50))


@pytest.mark.parametrize("at", [0.05, 0.2, 0.4, 0.6])
def test_a_flipped_bit_is_noticed_in_every_range_of_rows_that_holds_it(tmp_path, at):
    path = foreign(
        tmp_path, lambda _: {"shards": (2048,), "compressors": [ZstdCodec(level=3, checksum=True)]}
    )
    flip(path / "X/data/c/0", at=at)
    found = 0
    for start in range(0, 300, 10):
        rows = CompressedRows(path, "X", COUNTS.shape)
        try:
            block = as_csr(rows(start, start + 10)).toarray()
        except StoreError as error:
            found += "of shard X/data/c/0" in str(error)
        else:
            np.testing.assert_array_equal(block, COUNTS[start : start + 10].toarray())
    assert 0 < found < 20


def test_a_truncated_shard_is_named(tmp_path):
    path = our_store(tmp_path)
    shard = path / "X/indices/c/0"
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(StoreError, match=r"shard X/indices/c/0"):
        compute_stats(open_input([path]).rows(50))


def test_a_missing_shard_is_refused_at_once(tmp_path):
    path = our_store(tmp_path)
    (path / "X/data/c/0").unlink()
    with pytest.raises(StoreError, match="1 of 1 chunks of X/data are missing"):
        open_input([path])


def test_a_missing_array_is_named(tmp_path):
    path = our_store(tmp_path)
    shutil.rmtree(path / "X/indices")
    with pytest.raises(StoreError, match="indices"):
        open_input([path])


def test_row_pointers_that_do_not_fit_are_reported_as_damage(tmp_path):
    path = write_store("h5ad csr", table(COUNTS), tmp_path)
    with h5py.File(path, "r+") as file:
        file["X/indptr"][5] = 10**9
    with pytest.raises(StoreError, match="X/indptr does not fit its 300 rows"):
        compute_stats(open_input([path]).rows(50))


def test_a_damaged_dense_chunk_names_its_rows(tmp_path):
    path = write_zarr(table(COUNTS.toarray()), tmp_path / "dense.zarr", 2)
    chunk = min(path.glob("X/[0-9]*"))
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(StoreError, match=r"dense\.zarr .* chunk X/0.0, .* rows 0 to \d+, is not"):
        DenseRows(path, "X", COUNTS.shape)(0, 10)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_checking_annotations_finds_damaged_names_and_leaves_out_other_columns(
    tmp_path, caplog, zarr_format
):
    adata = table(COUNTS)
    adata.obs["batch"] = np.arange(300) % 7
    path = write_zarr(adata, tmp_path / "sample.zarr", zarr_format)
    open_input([path]).check_obs()
    assert not caplog.records
    chunk = {2: "0", 3: "c/0"}[zarr_format]
    (path / "obs" / "batch" / chunk).write_bytes(b"\0" * 20)
    open_input([path]).check_obs()
    assert "obs['batch'] is left out" in caplog.text
    (path / "obs" / "_index" / chunk).write_bytes(b"\0" * 20)
    with pytest.raises(StoreError, match=r"obs/_index of sample\.zarr"):
        open_input([path]).check_obs()


def test_float16_values_are_read_exactly(tmp_path):
    halves = COUNTS.copy()
    path = write_zarr(table(halves), tmp_path / "sample.zarr", 2)
    group = zarr.open_group(path, mode="r+", use_consolidated=False)["X"]
    values = group["data"][:].astype(np.float16)
    del group["data"]
    group.create_array("data", shape=values.shape, dtype=values.dtype, chunks=(512,))[:] = values
    np.testing.assert_array_equal(whole(path), COUNTS.toarray())
    convert([path], tmp_path / "out.zarr")
    np.testing.assert_array_equal(whole(tmp_path / "out.zarr"), COUNTS.toarray())


def test_a_process_shares_one_reader_among_unpickled_copies(tmp_path):
    sent = pickle.dumps(CompressedRows(our_store(tmp_path), "X", COUNTS.shape))
    assert pickle.loads(sent) is pickle.loads(sent)


def test_reading_leaves_the_settings_of_zarr_unchanged(tmp_path):
    before = zarr.config.get("codec_pipeline.path")
    list(iter_rows(open_input([our_store(tmp_path)]).x(20), n_ahead=4))
    assert zarr.config.get("codec_pipeline.path") == before


def test_an_index_of_exactly_the_number_of_genes_is_refused(tmp_path):
    path = write_store("h5ad csr", table(COUNTS), tmp_path / "in")
    with h5py.File(path, "r+") as file:
        file["X/indices"][-1] = COUNTS.shape[1]
    with pytest.raises(StoreError, match=f"refers to gene {COUNTS.shape[1]} of {COUNTS.shape[1]}"):
        whole(path)


def test_a_reader_that_was_sent_does_not_read_a_newer_file_by_old_row_starts(tmp_path):
    path = our_store(tmp_path)
    before = pickle.loads(pickle.dumps(CompressedRows(path, "X", COUNTS.shape)))
    before(0, 300)  # keeps the row starts
    shutil.rmtree(path)
    other = sparse.csr_matrix(COUNTS[::-1])
    convert([write_store("h5ad csr", table(other), tmp_path / "new")], path)
    os.utime(path, ns=(1, 1))
    after = pickle.loads(pickle.dumps(CompressedRows(path, "X", COUNTS.shape)))
    np.testing.assert_array_equal(as_csr(after(0, 300)).toarray(), other.toarray())


@pytest.mark.parametrize("name", ["obs/_index", "var/_index"])
def test_missing_chunks_of_names_are_refused_at_once(tmp_path, name):
    path = write_zarr(table(COUNTS), tmp_path / "sample.zarr", 2)
    (path / name / "0").unlink()
    with pytest.raises(StoreError, match=f"1 of 1 chunks of {name} are missing"):
        open_input([path])
