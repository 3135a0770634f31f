"""Rows of tables are matched with the cells by name, and columns of joined samples with each other."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

from scrcl.engine.covariates import read_covariates
from scrcl.engine.load_config import load_config
from scrcl.errors import InputError
from scrcl.io.formats.element import store_root
from scrcl.io.open import from_anndata, open_input
from scrcl.io.slots import Kept, copy_slots
from tests.stores import random_counts, table, write_zarr

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of zarr formats

N = 30
PLACES = np.random.default_rng(0).random((N, 2))
SHUFFLED = np.random.default_rng(1).permutation(N)


def cells(columns="xy", n=N, prefix="cell"):
    adata = table(random_counts(n, 12))
    adata.obs_names = [f"{prefix}{i}" for i in range(n)]
    adata.obsm["spatial"] = pd.DataFrame(PLACES[:n], adata.obs_names, ["x", "y"])[list(columns)]
    return adata


def write(adata, path):
    adata.write_h5ad(path) if path.suffix == ".h5ad" else write_zarr(adata, path)
    return path


def writable(path):
    if path.suffix == ".h5ad":
        return h5py.File(path, "r+")
    return zarr.open_group(path, mode="r+", use_consolidated=False)


def shuffle_rows(path, key="obsm/spatial"):
    """Write the rows of a table in another order, names and all, as another program could."""
    root = writable(path)
    for name in list(root[key].keys()):
        root[key][name][:] = root[key][name][:][SHUFFLED]
    if path.suffix == ".h5ad":
        root.close()


def rename(path, name):
    with h5py.File(path, "r+") as file:
        names = file["obsm/spatial/_index"]
        names[4] = name


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_rows_of_a_table_are_matched_by_name(tmp_path, suffix):
    path = write(cells(), tmp_path / f"slice.{suffix}")
    shuffle_rows(path)
    places = read_covariates(open_input([path]), load_config(overrides={"spatial": True}))
    np.testing.assert_array_equal(places.coordinates, PLACES)


def test_a_table_of_other_names_is_refused_where_it_is_needed(tmp_path, caplog):
    path = write(cells(), tmp_path / "slice.h5ad")
    rename(path, "elsewhere")
    matrix = open_input([path])
    assert list(matrix.obsm) == ["spatial"]
    asked = load_config(overrides={"spatial": True})
    with pytest.raises(InputError, match=r'obsm\["spatial"\] of slice\.h5ad .* first is \'cell4\''):
        read_covariates(matrix, asked)
    assert read_covariates(matrix, load_config()).coordinates is None
    rename(path, "cell5")
    with pytest.raises(InputError, match="'cell5' is there more than once"):
        read_covariates(open_input([path]), asked)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_a_result_keeps_tables_by_name(tmp_path, suffix, caplog):
    source = cells()
    source.obs_names = ["same", "same", *source.obs_names[2:]]
    source.obsm["more"] = source.obsm["spatial"].assign(kind=pd.Categorical(["a", "b", "c"] * 10))
    source.varm["genes"] = pd.DataFrame({"n": range(12)}, source.var_names)
    path, other = write(source, tmp_path / "in.h5ad"), write(cells(), tmp_path / "other.h5ad")
    shuffle_rows(other)
    rows = np.arange(0, N, 2)
    for number, given in enumerate((path, other)):
        obs = pd.DataFrame(index=[f"new{i}" for i in rows])
        result = write(ad.AnnData(obs=obs, var=source.var), tmp_path / f"{number}.{suffix}")
        root = writable(result)
        with store_root(given) as group:
            copy_slots(Kept(group, rows, N, 12, "in.h5ad"), root)
        if suffix == "h5ad":
            root.close()
        else:
            zarr.consolidate_metadata(zarr.storage.LocalStore(result))
        found = ad.read_h5ad(result) if suffix == "h5ad" else ad.read_zarr(result)
        np.testing.assert_array_equal(found.obsm["spatial"].to_numpy(), PLACES[rows])
        assert found.obsm["spatial"].index.equals(obs.index)
        if not number:
            assert found.obsm["more"]["kind"].tolist() == ["a", "c", "b"] * 5
            assert found.varm["genes"]["n"].tolist() == list(range(12))
    assert not caplog.records


@pytest.mark.parametrize("damage", ["names", "values"])
def test_a_table_that_cannot_be_matched_is_left_out_whole(tmp_path, damage, caplog):
    source, path = cells(), tmp_path / "result.h5ad"
    given = write(source, tmp_path / "in.h5ad")
    rename(given, "elsewhere")
    if damage == "values":
        rename(given, "cell4")
        with h5py.File(given, "r+") as file:
            file["obsm/spatial/y"].attrs["encoding-type"] = "of-the-future"
    write(ad.AnnData(obs=source.obs), path)
    with h5py.File(path, "r+") as file, store_root(given) as group:
        copy_slots(Kept(group, np.arange(N), N, None, "in.h5ad"), file)
    assert "obsm/spatial is left out" in caplog.text
    assert "spatial" not in ad.read_h5ad(path).obsm


def test_columns_of_joined_samples_are_matched_by_name(tmp_path, caplog):
    one, two = write(cells(), tmp_path / "one.h5ad"), write(cells("yx"), tmp_path / "two.h5ad")
    joined = open_input([one, two])
    np.testing.assert_array_equal(
        np.asarray(joined.obsm["spatial"]), np.concatenate([PLACES, PLACES])
    )
    other = cells()
    other.obsm["spatial"] = other.obsm["spatial"].rename(columns={"x": "row"})
    plain = cells()
    plain.obsm["spatial"] = PLACES
    asked = load_config(overrides={"spatial": True})
    for name, adata in (("named", other), ("plain", plain)):
        third = write(adata, tmp_path / f"{name}.h5ad")
        with pytest.raises(InputError, match=rf'obsm\["spatial"\] .* x, y in one.* {name}\.h5ad'):
            read_covariates(open_input([one, third]), asked)


def test_an_object_in_memory_is_matched_too():
    adata = cells()
    assert from_anndata(adata).obsm["spatial"].index.equals(adata.obs_names)
    adata.obsm["spatial"] = PLACES
    np.testing.assert_array_equal(from_anndata(adata).obsm["spatial"], PLACES)
