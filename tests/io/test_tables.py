"""What cannot be read or stored of the tables of cells and genes is left out; names are needed."""

import logging

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.io import write_elem

from scrcl.engine.covariates import read_covariates
from scrcl.engine.load_config import load_config
from scrcl.errors import InputError, StoreError
from scrcl.io.formats.element import store_root
from scrcl.io.open import from_anndata, open_input
from scrcl.io.slots import Kept, copy_slots
from scrcl.io.tables import check_table, read_names
from tests.cells import make_cells

N = 60


@pytest.fixture
def path(tmp_path):
    adata = make_cells(n_cells=N)
    adata.obs["n"] = np.arange(N)
    adata.obs["note"] = [f"note {i}" for i in range(N)]
    adata.obs["age"] = pd.array([None, *range(1, N)], dtype="Int64")
    adata.var["length"] = np.arange(adata.n_vars)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def replace(group, name, values, **options):
    attributes = dict(group[name].attrs)
    del group[name]
    group.create_dataset(name, data=values, **options)
    group[name].attrs.update(attributes)


def unknown_encoding(file):
    file["obs/n"].attrs["encoding-type"] = "interval-array"


def short(file):
    replace(file["obs"], "n", np.arange(N - 20))


def two_columns(file):
    replace(file["obs"], "n", np.zeros((N, 2)))


def short_mask(file):
    replace(file["obs/age"], "mask", np.zeros(N - 1, bool))


def code_too_large(file):
    file["obs/cell_type/codes"][5] = 9


def code_below(file):
    file["obs/cell_type/codes"][5] = -2


def category_with_nul(file):
    values = np.array([f"{i}\0x".encode() for i in range(4)], dtype="S3")
    replace(file["obs/cell_type"], "categories", values)


def repeated_category(file):
    file["obs/cell_type/categories"][1] = file["obs/cell_type/categories"][0]


def text_not_utf8(file):
    values = file["obs/note"][:]
    values[7] = "Z\xfcrich".encode("latin-1")
    replace(file["obs"], "note", values, dtype=h5py.string_dtype("utf-8"))


def member_missing(file):
    del file["obs/n"]


def codes_missing(file):
    del file["obs/cell_type/codes"]


DAMAGES = [
    (unknown_encoding, "n"), (short, "n"), (two_columns, "n"), (short_mask, "age"), (code_too_large, "cell_type"),
    (code_below, "cell_type"), (category_with_nul, "cell_type"), (repeated_category, "cell_type"),
    (text_not_utf8, "note"), (member_missing, "n"), (codes_missing, "cell_type"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "column"), DAMAGES, ids=lambda each: getattr(each, "__name__", each)
)
def test_a_damaged_column_is_found_early_and_left_out(path, caplog, damage, column):
    whole = open_input([path]).obs
    with h5py.File(path, "r+") as file:
        damage(file)
    matrix = open_input([path])
    with caplog.at_level(logging.WARNING, "scrcl"):
        matrix.check_obs()
    assert f"cells.h5ad: obs['{column}'] is left out" in caplog.text
    assert len(caplog.records) == 1
    pd.testing.assert_frame_equal(matrix.obs, whole.drop(columns=column))


def test_a_key_whose_column_cannot_be_read_says_why(path):
    with h5py.File(path, "r+") as file:
        code_too_large(file)
    matrix = open_input([path])
    config = load_config(overrides={"batch_key": "cell_type"})
    with pytest.raises(InputError, match=r"can be read; got 'cell_type'. ValueError: codes need"):
        read_covariates(matrix, config)


def as_0_7(file, table, column):
    """Store a categorical column as anndata 0.7 did: codes that refer to their categories."""
    group = file[table]
    codes, categories = group[column]["codes"][:], group[column]["categories"][:]
    del group[column]
    kept = group.require_group("__categories")
    kept.create_dataset(column, data=categories, dtype=h5py.string_dtype())
    kept[column].attrs["ordered"] = True
    group[column] = codes
    group[column].attrs["categories"] = kept[column].ref
    group.attrs["encoding-version"] = "0.1.0"


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_categories_of_anndata_0_7_are_those_that_anndata_reads(path, tmp_path, caplog):
    whole = ad.read_h5ad(path)
    whole.obsm["table"] = whole.obs[["cell_type"]]
    whole.var["kind"] = pd.Categorical(["a", "b", "c"] * 50)
    whole.raw = whole
    whole.uns["table"] = whole.var[["kind"]]
    whole.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        for table, column in (("obs", "cell_type"), ("obsm/table", "cell_type")):
            as_0_7(file, table, column)
        for table in ("var", "raw/var", "uns/table"):
            as_0_7(file, table, "kind")
    expected = ad.read_h5ad(path)
    matrix = open_input([path])
    matrix.check_obs()
    pd.testing.assert_frame_equal(matrix.obs, expected.obs)
    pd.testing.assert_frame_equal(matrix.var, expected.var)
    assert matrix.obs["cell_type"].cat.ordered
    result = tmp_path / "result.h5ad"
    ad.AnnData(obs=expected.obs, var=expected.var).write_h5ad(result)
    with store_root(path) as source, h5py.File(result, "r+") as target:
        copy_slots(Kept(source, np.arange(N), N, 150, "cells.h5ad", with_values=True), target)
    found = ad.read_h5ad(result)
    pd.testing.assert_frame_equal(found.obsm["table"], expected.obsm["table"])
    pd.testing.assert_frame_equal(found.raw.var, expected.raw.var)
    pd.testing.assert_frame_equal(found.uns["table"], expected.uns["table"])
    assert not caplog.records
    with h5py.File(path, "r+") as file:
        file["obs/cell_type"][7] = 99
    matrix = open_input([path])
    matrix.check_obs()
    assert "outside of its 4 categories" in caplog.text
    assert "cell_type" not in matrix.obs


