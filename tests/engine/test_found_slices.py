"""Slices that the input shows by itself: files that are joined, and libraries of images."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scrcl
from scrcl.engine.found_slices import with_slices
from scrcl.engine.load_config import load_config
from scrcl.engine.run import run_files
from scrcl.errors import InputError
from scrcl.io.open import from_anndata, open_input
from tests.cells import FAST, make_cells, write_slices

SPATIAL = {**FAST, "spatial": True, "device": "cpu"}


@pytest.fixture
def files(tmp_path):
    return write_slices(tmp_path)


def stacked(column="library_id"):
    """Return one table of two slices with the images of each, as scanpy joins them."""
    slices = {name: make_cells(90, 30, seed=seed, spatial=True) for seed, name in enumerate("ab")}
    joined = ad.concat(slices, label=column, index_unique="-")
    joined.uns["spatial"] = {name: {"scalefactors": {}} for name in "ab"}
    return joined


def found(matrix, **settings):
    config, notes = with_slices(load_config(overrides={"spatial": True, **settings}), matrix)
    return config.sample_key, config.batch_key, notes


def test_each_of_several_files_is_a_slice_and_that_is_said(files):
    key, batches, (note,) = found(open_input(files))
    assert (key, batches) == ("sample", "sample")
    assert note.startswith("The 2 inputs are taken for slices (`sample_key='sample'`)")
    assert "`one_tissue=True`" in note
    assert found(open_input(files), batch_key="cell_type")[:2] == ("sample", "cell_type")


def test_what_is_given_counts(files):
    matrix = open_input(files)
    assert found(matrix, one_tissue=True) == (None, None, ())
    assert found(matrix, sample_key="cell_type") == ("cell_type", "cell_type", ())
    assert found(matrix, spatial=False) == (None, None, ())
    assert found(open_input(files[:1])) == (None, None, ())


@pytest.mark.parametrize("column", ["library_id", "section"])
def test_a_column_that_names_the_libraries_of_images_is_the_slice(tmp_path, column):
    cells = stacked(column)
    cells.obs.insert(0, "text", "a")
    key, batches, (note,) = found(from_anndata(cells))
    assert (key, batches) == (column, column)
    assert note.startswith(f"The 2 values of obs[{column!r}] are libraries of uns['spatial'], and")
    cells.write_h5ad(tmp_path / "cells.h5ad")
    assert found(open_input([tmp_path / "cells.h5ad"]))[0] == column


def test_libraries_without_a_column_are_told_and_one_library_is_no_slice():
    cells = stacked()
    cells.obs["library_id"] = cells.obs["library_id"].cat.rename_categories(["x", "y"])
    key, _, (note,) = found(from_anndata(cells))
    assert key is None
    assert "2 libraries, and no column of obs names them" in note
    del cells.uns["spatial"]["b"]
    assert found(from_anndata(cells)) == (None, None, ())


def test_libraries_divide_files_further_but_never_join_them(tmp_path):
    for name in ("one", "two"):
        cells = stacked()
        names = [f"{name}{each}" for each in "ab"]
        cells.obs["library_id"] = cells.obs["library_id"].cat.rename_categories(names)
        cells.uns["spatial"] = {each: {"scalefactors": {}} for each in names}
        cells.write_h5ad(tmp_path / f"{name}.h5ad")
        stacked().write_h5ad(tmp_path / f"same_{name}.h5ad")
    apart = [tmp_path / "one.h5ad", tmp_path / "two.h5ad"]
    assert found(open_input(apart))[0] == "library_id"
    same = [tmp_path / "same_one.h5ad", tmp_path / "same_two.h5ad"]
    assert found(open_input(same))[0] == "sample"


def test_a_store_that_was_converted_from_several_files_has_their_slices(files, tmp_path):
    scrcl.convert(files, tmp_path / "both.zarr")
    key, _, (note,) = found(open_input([tmp_path / "both.zarr"]))
    assert key == "sample"
    assert note.startswith("The 2 inputs are")
    scrcl.convert(files[:1], tmp_path / "one.zarr")
    assert found(open_input([tmp_path / "one.zarr"])) == (None, None, ())


def test_spots_of_two_files_are_no_neighbours_unless_they_share_one_tissue(files, tmp_path):
    def run(name, **settings):
        config = load_config(overrides={**SPATIAL, **settings})
        stages = run_files(files, tmp_path / name, config, until="graph").stages
        ids = np.load(tmp_path / name / "stages/graph/ids.npy")
        across = (ids >= 90) != (np.arange(180) >= 90)[:, None]
        return across[ids >= 0].mean(), {each["name"]: each["notes"] for each in stages}

    share, notes = run("slices")
    assert share == 0
    assert any("taken for slices" in note for note in notes["read"])
    again, notes = run("slices", sample_key="sample")  # the same settings, so nothing is done
    assert again == 0
    assert any("taken for slices" in note for note in notes["read"])
    share, notes = run("one", one_tissue=True)
    assert share > 0


def test_a_run_of_slices_can_be_redone_and_the_report_says_what_they_are(files, tmp_path):
    scrcl.fit(files, out=tmp_path / "out", n_clusters=3, **SPATIAL)
    again = scrcl.fit(files, out=tmp_path / "out", start="cluster", n_clusters=2, spatial=True)
    assert again.obs["scrcl"].nunique() == 2
    page = (tmp_path / "out/report.html").read_text()
    assert "taken for slices" in page
    assert "<dt>column of the slices</dt><dd>sample</dd>" in page
    assert 'sample_key = "sample"' in (tmp_path / "out/config.toml").read_text()


def test_an_object_in_memory_has_slices_too(tmp_path):
    cells = scrcl.fit(stacked(), out=tmp_path / "out", n_clusters=2, **SPATIAL)
    graph = cells.obsp["scrcl_connectivities"].tocoo()
    library = cells.obs["library_id"].to_numpy()
    assert (library[graph.row] == library[graph.col]).all()
    assert any("taken for slices" in note for note in cells.uns["scrcl"]["notes"])


def test_a_plan_says_what_are_slices(files):
    assert any("taken for slices" in note for note in scrcl.plan(files, spatial=True).notes)


def test_missing_values_and_numbers_are_no_libraries():
    cells = stacked()
    cells.obs["library_id"] = pd.Series(np.repeat([0, 1], 90), index=cells.obs_names)
    cells.uns["spatial"] = {"0": {"images": {}}, "1": {"images": {}}}
    assert found(from_anndata(cells))[0] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"one_tissue": True}, "one_tissue must go with spatial, .* got no spatial"),
        ({"one_tissue": True, "spatial": True, "sample_key": "a"}, "got sample_key='a'. Leave it out"),
    ],
)  # fmt: skip
def test_one_tissue_goes_with_spatial_alone(settings, message):
    with pytest.raises(InputError, match=message):
        load_config(overrides=settings)
