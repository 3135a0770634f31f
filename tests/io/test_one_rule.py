"""One rule for every format: the same matrix gives the same genes, cells and values however it is stored."""

from __future__ import annotations

import shutil

import anndata as ad
import h5py
import numpy as np
import pytest

from scrcl.errors import InputError, StoreError
from scrcl.io.open import from_anndata, open_input
from scrcl.io.transpose import Scratch
from tests.stores import FORMATS, random_counts, table, write_store

COUNTS = random_counts(20, 12)
KINDS = ["Gene Expression"] * 8 + ["Antibody Capture"] * 3 + ["Custom"]


def same(matrix, n_genes=12):
    np.testing.assert_array_equal(matrix.x(7).compute().toarray(), COUNTS[:, :n_genes].toarray())
    assert matrix.var.index.tolist() == [f"gene{i}" for i in range(n_genes)]
    assert matrix.obs.index.tolist() == [f"cell{i}" for i in range(20)]


@pytest.mark.parametrize("name", FORMATS)
def test_only_genes_are_read_from_every_format(name, tmp_path, caplog):
    cells = table(COUNTS)
    cells.var["feature_types"] = KINDS
    same(open_input([write_store(name, cells, tmp_path / "in")], scratch=tmp_path / "scratch"), 8)
    assert "4 features are left out" in caplog.text
    assert "3 'Antibody Capture', 1 'Custom'" in caplog.text


def test_kinds_in_memory_are_compared_without_case_and_a_missing_kind_is_a_gene():
    cells = table(COUNTS)
    cells.var["feature_types"] = ["gene expression", None, "GEX", *KINDS[3:8], *KINDS[8:]]
    same(from_anndata(cells), 8)
    cells.var["feature_types"] = "Antibody Capture"
    with pytest.raises(InputError, match="only 12 'Antibody Capture'"):
        from_anndata(cells)


@pytest.mark.parametrize("inside", ["", "cells.zarr"])
@pytest.mark.parametrize("name", ["zarr v2", "zarr v2 csc", "zarr v3", "zarr v3 dense"])
def test_a_zipped_zarr_is_read(name, inside, tmp_path):
    folder = tmp_path / "in"
    path = write_store(name, table(COUNTS), folder)
    path.rename(folder / "cells.zarr")
    root = folder if inside else folder / "cells.zarr"
    zipped = shutil.make_archive(str(tmp_path / "cells"), "zip", root)
    same(open_input([tmp_path / zipped], scratch=tmp_path / "scratch"))


def test_a_dense_matrix_without_attributes_and_a_backed_csc_are_read(tmp_path):
    dense = write_store("h5ad dense", table(COUNTS), tmp_path / "dense")
    with h5py.File(dense, "r+") as file:
        for name in list(file["X"].attrs):
            del file["X"].attrs[name]
    same(open_input([dense]))
    backed = ad.read_h5ad(write_store("h5ad csc", table(COUNTS), tmp_path / "csc"), backed="r")
    same(from_anndata(backed, scratch=Scratch(tmp_path / "scratch", 1 << 20)))


@pytest.mark.parametrize(("part", "kind"), [("data", "S3"), ("indices", "f8"), ("indptr", "f8")])
def test_arrays_of_the_wrong_type_are_refused(part, kind, tmp_path):
    path = write_store("h5ad csr", table(COUNTS), tmp_path / "in")
    with h5py.File(path, "r+") as file:
        values = file["X"][part][:]
        del file["X"][part]
        file["X"][part] = values.astype(kind)
    with pytest.raises(StoreError, match=f"X/{part} of sample.h5ad must be a list of"):
        open_input([path])


def test_a_missing_shape_is_named(tmp_path):
    path = write_store("h5ad csr", table(COUNTS), tmp_path / "in")
    with h5py.File(path, "r+") as file:
        del file["X"].attrs["shape"]
    with pytest.raises(StoreError, match=r"X of sample\.h5ad must have the attribute shape"):
        open_input([path])


def test_complex_and_masked_values_are_refused():
    cells = table(COUNTS)
    cells.X = COUNTS.toarray().astype(complex)
    with pytest.raises(InputError, match="real numbers; got values of type complex"):
        from_anndata(cells)
    with pytest.raises(InputError, match="masked"):
        from_anndata(_Masked(cells))


class _Masked:
    """An object whose X is masked, as AnnData keeps it."""

    def __init__(self, cells):
        self.X, self.var, self.obs, self.layers = (
            np.ma.masked_equal(COUNTS.toarray(), 0),
            cells.var,
            cells.obs,
            {},
        )
        self.isbacked, self.raw = False, None
