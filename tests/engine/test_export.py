"""Exports of a finished run hold what it found, for the same cells."""

import re

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import scrcl
from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files
from scrcl.errors import BudgetError, InputError
from tests.cells import FAST, make_cells


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    adata = make_cells()
    has_counts = np.arange(240) != 5
    adata.X = sparse.csr_matrix(sparse.diags(has_counts.astype(np.float32)) @ adata.X)
    adata.obs["note"] = "=1+1"
    adata.write_h5ad(folder / "cells.h5ad")
    settings = {**FAST, "umap": {"cells": 300}, "n_clusters": 4, "device": "cpu"}
    run_files([folder / "cells.h5ad"], folder / "out", load_config(overrides=settings))
    return folder / "out", adata[has_counts]


def test_a_table_of_a_tissue_has_the_place_of_each_cell(tmp_path):
    cells = make_cells(90, 30, spatial=True)
    scrcl.fit(cells, out=tmp_path / "out", spatial=True, n_clusters=3, **FAST)
    table = pd.read_csv(scrcl.export(tmp_path / "out", tmp_path / "cells.csv", to="csv"))
    found = table[["spatial_x", "spatial_y"]].to_numpy()
    np.testing.assert_allclose(found, cells.obsm["spatial"])


def test_tables_have_a_row_for_each_cell(done, tmp_path):
    out, cells = done
    result = scrcl.open_run(out).to_anndata()
    table = pd.read_csv(scrcl.export(out, tmp_path / "cells.csv", to="csv"))
    assert table["cell"].tolist() == cells.obs_names.tolist()
    assert table["scrcl"].astype(str).tolist() == result.obs["scrcl"].tolist()
    assert table[["umap_1", "umap_2"]].to_numpy() == pytest.approx(result.obsm["X_umap"], rel=1e-5)
    assert table["cell_type"].tolist() == cells.obs["cell_type"].tolist()
    assert set(table["note"]) == {"'=1+1"}
    loupe = pd.read_csv(scrcl.export(out, tmp_path / "loupe.csv", to="loupe-csv"))
    assert list(loupe) == ["Barcode", "scrcl cluster"]
    assert loupe["scrcl cluster"].tolist() == table["scrcl"].tolist()


@pytest.mark.parametrize(("to", "read"), [("h5ad", anndata.read_h5ad), ("zarr", anndata.read_zarr)])
def test_an_anndata_has_x_of_the_retained_cells(done, tmp_path, to, read):
    out, cells = done
    found = read(scrcl.export(out, tmp_path / f"cells.{to}", to=to))
    assert np.array_equal(found.X.toarray(), cells.X.toarray())
    assert {"X_umap", "X_scrcl"} <= set(found.obsm)
    assert found.obs_names.equals(cells.obs_names)


def test_cellxgene_has_log_values_counts_and_the_umap(done, tmp_path):
    out, cells = done
    found = anndata.read_h5ad(scrcl.export(out, tmp_path / "c.h5ad", to="cellxgene"))
    logs = cells.copy()
    sc.pp.normalize_total(logs, target_sum=1e4)
    sc.pp.log1p(logs)
    assert found.X.toarray() == pytest.approx(logs.X.toarray(), rel=1e-4)
    assert np.array_equal(found.raw.X.toarray(), cells.X.toarray())
    assert found.uns["default_embedding"] in found.obsm


@pytest.mark.parametrize(
    ("script", "match"),
    [
        (None, "not checked .* cellxgene-schema is not installed"),
        (
            "echo 'ERROR:x.y:ERROR: one' >&2; echo 'ERROR: two' >&2; exit 1",
            "lacks 2 things .* one two",
        ),
        ("echo 'no such option' >&2; exit 2", "cellxgene-schema failed: no such option"),
        ('test "$1 $2" = "validate $HERE/c.h5ad"', None),
    ],
)
def test_the_schema_of_cellxgene_is_checked(done, tmp_path, monkeypatch, caplog, script, match):
    programs = tmp_path / "bin"
    programs.mkdir()
    if script is not None:
        (programs / "cellxgene-schema").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "cellxgene-schema").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("HERE", str(tmp_path))
    scrcl.export(done[0], tmp_path / "c.h5ad", to="cellxgene")
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert (
        [re.search(match, text) is not None for text in warned] == [True] if match else not warned
    )


def test_what_does_not_fit_and_an_input_that_is_gone_are_refused(done, tmp_path, monkeypatch):
    out, _ = done
    with pytest.raises(InputError, match="folder that exists"):
        scrcl.export(out, tmp_path / "none" / "c.csv", to="csv")
    with pytest.raises(InputError, match=r"must be where it was; got .*gone\.h5ad"):
        scrcl.export(out, tmp_path / "c.h5ad", to="h5ad", inputs=[tmp_path / "gone.h5ad"])
    monkeypatch.setattr("scrcl.engine.export._COPIES", 10**9)
    with pytest.raises(BudgetError, match="keep_x=True"):
        scrcl.export(out, tmp_path / "c.h5ad", to="h5ad")
    assert list(tmp_path.iterdir()) == []
