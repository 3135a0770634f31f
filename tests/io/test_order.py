"""Orders and places: genes of samples, damaged positions and lost pieces."""

import pickle
import shutil
import time

import anndata as ad
import h5py
import numpy as np
import pytest

from scrcl.errors import StoreError
from scrcl.io.formats.element import CompressedRows
from scrcl.io.open import open_input
from tests.cells import make_cells
from tests.stores import write_zarr


def test_samples_with_genes_in_another_order_are_joined_by_name(tmp_path):
    first = make_cells(n_cells=30, n_genes=40)
    second = make_cells(n_cells=20, n_genes=40, seed=1)
    second.obs_names = [f"other{i}" for i in range(20)]
    second = second[:, np.random.default_rng(0).permutation(40)].copy()
    for name, adata in (("a", first), ("b", second)):
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    joined = open_input([tmp_path / "a.h5ad", tmp_path / "b.h5ad"])
    expected = ad.concat([first, second])
    assert joined.var.index.tolist() == expected.var_names.tolist()
    found = joined.x(7).compute()
    assert (found != expected.X).nnz == 0


def test_an_index_of_just_the_number_of_genes_is_damage(tmp_path):
    path = tmp_path / "cells.h5ad"
    make_cells(n_cells=30, n_genes=40).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        file["X/indices"][11] = 40
    with pytest.raises(StoreError, match="40"):
        CompressedRows(path, "X", (30, 40))(0, 30)


@pytest.mark.parametrize("table", ["obs", "var"])
def test_lost_names_are_missed(tmp_path, table):
    path = write_zarr(make_cells(n_cells=30, n_genes=40), tmp_path / "cells.zarr", 3)
    shutil.rmtree(path / table / "_index" / "c")
    with pytest.raises(StoreError, match=rf"chunks of {table}/_index are missing"):
        open_input([path])


def test_a_reader_sent_after_a_file_was_written_again_reads_the_new_one(tmp_path):
    path = tmp_path / "cells.h5ad"
    old, new = make_cells(n_cells=30, n_genes=40), make_cells(n_cells=30, n_genes=40, seed=1)
    for adata in (old, new):
        adata.write_h5ad(path)
        time.sleep(0.01)  # another time of change
        sent = pickle.loads(pickle.dumps(CompressedRows(path, "X", (30, 40))))
        rows = sent(0, 30)
        np.testing.assert_array_equal(rows.indptr, adata.X.indptr)
        np.testing.assert_array_equal(rows.data, adata.X.data)
