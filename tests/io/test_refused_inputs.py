"""Inputs that cannot be read: one line with the true cause, and what to do about it."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

from scrcl.errors import StoreError
from scrcl.io.open import open_input
from scrcl.io.results import storable
from tests.stores import random_counts, table, write_10x, write_store, write_zarr

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of zarr formats

COUNTS = random_counts(40, 12)


def refusal(path):
    with pytest.raises(StoreError) as refused:
        open_input([path])
    return str(refused.value)


def several(path, holder, names):
    """Write a store of some AnnData in a group, as MuData and SpatialData do."""
    one = write_store("h5ad csr", table(COUNTS), path.parent / "one")
    if path.suffix == ".zarr":
        for name in names:
            write_zarr(table(COUNTS), path / holder / name)
        zarr.open_group(path, mode="a", zarr_format=2)
        zarr.open_group(path / holder, mode="a", zarr_format=2)
        return path
    with h5py.File(one) as source, h5py.File(path, "w") as file:
        for table_name in ("obs", "var"):
            source.copy(table_name, file)
        for name in names:
            source.copy("/", file.require_group(holder), name)
    return path


def test_mudata_is_named_with_its_modalities(tmp_path):
    text = refusal(several(tmp_path / "cells.h5mu", "mod", ["rna", "prot"]))
    assert "MuData file of the modalities prot, rna" in text
    assert "['rna'].write_h5ad('rna.h5ad')" in text
    assert "layer" not in text


def test_a_store_of_several_tables_names_the_path_of_one(tmp_path):
    path = several(tmp_path / "tissue.zarr", "tables", ["spots"])
    assert f"Give the path of one, as {path}/tables/spots." in refusal(path)
    assert open_input([path / "tables" / "spots"]).n_obs == 40


def packed(path, name, number=32015):
    """Compress a part of a file by a filter that is not there."""
    with h5py.File(path, "r+") as file:
        data, attributes = file[name][:], dict(file[name].attrs)
        del file[name]
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((len(data),))
        settings.set_filter(number, h5py.h5z.FLAG_OPTIONAL, ())
        group, _, key = name.rpartition("/")
        where, kind = h5py.h5s.create_simple(data.shape), h5py.h5t.py_create(data.dtype)
        made = h5py.h5d.create(file[group].id, key.encode(), kind, where, settings)
        made.write_direct_chunk((0,), data.tobytes())
        file[name].attrs.update(attributes)
    return path


@pytest.mark.parametrize(
    ("name", "part"), [("h5ad csr", "X/data"), ("h5ad csr", "X/indptr"), ("10x h5", "matrix/data")]
)
def test_a_filter_that_is_missing_is_named_with_its_plugin(tmp_path, name, part):
    text = refusal(packed(write_store(name, table(COUNTS), tmp_path / "in"), part))
    assert f"{part} of" in text
    assert "HDF5 filter 32015 (zstd)" in text
    assert "hdf5plugin" in text
    assert "download" not in text


def test_a_column_behind_a_missing_filter_is_left_out(tmp_path, caplog):
    cells = table(COUNTS)
    cells.obs["n"] = np.arange(40)
    path = packed(write_store("h5ad csr", cells, tmp_path / "in"), "obs/n", 32001)
    matrix = open_input([path])
    matrix.check_obs()
    assert "obs['n'] is left out" in caplog.text
    assert "filter 32001 (blosc)" in caplog.text
    assert "n" not in matrix.obs


@pytest.mark.parametrize("part", ["shape", "indptr", "barcodes", "features"])
def test_a_10x_file_that_lacks_a_part_names_it(tmp_path, part):
    path = write_10x(table(COUNTS), tmp_path)
    with h5py.File(path, "r+") as file:
        del file["matrix"][part]
    assert f"matrix has no {'gene_names, genes' if part == 'features' else part}" in refusal(path)


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("data", ["a"]), ("indices", [0.5]), ("shape", [1]), ("barcodes", list(range(40))), ("features/name", [0.5]),
        ("features/id", list(range(30))), ("features/feature_type", ["Gene Expression"] * 5),
    ],
)  # fmt: skip
def test_a_10x_file_with_a_part_of_another_type_names_it(tmp_path, part, values):
    path = write_10x(table(COUNTS), tmp_path)
    with h5py.File(path, "r+") as file:
        del file["matrix"][part]
        file["matrix"][part] = values
    assert "must" in refusal(path)
    assert part in refusal(path)
    assert "download" not in refusal(path)


@pytest.mark.parametrize(("name", "group"), [("h5ad csr", "X"), ("10x h5", "matrix")])
@pytest.mark.parametrize("more", [-1, 1])
def test_indices_that_are_not_as_many_as_the_values_are_refused_at_once(
    tmp_path, name, group, more
):
    path = write_store(name, table(COUNTS), tmp_path / "in")
    with h5py.File(path, "r+") as file:
        indices = np.resize(file[group]["indices"][:], COUNTS.nnz + more)
        del file[group]["indices"]
        file[group]["indices"] = indices
    assert f"must have an index for each value; {group}/indices has {len(indices):,}" in refusal(
        path
    )


def test_names_of_a_10x_file_that_are_not_utf8_are_said(tmp_path, caplog):
    path = write_10x(table(COUNTS), tmp_path)
    with h5py.File(path, "r+") as file:
        file["matrix/barcodes"][3] = b"cell\xf2"
    assert open_input([path]).obs.index[3] == "cell\ufffd"
    assert "1 names in matrix/barcodes are not UTF-8" in caplog.text


def test_a_table_that_does_not_say_what_names_its_rows_is_refused(tmp_path):
    path = write_store("h5ad csr", table(COUNTS), tmp_path / "in")
    with h5py.File(path, "r+") as file:
        del file["var"].attrs["_index"]
    assert "must name its rows in var; got None" in refusal(path)


def test_missing_chunks_of_a_column_are_named(tmp_path, caplog):
    cells = table(COUNTS)
    cells.obs["kind"] = pd.Categorical(["b", "c"] * 20)
    path = write_store("zarr v2", cells, tmp_path / "in")
    (path / "obs" / "kind" / "codes" / "0").unlink()
    open_input([path]).check_obs()
    assert "1 of 1 chunks of obs['kind'] are missing (in obs/kind/codes)" in caplog.text


def test_what_we_write_has_all_of_its_chunks(tmp_path, caplog):
    from scrcl.engine.convert import convert

    cells = table(COUNTS)
    cells.obs["zero"], cells.obs["kind"] = 0, pd.Categorical(["a"] * 40)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    convert(tmp_path / "cells.h5ad", tmp_path / "cells.zarr")
    open_input([tmp_path / "cells.zarr"]).check_obs()
    assert "missing" not in caplog.text


def test_a_slash_in_a_name_is_replaced_and_said(caplog):
    assert list(storable(pd.DataFrame({"q/r": [1], "s": [2]}))) == ["q_r", "s"]
    assert "the column 'q/r' is kept as 'q_r'" in caplog.text
    assert "'s'" not in caplog.text


def test_antibodies_of_one_sample_are_none_of_another_that_names_no_kinds(tmp_path, caplog):
    cells = table(COUNTS)
    cells.var["feature_types"] = ["Gene Expression"] * 9 + ["Antibody Capture"] * 3
    named = write_10x(cells, tmp_path)
    plain = tmp_path / "plain.h5ad"
    ad.AnnData(COUNTS, cells.obs, pd.DataFrame(index=cells.var_names)).write_h5ad(plain)
    for paths in ([named, plain], [plain, named]):
        joined = open_input(paths, join="outer")
        assert joined.var.index.tolist() == [f"gene{i}" for i in range(9)]
        x = joined.x(100).compute().toarray()
        np.testing.assert_array_equal(x, np.vstack([COUNTS[:, :9].toarray()] * 2))
    assert "plain.h5ad: 3 features are left out" in caplog.text
