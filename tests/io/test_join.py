from __future__ import annotations

import logging

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scrcl.errors import InputError, StoreError
from scrcl.io.join import join_samples
from scrcl.io.open import open_input
from scrcl.io.stored_dtype import exact_x
from scrcl.io.stream import iter_rows
from tests.stores import random_counts, table, write_store


def whole(x):
    return sparse.vstack([block for _, block in iter_rows(x)]).toarray()


def samples():
    """Three samples whose genes overlap, in different orders."""
    rng = np.random.default_rng(0)
    made = {}
    for i, (name, n_obs, n_vars) in enumerate((("one", 40, 30), ("two", 25, 28), ("three", 9, 35))):
        genes = rng.choice(40, n_vars, replace=False)
        adata = table(random_counts(n_obs, n_vars, seed=i))
        adata.var_names = [f"g{gene}" for gene in genes]
        adata.var[f"of_{name}"] = genes
        adata.var["number"] = genes
        adata.obsm["spatial"] = rng.normal(size=(n_obs, 2))
        made[name] = adata
    return made


def opened(made, tmp_path, layouts=("h5ad csr", "zarr v2 csc", "h5ad dense")):
    paths = []
    tmp_path.mkdir(exist_ok=True)
    for (name, adata), layout in zip(made.items(), layouts, strict=True):
        path = write_store(layout, adata, tmp_path / name)
        paths.append(path.rename(tmp_path / f"{name}{path.suffix}"))
    matrices = [open_input([path], scratch=tmp_path / "scratch") for path in paths]
    return matrices, paths


@pytest.mark.parametrize("how", ["inner", "outer"])
def test_joined_samples_equal_those_of_anndata(how, tmp_path):
    made = samples()
    matrix = join_samples(*opened(made, tmp_path), how=how)
    expected = ad.concat(made, join=how, label="sample", index_unique="-", fill_value=0)
    assert matrix.obs.index.tolist() == expected.obs_names.tolist()
    assert sorted(matrix.var.index) == sorted(expected.var_names)
    np.testing.assert_array_equal(whole(matrix.x(7)), expected[:, matrix.var.index].X.toarray())
    np.testing.assert_array_equal(matrix.obsm["spatial"], expected.obsm["spatial"])
    assert all(block.has_canonical_format for _, block in iter_rows(matrix.x(7)))


def test_an_outer_join_orders_genes_by_sample_and_takes_the_first_annotation(tmp_path):
    made = samples()
    matrix = join_samples(*opened(made, tmp_path), how="outer")
    names = [name for adata in made.values() for name in adata.var_names]
    assert matrix.var.index.tolist() == list(dict.fromkeys(names))
    assert [f"g{number}" for number in matrix.var["number"]] == matrix.var.index.tolist()
    assert matrix.var["of_one"].notna().tolist() == [True] * 30 + [False] * (matrix.n_vars - 30)
    common = join_samples(*opened(made, tmp_path / "again"))
    assert common.var.columns.tolist() == ["of_one", "number"]
    assert matrix.identity != common.identity


def test_the_number_of_joined_genes_is_logged(tmp_path, caplog):
    made = samples()
    matrices, paths = opened(made, tmp_path)
    common = set.intersection(*(set(adata.var_names) for adata in made.values()))
    with caplog.at_level(logging.INFO, "scrcl"):
        join_samples(matrices, paths, how="outer")
    assert f"3 samples: {len(common)} of 28 to 35 genes" in caplog.text
    assert "WARNING" not in caplog.text
    n_dropped = len(set.union(*(set(adata.var_names) for adata in made.values())) - common)
    assert join_samples(matrices, paths).n_genes_dropped == n_dropped
    assert f"{n_dropped} genes are left out" in caplog.text
    assert "WARNING" in caplog.text


def test_coordinates_that_a_sample_lacks_are_none_of_the_join(tmp_path):
    made = samples()
    made["one"].obsm["pixels"] = made["one"].obsm["spatial"]
    assert list(join_samples(*opened(made, tmp_path)).obsm) == ["spatial"]


