"""Files that R wrote: attributes of fixed length or in lists of one, and categories that no column refers to."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from scrcl.errors import StoreError
from scrcl.io.attributes import text_attribute, text_list
from scrcl.io.formats.element import store_root
from scrcl.io.open import open_input
from scrcl.io.slots import Kept, copy_slots
from tests.cells import make_cells

N = 60


@pytest.fixture
def path(tmp_path):
    adata = make_cells(n_cells=N)
    adata.var["length"] = np.arange(adata.n_vars)
    adata.layers["log"] = np.log1p(adata.X)
    adata.obsm["places"] = pd.DataFrame({"x": np.arange(N), "y": 1.0}, index=adata.obs_names)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def as_r(element, *, listed):
    """Write the texts of attributes as bytes of fixed length, each in a list if ``listed``."""
    for key, value in list(element.attrs.items()):
        if isinstance(value, str):
            fixed = np.bytes_(value.encode())
            del element.attrs[key]
            element.attrs[key] = np.array([fixed]) if listed else fixed
        elif key == "column-order" and len(value):
            del element.attrs[key]
            element.attrs[key] = np.array([each.encode() for each in value])


@pytest.mark.parametrize("listed", [False, True])
def test_texts_of_attributes_are_read_as_r_writes_them(path, tmp_path, listed, caplog):
    expected = ad.read_h5ad(path)
    with h5py.File(path, "r+") as file:
        for name in ("X", "obs", "var", "layers/log", "obsm/places"):
            as_r(file[name], listed=listed and name in ("X", "obs", "var"))
    matrix = open_input([path])
    matrix.check_obs()
    np.testing.assert_array_equal(matrix.x(N).compute().toarray(), expected.X.toarray())
    assert matrix.obs["cell_type"].tolist() == expected.obs["cell_type"].tolist()
    assert matrix.var["length"].tolist() == expected.var["length"].tolist()
    assert list(matrix.obsm["places"]["x"]) == list(range(N))
    result, rows = tmp_path / "result.h5ad", np.arange(0, N, 2)
    ad.AnnData(obs=expected.obs.iloc[rows], var=expected.var).write_h5ad(result)
    with store_root(path) as source, h5py.File(result, "r+") as target:
        kept = Kept(source, rows, N, expected.n_vars, "cells.h5ad", with_values=True)
        copy_slots(kept, target)
    assert ("X is left out, because it cannot be kept" in caplog.text) == listed
    found = ad.read_h5ad(result).layers["log"]
    np.testing.assert_array_equal(found.toarray(), expected.layers["log"][rows].toarray())
    assert listed or not caplog.records


def test_an_attribute_that_is_no_text_is_none():
    class Element:
        attrs = {"n": 1, "two": ["a", "b"], "one": "a"}  # noqa: RUF012

    assert text_attribute(Element, "n") is text_attribute(Element, "two") is None
    assert text_attribute(Element, "missing") is text_list(Element, "missing") is None
    assert text_list(Element, "one") == ["a"]
    assert text_list(Element, "two") == ["a", "b"]


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_categories_without_a_reference_are_those_of_the_name_of_the_column(path, caplog):
    """SeuratDisk writes factors as codes, and R has the smallest whole number for a missing one."""
    expected = ad.read_h5ad(path).obs["cell_type"].tolist()
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        codes, categories = obs["cell_type/codes"][:], obs["cell_type/categories"][:]
        del obs["cell_type"]
        kept = obs.create_group("__categories")
        kept.create_dataset("cell_type", data=categories, dtype=h5py.string_dtype())
        codes = codes.astype(np.int32)
        codes[3] = np.iinfo(np.int32).min
        obs["cell_type"] = codes
    matrix = open_input([path])
    matrix.check_obs()
    found = matrix.obs["cell_type"]
    assert found.isna().to_numpy().nonzero()[0].tolist() == [3]
    assert found.drop(found.index[3]).tolist() == expected[:3] + expected[4:]
    assert not caplog.records


def test_raw_without_names_of_its_genes_is_said(path):
    with h5py.File(path, "r+") as file:
        file.copy("X", file.require_group("raw"))
    assert open_input([path]).n_obs == N
    with pytest.raises(StoreError, match=r"raw of cells\.h5ad must have var, .*; it has X\."):
        open_input([path], layer="raw")
