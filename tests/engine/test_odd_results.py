"""Results that are hard to show: a cluster for nearly every cell, one cluster, markup and formulas in names."""

import base64
import gzip
import json
import re

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scrcl.engine.load_config import load_config
from scrcl.engine.map_points import LEAST_OF_CLUSTER, drawn_cells
from scrcl.engine.run import run_files
from tests.cells import FAST, make_cells

EVIL = "<img src=x onerror=alert(1)></script>"


def run(adata, folder, **more):
    adata.write_h5ad(folder / "cells.h5ad")
    settings = {**FAST, "device": "cpu", "umap": {"cells": 240}, "report": {"umap_cells": 1000}}
    config = load_config(overrides={**settings, **more})
    return run_files([folder / "cells.h5ad"], folder / "out", config)


def data_of(result):
    page = result.report_path.read_text()
    return page, data_in(page)


def data_in(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def unpacked(text, dtype=np.uint8):
    return np.frombuffer(gzip.decompress(base64.b64decode(text)), dtype).astype(float)


def test_230_clusters_of_240_cells_with_markup_and_formulas_in_names(tmp_path):
    adata = make_cells()
    names = [f"gene{i}" for i in range(150)]
    names[:3] = [EVIL, "=1+1", "@x"]
    adata.var_names = names
    adata.obs["donor <1>"] = pd.Categorical([EVIL, "b"] * 120)
    adata.obs["barcode"] = [f"b{i}" for i in range(240)]
    adata.obs["many"] = pd.Categorical.from_codes([0] * 240, [f"level {i}" for i in range(10**5)])
    result = run(adata, tmp_path, n_clusters=230, cluster={"algorithm": "kmeans"})
    n_clusters = len(result.clusters)
    assert n_clusters > 200
    assert min(row["n_cells"] for row in result.clusters) == 1
    page, data = data_of(result)
    assert EVIL not in page
    columns = {column["name"]: column for column in data["columns"]}
    assert len(columns["cluster"]["levels"]) == 200
    assert set(columns["donor <1>"]["levels"]) == {EVIL, "b"}
    assert columns["many"]["levels"] == ["level 0"]
    assert "barcode" not in columns
    assert EVIL in {*columns, *adata.var_names}
    markers = (result.out / "markers.csv").read_text()
    assert "'=1+1" in markers
    assert ",=1+1" not in markers
    found = anndata.read_h5ad(result.result_path)
    assert "=1+1" in set(found.uns["scrcl"]["markers"]["gene"])
    assert found.uns["paga"]["connectivities"].shape == (n_clusters, n_clusters)


def test_genes_without_names_and_a_column_with_many_levels_have_a_report(tmp_path):
    adata = make_cells()
    adata.var_names = [""] * 150
    adata.obs["many"] = pd.Categorical.from_codes(
        np.arange(240), [f"level {i}" for i in range(10**5)]
    )
    result = run(adata, tmp_path, n_clusters=4, cluster={"algorithm": "kmeans"})
    page, data = data_of(result)
    assert len(page) < 500_000
    assert "many" not in {column["name"] for column in data["columns"]}
    genes = pd.read_csv(result.out / "markers.csv")["gene"]
    assert genes.str.fullmatch(r"unnamed_gene_\d+").all()


def test_each_point_of_a_map_has_the_values_of_its_cell(tmp_path):
    adata = make_cells()
    x = adata.X.toarray()
    x[::9] = 0  # no cells of the result
    adata.X = sparse.csr_matrix(x)
    adata.obs["n"] = np.random.default_rng(0).permutation(240)
    result = run(adata, tmp_path, n_clusters=4, report={"umap_cells": 30, "map_genes": 1})
    found = anndata.read_h5ad(result.result_path)
    labels = found.obs["scrcl"].cat.codes.to_numpy()
    cells = drawn_cells(labels, 30, seed=0)
    assert len(cells) < found.n_obs < 240
    data = data_of(result)[1]
    columns = {column["name"]: unpacked(column["data"]) for column in data["columns"]}
    assert columns["cluster"].tolist() == labels[cells].tolist()
    (gene,) = [column["name"] for column in data["columns"] if column["group"] == "Genes"]
    shares = x[:, adata.var_names.get_loc(gene)] / np.maximum(x.sum(axis=1), 1)
    expected = {
        "n": found.obs["n"].to_numpy()[cells],
        gene: np.log1p(1e4 * shares[x.any(axis=1)][cells]),
    }
    for name, values in expected.items():
        assert np.corrcoef(columns[name], values)[0, 1] > 0.999
    for axis, values in zip("xy", found.obsm["X_umap"][cells].T, strict=True):
        assert np.corrcoef(unpacked(data["umap"][axis], "<u2"), values)[0, 1] > 0.999


def test_one_cluster_has_a_report_without_links_and_dots(tmp_path):
    adata = make_cells(n_types=1)
    result = run(adata, tmp_path)
    if len(result.clusters) > 1:
        pytest.skip("more than one was found")
    page, data = data_of(result)
    assert "240 cells in 1 cluster, found automatically." in page
    assert "Dot plot" not in page
    found = anndata.read_h5ad(result.result_path)
    assert "paga" not in found.uns
    assert "X_umap" in found.obsm
    assert data["total"] == 240


def test_rare_clusters_are_drawn_in_a_large_atlas():
    labels = np.zeros(20_000, np.int32)
    labels[-60:], labels[-5:] = 1, 2
    cells = drawn_cells(labels, 1_000, seed=0)
    assert (np.diff(cells) > 0).all()
    drawn = np.bincount(labels[cells])
    assert drawn[1] >= LEAST_OF_CLUSTER
    assert drawn[2] == 5
    assert 900 < drawn[0] <= 1_000
    assert not len(drawn_cells(labels, 0, seed=0))
