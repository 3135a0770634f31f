"""Errors name their true cause in one line; a traceback is for faults of scrcl."""

import zipfile

import anndata
import h5py
import numpy as np
import pytest
from scipy import sparse

from scrcl import fit
from scrcl.cli import main as command_line
from scrcl.engine.convert import convert
from scrcl.engine.load_config import load_config
from scrcl.engine.outputs import Outputs
from scrcl.engine.plan import plan_run
from scrcl.engine.run import run_files
from scrcl.engine.stages import STAGES
from scrcl.errors import InputError, StoreError
from scrcl.io import stream
from scrcl.prep.artifacts import PCA
from scrcl.prep.pca import Pca
from tests.cells import FAST, make_cells


class _UnknownLibraryError(Exception):
    """An error that no list of errors has."""


def test_a_fault_of_scrcl_says_where_to_report_it(monkeypatch, capsys):
    def faulty(**_):
        raise ZeroDivisionError

    monkeypatch.setattr(command_line, "app", faulty)
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "fault in scrcl" in said.splitlines()[-1]


@pytest.mark.parametrize("error", [zipfile.BadZipFile, _UnknownLibraryError, AttributeError])
def test_any_error_of_a_library_on_a_block_is_one_line(error):
    import dask.array as da

    def read(_):
        raise error("broken inside")

    x = da.zeros((4, 3), chunks=(2, 3)).map_blocks(read, meta=np.zeros((0, 0)))
    with pytest.raises(StoreError, match=rf"rows 0 to 1 are not: {error.__name__}: broken inside"):
        list(stream.iter_rows(x))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"no archive"])
def test_components_that_were_cut_short_are_named(tmp_path, content):
    (tmp_path / "pca.npz").write_bytes(content)
    with pytest.raises(StoreError, match=r"pca\.npz"):
        Pca.load(tmp_path / "pca.npz")


def test_an_artifact_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def load(_):
        raise _UnknownLibraryError

    outputs = Outputs(folder=None, stages=STAGES)
    monkeypatch.setattr(outputs, "_giver", lambda _: tmp_path)
    monkeypatch.setattr(outputs, "folder", type("Folder", (), {"path": tmp_path}))
    broken = type(PCA)("principal components", load)
    with pytest.raises(
        StoreError, match="must hold the principal components; got _UnknownLibraryError"
    ):
        outputs.open(broken)


def test_coordinates_of_some_cells_are_refused_before_the_run(tmp_path):
    adata = make_cells(spatial=True)
    adata.write_h5ad(tmp_path / "slice.h5ad")
    with h5py.File(tmp_path / "slice.h5ad", "r+") as file:
        values, attributes = file["obsm/spatial"][:200], dict(file["obsm/spatial"].attrs)
        del file["obsm/spatial"]
        file["obsm"]["spatial"] = values
        file["obsm/spatial"].attrs.update(attributes)
    with pytest.raises(
        InputError, match=r'obsm\["spatial"\] must have a row for each of 240 cells; got 200'
    ):
        plan_run([tmp_path / "slice.h5ad"], load_config(overrides={"spatial": True}))


