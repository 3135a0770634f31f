"""Commands on finished runs, as typed."""

import anndata
import pandas as pd
import pytest

from scrcl.cli.tables import clusters_table, groups_table
from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files
from scrcl.engine.words import Words
from tests.cells import FAST, make_cells


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    adata = make_cells()
    adata.obs["donor"] = ["a", "b"] * 120
    adata.write_h5ad(folder / "cells.h5ad")
    config = load_config(overrides={**FAST, "n_clusters": 4, "device": "cpu"})
    run_files([folder / "cells.h5ad"], folder / "out", config)
    return folder / "out"


def test_markers_of_a_pair_are_printed_and_written(scrcl, out, tmp_path):
    file = tmp_path / "pair.csv"
    code, shown, _ = scrcl("markers", out, "--pair", "0,2", "-o", file, "--n-genes", 5, "--quiet")
    table = pd.read_csv(file)
    assert code == 0
    assert sorted(set(table["cluster"])) == [0, 2]
    assert len(table) == 10
    assert table["gene"][0] in shown
    before = file.read_text()
    code, _, error = scrcl("markers", out, "-o", file, "--quiet")
    assert code == 2
    assert "must be new" in error
    assert file.read_text() == before
    assert "two groups with a comma" in scrcl("markers", out, "--pair", "1", "--quiet")[2]


@pytest.mark.parametrize("command", [["markers"], ["pseudobulk", "--donors", "donor"]])
def test_a_file_in_no_folder_is_refused_before_the_work(scrcl, out, tmp_path, command):
    code, shown, error = scrcl(*command, out, "-o", tmp_path / "none" / "file")
    assert code == 2
    assert error.startswith("error: --out must lie in a folder that exists")
    assert error.count("\n") == 1
    assert not shown