def test_a_damaged_column_of_genes_is_left_out(path, caplog):
    with h5py.File(path, "r+") as file:
        replace(file["var"], "length", np.arange(3))
    with caplog.at_level(logging.WARNING, "scrcl"):
        assert list(open_input([path]).var) == []
    assert "var['length'] is left out" in caplog.text


def test_tables_are_read_as_anndata_reads_them(path):
    whole, matrix = ad.read_h5ad(path), open_input([path])
    pd.testing.assert_frame_equal(matrix.obs, whole.obs)
    pd.testing.assert_frame_equal(matrix.var, whole.var)
    matrix.check_obs()


@pytest.mark.parametrize("name", [b"Z\xfcrich", b"a\0b"], ids=["latin-1", "NUL"])
def test_a_name_of_a_cell_that_no_file_can_hold_is_refused_early(path, name):
    with h5py.File(path, "r+") as file:
        names = [each.encode() for each in file["obs/_index"].asstr()[:]]
        names[3] = name
        replace(file["obs"], "_index", np.array(names, dtype="S9"))
    with pytest.raises(
        (StoreError, InputError), match=r"obs/_index of cells.h5ad must be readable"
    ):
        open_input([path]).check_obs()


def test_a_damaged_column_of_one_sample_is_left_out_of_it(path, tmp_path, caplog):
    other = tmp_path / "other.h5ad"
    other.write_bytes(path.read_bytes())
    with h5py.File(other, "r+") as file:
        short(file)
    matrix = open_input([path, other])
    with caplog.at_level(logging.WARNING, "scrcl"):
        matrix.check_obs()
    assert "other.h5ad: obs['n']" in caplog.text
    assert matrix.obs["n"].isna().sum() == N


@pytest.mark.parametrize("name", ["", ".", "a\0b", "Z\udcfcrich"])
def test_a_column_in_memory_that_no_file_can_hold_is_left_out(name, caplog):
    adata = make_cells(n_cells=N)
    adata.obs[name] = adata.var[name] = 1
    with caplog.at_level(logging.WARNING, "scrcl"):
        matrix = from_anndata(adata)
        matrix.check_obs()
    assert list(matrix.obs) == ["cell_type"]
    assert list(matrix.var) == []
    assert "obs[" in caplog.text
    assert "var[" in caplog.text
    assert name in adata.obs


@pytest.mark.parametrize("text", ["a\0b", "Z\udcfcrich"])
def test_texts_in_memory_that_no_file_can_hold(text):
    adata = make_cells(n_cells=N)
    adata.obs["site"] = pd.Categorical([text] * N)
    adata.obs["note"] = [text, *["b"] * (N - 1)]
    assert list(from_anndata(adata).obs) == ["cell_type"]
    adata.obs_names = [text, *adata.obs_names[1:]]
    with pytest.raises(InputError, match="cell names of AnnData object must be plain text"):
        from_anndata(adata).check_obs()
    adata.var_names = [text, *adata.var_names[1:]]
    with pytest.raises(InputError, match="gene names of AnnData object must be plain text"):
        from_anndata(adata)


@pytest.mark.parametrize(
    ("index", "found"),
    [
        (pd.MultiIndex.from_arrays([np.arange(N), np.arange(N)]), "2 names for each"),
        (pd.Index(np.arange(N) / 2), "values of type float64"),
        (pd.date_range("2020", periods=N), "values of type datetime64"),
    ],
)
def test_an_index_in_memory_that_names_nothing_is_refused(index, found):
    adata = make_cells(n_cells=N)
    adata.obs.index = index
    with pytest.raises(InputError, match=f"cell names of AnnData object must be .*got {found}"):
        from_anndata(adata).check_obs()


def test_a_missing_name_is_none(tmp_path):
    adata = make_cells(n_cells=N, n_genes=4)
    adata.var.index = pd.Index([None, "NA", np.nan, "nan"], dtype=object)
    names = ["unnamed_gene_0", "NA", "unnamed_gene_2", "nan"]
    assert from_anndata(adata).var.index.tolist() == names
    group = named(tmp_path / "obs.zarr", np.arange(4))
    del group["_index"]
    with ad.settings.override(allow_write_nullable_strings=True):
        write_elem(group, "_index", pd.array([None, "NA", None, "nan"], dtype="string"))
    assert read_names(group, name="obs", label="in").tolist() == ["", "NA", "", "nan"]


def named(path, values):
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("_index", data=values)
    group["_index"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    group.attrs.update({"_index": "_index", "column-order": []})
    return group


@pytest.mark.parametrize(("kind", "names"), [("S5", ["a", "b"]), ("i8", ["7", "8"])])
def test_names_of_bytes_and_whole_numbers_are_text(tmp_path, kind, names):
    group = named(tmp_path / "obs.zarr", np.array(names).astype(kind))
    assert read_names(group, name="obs", label="in").tolist() == names


@pytest.mark.parametrize("kind", ["f8", "c16", "?"])
def test_names_of_other_types_are_refused(tmp_path, kind):
    group = named(tmp_path / "obs.zarr", np.array([1, 0]).astype(kind))
    with pytest.raises(StoreError, match="which name nothing"):
        read_names(group, name="obs", label="in")
    with pytest.raises(StoreError, match="which name nothing"):
        check_table(group, name="obs", label="in", n_rows=2)