@pytest.mark.parametrize("name", ["copy.h5ad", "copy.h5"])
def test_a_store_is_not_written_under_the_name_of_a_file(tmp_path, name):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(InputError, match=r"Name it copy\.zarr"):
        convert(tmp_path / "cells.h5ad", tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["cells.h5ad"]


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("min_cells", 400, r"at most the number of cells, 240; got 400"),
        ("min_genes", 400, r"at most the number of genes, 150; got 400"),
    ],
)
def test_a_limit_that_nothing_can_reach_is_refused_before_x_is_read(tmp_path, name, value, rule):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    config = load_config(overrides={**FAST, "features": {name: value}})
    with pytest.raises(InputError, match=rf"features\.{name} must be {rule}"):
        run_files([tmp_path / "cells.h5ad"], tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


def test_a_limit_that_no_gene_reaches_names_one_that_some_do(tmp_path):
    adata = make_cells()
    adata.X = sparse.csr_matrix(adata.X.multiply(np.arange(240)[:, None] >= 40))
    adata.write_h5ad(tmp_path / "cells.h5ad")
    config = load_config(overrides={**FAST, "features": {"min_cells": 230}})
    with pytest.raises(InputError, match=r"0 genes are in so many of 200 .* Set it to 199 or less"):
        run_files([tmp_path / "cells.h5ad"], tmp_path / "out", config)


@pytest.mark.parametrize(("part", "value"), [("indices", 500), ("indptr", 0)])
@pytest.mark.parametrize("layout", [sparse.csr_matrix, sparse.csc_matrix])
def test_a_damaged_matrix_in_memory_is_one_line(layout, part, value):
    adata = make_cells()
    adata.X = layout(adata.X)
    getattr(adata.X, part)[5] = value
    with pytest.raises(InputError, match="indices and ends that fit its shape"):
        fit(adata, **FAST)


def test_a_dask_array_that_fails_is_one_line():
    import dask.array as da

    adata = make_cells()
    x = da.from_array(adata.X.toarray(), chunks=(100, 150))
    adata.X = x.map_blocks(lambda _: 1 / 0, dtype="f4", meta=np.zeros((0, 0), "f4"))
    with pytest.raises(StoreError, match=r"dask array must be .*rows 0 to 99 .*ZeroDivisionError"):
        fit(adata, **FAST)


def test_a_backed_object_whose_file_is_gone_is_one_line(tmp_path):
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    adata = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    (tmp_path / "cells.h5ad").unlink()
    with pytest.raises(StoreError, match=r"file of a backed AnnData.*cells\.h5ad"):
        fit(adata, **FAST)


def test_a_matrix_of_zeros_is_named_as_such(tmp_path):
    adata = make_cells()
    adata.X = adata.X * 0
    adata.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(InputError, match="all of its values are zero"):
        run_files([tmp_path / "cells.h5ad"], tmp_path / "out", load_config(overrides=FAST))


@pytest.mark.parametrize("where", [None, "raw", "counts"])
def test_advice_on_scaled_values_names_only_what_is_there(tmp_path, where):
    adata = make_cells()
    if where == "raw":
        adata.raw = adata.copy()
    if where == "counts":
        adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X.toarray() - 1
    adata.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(InputError, match="not below 0") as refused:
        run_files([tmp_path / "cells.h5ad"], tmp_path / "out", load_config(overrides=FAST))
    advice = f"`layer` ({where})" if where else "this one has no other layer"
    assert advice in str(refused.value)


@pytest.mark.parametrize(("value", "cause"), [(-56, "too small for them"), (-0.5, "looks scaled")])
def test_counts_that_do_not_fit_their_type_are_told_from_scaled_values(tmp_path, value, cause):
    adata = make_cells()
    adata.X.data[5] = value
    adata.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(InputError, match=cause):
        run_files([tmp_path / "cells.h5ad"], tmp_path / "out", load_config(overrides=FAST))


def test_genes_that_a_join_drops_are_in_the_warnings_the_record_and_the_report(tmp_path, caplog):
    make_cells().write_h5ad(tmp_path / "whole.h5ad")
    make_cells(seed=1)[:, :100].write_h5ad(tmp_path / "panel.h5ad")
    paths = [tmp_path / "whole.h5ad", tmp_path / "panel.h5ad"]
    config = load_config(overrides={**FAST, "n_clusters": 4, "device": "cpu"})
    run_files(paths, tmp_path / "out", config)
    said = "50 genes that only some samples have are left out"
    assert "joined on 100, 50 genes are left out" in caplog.text
    assert said in (tmp_path / "out" / "run.json").read_text()
    assert said in (tmp_path / "out" / "report.html").read_text()
