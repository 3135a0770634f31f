"""Inputs of no known format: what they are is named, with what to do."""

import gzip
import io
import re
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from scrcl.errors import InputError, StoreError
from scrcl.io.open import open_input
from tests.stores import random_counts, table, write_mtx, write_store

COUNTS = random_counts(20, 12)


def refusal(path):
    with pytest.raises(StoreError) as refused:
        open_input([path])
    return str(refused.value)


def archive():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("matrix.mtx"))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("a.h5ad", b"", "an empty file"),
        ("a.h5ad", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.h5ad", b"\n<!DOCTYPE html><html>", "a web page"),
        ("a.h5ad", b"\x28\xb5\x2f\xfd....", "zstd -d"),
        ("a.tar", archive(), "tar -xf"),
        ("a.tar.gz", gzip.compress(archive()), "tar -xzf"),
        ("a.h5ad.gz", gzip.compress(b"\x89HDF"), "gunzip"),
        ("a.rds", gzip.compress(b"RDX3"), "a file of R"),
        ("counts.csv.gz", gzip.compress(b"a,b"), "a table"),
        ("counts.tsv", b"a\tb", "a table"),
        ("counts.xlsx", b"PK", "a spreadsheet"),
        ("a.h5ad.crdownload", b"\x89HDF\r\n", "did not end"),
        ("a.pkl", b"\x80\x04", "Python objects"),
        ("a.parquet", b"PAR1", "Parquet"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",  # packed bytes hold the time
)
def test_a_foreign_file_is_named_with_what_to_do(tmp_path, name, content, advice):
    (tmp_path / name).write_bytes(content)
    text = refusal(tmp_path / name)
    assert advice in text
    assert "file signature" not in text


@pytest.mark.parametrize(
    ("members", "advice"),
    [
        (("row_attrs/Gene", "col_attrs/CellID", "matrix"), "a loom file"),
        (("assays/RNA", "meta.data/x"), "a Seurat file"),
        (("barcode_idx", "count"), "the molecules of Cell Ranger"),
        (("X", "Y"), "an HDF5 file of X, Y. Make an AnnData of its counts"),
    ],
)
def test_an_hdf5_file_of_another_program_is_named(tmp_path, members, advice):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in members:
            file[name] = [1]
    assert advice in refusal(tmp_path / "a.h5")


@pytest.mark.parametrize(("end", "separator"), [("csv", ","), ("tsv.gz", "\t"), ("txt", " ")])
def test_the_lines_for_a_table_convert_it(tmp_path, monkeypatch, end, separator):
    cells = table(COUNTS).to_df().T.astype(int)
    path = tmp_path / f"a b.counts.{end}"
    text = "## a comment, with commas\n" + cells.to_csv(sep=separator)
    path.write_bytes(gzip.compress(text.encode()) if end.endswith("gz") else text.encode())
    lines = re.search(r"In Python: (.*)\. Leave out \.T", refusal(path))
    monkeypatch.chdir(tmp_path)
    exec(lines[1], {})  # noqa: S102 - as a user would
    matrix = open_input([tmp_path / "a b.counts.h5ad"])
    np.testing.assert_array_equal(matrix.x(7).compute().toarray(), COUNTS.toarray())
    assert matrix.var.index.tolist() == table(COUNTS).var_names.tolist()


@pytest.mark.parametrize(
    ("files", "advice"),
    [
        (("__tiledb_group.tdb",), "a TileDB-SOMA experiment"),
        (("assays.h5", "se.rds"), "a SummarizedExperiment saved by R"),
    ],
)
def test_a_folder_of_another_program_is_named(tmp_path, files, advice):
    for name in files:
        (tmp_path / name).touch()
    assert advice in refusal(tmp_path)


def test_an_input_inside_a_folder_is_named(tmp_path):
    folder = write_mtx(table(COUNTS), tmp_path)
    (tmp_path / "outs").mkdir()
    folder.rename(tmp_path / "outs" / "filtered_feature_bc_matrix")
    assert f"Give {tmp_path}/outs/filtered_feature_bc_matrix" in refusal(tmp_path)
    write_store("h5ad csr", table(COUNTS), tmp_path / "outs")
    assert "holds 2 inputs" in refusal(tmp_path / "outs")


def test_one_array_a_broken_link_and_the_address_of_a_file(tmp_path):
    zarr.save_array(str(tmp_path / "x.zarr"), np.ones((2, 2)))
    assert "a single array. Give the folder of the whole store" in refusal(tmp_path / "x.zarr")
    (tmp_path / "link.h5ad").symlink_to("gone.h5ad")
    assert "a link to gone.h5ad, which does not" in refusal(tmp_path / "link.h5ad")
    assert "Give /data/x.h5ad" in refusal(Path("file:///data/x.h5ad"))


def test_out_inside_the_folder_of_an_mtx_is_refused(tmp_path):
    from scrcl.engine.convert import convert

    folder = write_mtx(table(COUNTS), tmp_path)
    with pytest.raises(InputError, match="OUT must be apart from the input"):
        convert(folder, folder / "out.zarr")
    assert len(list(folder.iterdir())) == 3