def test_a_file_that_cannot_be_written_is_one_line(scrcl, out, tmp_path, monkeypatch):
    def full(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    code, _, error = scrcl("markers", out, "-o", tmp_path / "m.csv", "--quiet")
    assert code == 2
    assert "m.csv must be a file that can be written; got Permission denied" in error
    assert list(tmp_path.iterdir()) == []


def test_sums_by_donor_are_written(scrcl, out, tmp_path):
    file = tmp_path / "bulk.h5ad"
    assert scrcl("pseudobulk", out, "--donors", "donor", "-o", file, "--quiet")[0] == 0
    bulk = anndata.read_h5ad(file)
    assert bulk.obs["n_cells"].sum() == 240
    assert set(bulk.obs["donor"]) == {"a", "b"}


def test_clusters_are_renamed(scrcl, out, tmp_path):
    (tmp_path / "names.csv").write_text("cluster,name\n1,mine\n")
    code, shown, _ = scrcl("rename", out, tmp_path / "names.csv", "--quiet")
    assert code == 0
    assert "mine" in shown
    obs = anndata.read_h5ad(out / "result.h5ad").obs
    assert set(obs["scrcl"][obs["scrcl_name"] == "mine"]) == {"1"}
    page = (out / "report.html").read_text()
    assert "mine" in page
    assert "A score is how many" not in page  # there are none without a table of markers
    (tmp_path / "names.csv").write_text('cluster,name\n2,"A, positive cell"\n3,mine\n')
    assert scrcl("rename", out, tmp_path / "names.csv", "--quiet")[0] == 0
    _, shown, _ = scrcl("markers", out, "--pair", "A, positive cell,mine", "--quiet")
    assert "A, positive cell  gene" in shown
    assert "mine              gene" in shown
    for wrong, match in (("mine,1", "and '1', which is the same"), ("a,b,c", "; mine")):
        assert match in scrcl("markers", out, "--pair", wrong, "--quiet")[2]
    (tmp_path / "names.csv").write_text("cluster,name\n9,mine\n")
    code, _, error = scrcl("rename", out, tmp_path / "names.csv", "--quiet")
    assert code == 2
    assert "0 to 3, or a name: mine; A, positive cell; got '9'" in error


def test_a_file_is_not_written_back_to(scrcl, out, tmp_path):
    for options, match in (
        (["--write-back"], "must have a Zarr store as input"),
        (["--write-back", "--to", "csv"], "must go without --to and -o; got csv"),
        (["--to", "csv"], "one is missing"),
    ):
        code, _, error = scrcl("export", out, *options)
        assert code == 2
        assert match in error


def test_a_cluster_is_looked_into(scrcl, out):
    code, shown, _ = scrcl(
        "subcluster", out, "--cluster", 0, "--n-clusters", 2, "--no-write", "--quiet"
    )
    table = pd.read_csv(out / "subclusters" / "0" / "cells.csv", dtype=str)
    markers = pd.read_csv(out / "subclusters" / "0" / "markers.csv", dtype=str)
    assert code == 0
    assert "Cluster 0: 2 subclusters" in shown
    assert markers["gene"][0] in shown
    assert set(table["subcluster"]) == {"0_0", "0_1"}
    code, _, error = scrcl("subcluster", out, "--cluster", "9", "--quiet")
    assert code == 2
    assert "must name a cluster of the run, 0 to 3" in error
    assert "got '9'" in error
    code, _, error = scrcl("markers", out / "subclusters" / "0")
    assert code == 2
    assert "a closer look into cluster 0 of one" in error


def test_a_run_is_exported_and_nothing_is_overwritten(scrcl, out, tmp_path):
    file = tmp_path / "cells.csv"
    assert scrcl("export", out, "--to", "csv", "-o", file)[0] == 0
    before = file.read_bytes()
    code, _, error = scrcl("export", out, "--to", "h5ad", "-o", file)
    assert code == 2
    assert "must be new" in error
    assert file.read_bytes() == before
    code, _, error = scrcl("export", out, "--to", "seurat", "-o", tmp_path / "x")
    assert code == 2
    assert "csv, parquet, h5ad, zarr, cellxgene, loupe-csv; got 'seurat'" in error


def test_tables_of_clusters_explain_what_they_show():
    row = {"name": "0", "n_cells": 5, "share": 1.0, "markers": ["CD3D"], "n_left_out": 0}
    assert clusters_table([row], Words()).caption is None
    named = {**row, "cell_type": "a", "second_type": "b", "gap": 1.1, "n_left_out": 2}
    table = clusters_table([named], Words())
    assert list(table.columns[1].cells) == ["a (or b, 1.1 lower)"]
    assert "second best name" in table.caption
    assert "Ribosomal and mitochondrial genes are left out" in table.caption
    markers = pd.DataFrame(
        {
            "cluster": ["x"] * 2,
            "rank": [0, 1],
            "gene": ["RPL3", "ENSG1"],
            "symbol": ["RPL3", "CD3D"],
        }
    ).assign(kind=["ribosomal", ""])
    table = groups_table(markers)
    assert list(table.columns[1].cells) == ["CD3D"]
    assert "Ribosomal" in table.caption
    table = groups_table(markers.assign(name="T cell"))
    assert [list(column.cells) for column in table.columns] == [["x"], ["T cell"], ["CD3D"]]


def test_labels_of_a_csv_file_are_scored(scrcl, out, tmp_path):
    labels = make_cells().obs["cell_type"]
    labels.to_csv(tmp_path / "labels.csv")
    given = ["evaluate", out, "--labels", "cell_type"]
    assert scrcl(*given, "--table", tmp_path / "labels.csv") == scrcl(*given)
    code, _, errors = scrcl("evaluate", out, "--labels", tmp_path / "labels.csv")
    assert (code, errors.count("\n")) == (2, 1)
    assert "Give a file by --table" in errors
    code, _, errors = scrcl(*given, "--table", tmp_path / "none.csv")
    assert code == 2
    assert errors.startswith("error: --table must be a file that exists")
