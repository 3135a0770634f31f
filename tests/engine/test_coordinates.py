"""Runs whose coordinates lie elsewhere than in ``obsm["spatial"]``."""

import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scrcl.engine.api import fit
from scrcl.errors import InputError
from tests.cells import FAST, make_cells


@pytest.fixture
def cells():
    return make_cells(90, 30, spatial=True)


def elsewhere(cells):
    """Return the cells with their coordinates in obs alone."""
    moved = cells.copy()
    moved.obs["x"], moved.obs["y"] = moved.obsm["spatial"].T
    del moved.obsm["spatial"]
    return moved


def fitted(adata, **settings):
    return fit(adata.copy(), n_clusters=3, device="cpu", **{**FAST, **settings})


def test_columns_of_obs_give_the_run_of_obsm_and_are_where_scanpy_looks(cells):
    plain = fitted(cells, spatial=True)
    moved = fitted(elsewhere(cells), spatial=True, coordinates="x,y")
    assert (plain.obs["scrcl"] == moved.obs["scrcl"]).all()
    np.testing.assert_array_equal(moved.obsm["spatial"], cells.obsm["spatial"])


def test_coordinates_of_the_input_are_kept_and_other_ones_are_told(cells, caplog):
    both = elsewhere(cells)
    again = fitted(fitted(both, spatial=True, coordinates="x,y"), spatial=True, coordinates="x,y")
    assert 'obsm["spatial"] of the input is kept' not in caplog.text
    again.obs["x"] += 1
    fitted(again, spatial=True, coordinates="x,y")
    assert 'obsm["spatial"] of the input is kept' in caplog.text


def test_a_table_is_read_and_a_result_is_an_input_like_any_other(cells, tmp_path):
    places = pd.DataFrame(cells.obsm["spatial"], index=cells.obs_names, columns=["x", "y"])
    places.iloc[::-1].to_csv(tmp_path / "coordinates.csv")
    del cells.obsm["spatial"]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    options = {"n_clusters": 3, "device": "cpu", "keep_x": True, **FAST}
    given = str(tmp_path / "coordinates.csv")
    fit(tmp_path / "cells.h5ad", out=tmp_path / "one", coordinates=given, spatial=True, **options)
    result = tmp_path / "one" / "result.h5ad"
    np.testing.assert_allclose(ad.read_h5ad(result).obsm["spatial"], places.to_numpy())
    fit(result, out=tmp_path / "two", spatial=True, **options)
    assert "spatial" in ad.read_h5ad(tmp_path / "two" / "result.h5ad").obsm


def test_cell_types_in_a_tissue_have_a_map_of_the_tissue(cells, tmp_path):
    moved = elsewhere(cells)
    fit(moved, out=tmp_path / "out", coordinates="x,y", n_clusters=3, **FAST)
    assert "spatial" in moved.obsm
    shown = {**FAST, "report": {"umap_cells": 90}}
    fit(elsewhere(cells), out=tmp_path / "map", coordinates="x,y", n_clusters=3, **shown)
    assert "in space" in (tmp_path / "map" / "report.html").read_text()


def test_files_of_a_tissue_are_not_called_batches_too(cells, tmp_path):
    from scrcl.engine.load_config import load_config
    from scrcl.engine.run import run_files

    paths = [tmp_path / "a.h5ad", tmp_path / "b.h5ad"]
    for path in paths:
        cells.write_h5ad(path)
    for spatial in (True, False):
        config = load_config(overrides={**FAST, "spatial": spatial})
        done = run_files(paths, tmp_path / str(spatial), config, until="read")
        told = any("batch_key" in note for note in done.stages[0]["notes"])
        assert told is not spatial


def test_new_cells_of_a_tissue_may_name_their_coordinates_otherwise(cells, tmp_path):
    from scrcl.engine.api import predict

    fit(cells, out=tmp_path / "out", n_clusters=3, spatial=True, **FAST)
    new = elsewhere(cells)
    with pytest.raises(InputError, match="give `coordinates='x,y'`"):
        predict(tmp_path / "out", new)
    found = predict(tmp_path / "out", new, coordinates="x,y")
    assert (found.obs["scrcl"] == cells.obs["scrcl"]).mean() > 0.9


def test_an_error_without_coordinates_names_columns_that_look_like_them(cells):
    with pytest.raises(InputError, match="If they are x,y, give `coordinates='x,y'`"):
        fitted(elsewhere(cells), spatial=True)
    for n_wrong, named in ((1, "in cell"), (2, "in 2 cells, the first is")):
        moved = elsewhere(cells)
        moved.obs.loc[moved.obs_names[:n_wrong], "x"] = np.nan
        message = (
            f"coordinates (x,y) must be finite; got NaN or infinity {named} {cells.obs_names[0]}."
        )
        with pytest.raises(InputError, match=re.escape(message)):
            fitted(moved, coordinates="x,y")


def test_describe_names_the_coordinates(cells, tmp_path):
    from scrcl.engine.describe import describe

    found = {}
    for name, each in (("there", cells), ("elsewhere", elsewhere(cells)), ("none", make_cells(30))):
        each.write_h5ad(tmp_path / f"{name}.h5ad")
        found[name] = describe(tmp_path / f"{name}.h5ad").coordinates
    assert found == {"there": 'obsm["spatial"]', "elsewhere": "perhaps x,y", "none": "none"}