def test_the_number_of_stored_values_is_known_if_that_of_every_sample_is(tmp_path):
    matrices, paths = opened(samples(), tmp_path)  # the third is dense
    assert join_samples(matrices, paths).nnz is None
    assert join_samples(matrices[:2], paths[:2]).nnz == matrices[0].nnz + matrices[1].nnz


def test_an_unknown_kind_of_join_is_refused(tmp_path):
    with pytest.raises(InputError, match="got 'left'"):
        join_samples(*opened(samples(), tmp_path), how="left")


def test_exact_blocks_of_a_join_keep_the_dtype_of_the_samples(tmp_path):
    made = samples()
    made["two"].X = made["two"].X.astype(np.int64) * (2**24 + 1)
    matrix = join_samples(*opened(made, tmp_path, ("h5ad csr",) * 3), how="outer")
    expected = ad.concat(made, join="outer", index_unique="-", fill_value=0)[:, matrix.var.index].X
    exact = whole(exact_x(matrix, 10))
    np.testing.assert_array_equal(exact, expected.toarray())


def test_a_damaged_sample_is_named_with_its_own_rows(tmp_path):
    matrices, paths = opened(samples(), tmp_path, ("h5ad csr",) * 3)
    with h5py.File(paths[1], "r+") as file:
        start = file["X/indptr"][12]
        file["X/indices"][start] = 1000
    matrix = join_samples(matrices, paths)
    assert whole(matrix.x(4)[:48]).shape[0] == 48
    message = r"two\.h5ad must be readable; chunk .*X/indices.* rows 0 to 24, is not"
    with pytest.raises(StoreError, match=message):
        whole(matrix.x(4))
    with pytest.raises(StoreError, match=message):
        whole(matrix.x(4)[52:])


def test_annotations_of_genes_of_every_type_are_joined(tmp_path):
    made = samples()
    made["one"].var["kind"] = pd.Categorical(["a"] * 30)
    made["two"].var["kind"] = pd.Categorical(["b"] * 28)
    made["three"].var["kind"] = "c"
    made["one"].var["flag"] = True
    matrix = join_samples(*opened(made, tmp_path), how="outer")
    assert set(matrix.var["kind"]) == {"a", "b", "c"}
    assert matrix.var["flag"].iloc[0] is True


def test_genes_in_another_order_are_joined_by_name(tmp_path):
    first = samples()["one"]
    shuffled = first[:, np.random.default_rng(0).permutation(first.n_vars)].copy()
    made = {"first": first, "shuffled": shuffled}
    matrix = join_samples(*opened(made, tmp_path, ("h5ad csr", "h5ad csr")))
    assert matrix.var.index.equals(first.var_names)
    np.testing.assert_array_equal(whole(matrix.x(7)), np.vstack([first.X.toarray()] * 2))


@pytest.mark.parametrize("versions", [False, True])
def test_samples_that_name_genes_in_different_ways_are_joined_on_ids(tmp_path, caplog, versions):
    counts = random_counts(20, 12)
    ids = [f"ENSG{i:011d}" for i in range(12)]
    one, two = table(counts), table(counts)
    one.var_names = [f"{each}.{i}" for i, each in enumerate(ids)] if versions else ids
    two.var["gene_ids"] = ids
    two.var_names = [*(f"gene{i}" for i in range(10)), *ids[10:]]  # these have no symbol
    two = two[:, ::-1].copy()
    paths = [tmp_path / "one.h5ad", tmp_path / "two.h5ad"]
    for each, path in zip((one, two), paths, strict=True):
        each.write_h5ad(path)
    joined = open_input(paths)
    assert joined.var.index.tolist() == one.var_names.tolist()
    x = joined.x(7).compute().toarray()
    np.testing.assert_array_equal(x, np.vstack([counts.toarray()] * 2))
    assert "joined on the ids of genes" in caplog.text


def test_samples_of_symbols_are_joined_on_them_though_ids_differ(tmp_path, caplog):
    cells = table(random_counts(20, 12))
    paths = [tmp_path / "one.h5ad", tmp_path / "two.h5ad"]
    for number, path in enumerate(paths):
        cells.var["gene_ids"] = [f"ENSG{number}{i}" for i in range(12)]
        cells.write_h5ad(path)
    assert open_input(paths).var.index.tolist() == cells.var_names.tolist()
    assert "ids" not in caplog.text
