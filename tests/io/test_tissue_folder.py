"""Folders of Space Ranger and Xenium: the matrix, and the place of each spot or cell."""

import json
import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from scrcl.errors import InputError, StoreError
from scrcl.io.open import open_input
from tests.cells import FAST
from tests.stores import random_counts, table, write_10x, write_mtx, write_tissue

COUNTS = random_counts(40, 12)
PLACES = "spatial/tissue_positions.csv"


@pytest.fixture
def outs(tmp_path):
    return write_tissue(table(COUNTS), tmp_path)


def add_images(outs):
    scales = {"tissue_hires_scalef": 0.5, "tissue_lowres_scalef": 0.1, "spot_diameter_fullres": 9.0}
    (outs / "spatial" / "scalefactors_json.json").write_text(json.dumps(scales))
    image = Image.fromarray(np.full((6, 4, 3), 7, np.uint8))
    image.save(outs / "spatial" / "tissue_hires_image.png")


def source_of(path):
    matrix = open_input([path])
    (open_source,) = matrix.sources
    with open_source() as source:
        return source


def test_spots_have_their_places_whatever_the_order_of_the_table(outs):
    matrix = open_input([outs])
    n = np.arange(40)
    expected = np.column_stack([300 + 20 * (n % 10), 100 + 20 * (n // 10)])
    np.testing.assert_array_equal(matrix.obsm["spatial"], expected)
    assert list(matrix.obs) == ["in_tissue", "array_row", "array_col"]
    assert list(matrix.obs["array_col"][:12]) == [*range(10), 0, 1]
    assert matrix.label == "outs"


def test_the_matrix_in_the_folder_is_the_same_input(outs):
    matrix = open_input([outs / "filtered_feature_bc_matrix.h5"])
    np.testing.assert_array_equal(matrix.obsm["spatial"], open_input([outs]).obsm["spatial"])


def test_an_older_table_without_names_of_columns_and_an_mtx_are_read(outs, tmp_path):
    places = pd.read_csv(outs / PLACES)
    (outs / PLACES).unlink()
    places.to_csv(outs / "spatial" / "tissue_positions_list.csv", index=False, header=False)
    (outs / "filtered_feature_bc_matrix.h5").unlink()
    write_mtx(table(COUNTS), tmp_path).rename(outs / "filtered_feature_bc_matrix")
    for path in (outs, outs / "filtered_feature_bc_matrix"):
        matrix = open_input([path], scratch=tmp_path / "scratch")
        assert matrix.obsm["spatial"][11].tolist() == [320, 120]


def test_a_folder_of_xenium_is_read(tmp_path):
    write_10x(table(COUNTS), tmp_path).rename(tmp_path / "cell_feature_matrix.h5")
    cells = {"cell_id": [f"cell{i}" for i in range(40)], "x_centroid": np.arange(40) / 2}
    cells |= {"y_centroid": 1.5, "cell_area": 3.0, "segmentation_method": "boundary"}
    pd.DataFrame(cells).to_csv(tmp_path / "cells.csv.gz", index=False)
    matrix = open_input([tmp_path])
    assert matrix.obsm["spatial"][3].tolist() == [1.5, 1.5]
    assert list(matrix.obs) == ["cell_area"]


def test_images_are_kept_under_the_names_of_scanpy(outs):
    assert not source_of(outs).uns
    add_images(outs)
    ((library, found),) = source_of(outs).uns["spatial"].items()
    assert library == outs.parent.name  # the matrix names none
    assert found["images"]["hires"].shape == (6, 4, 3)
    assert found["scalefactors"]["tissue_hires_scalef"] == 0.5


def test_a_damaged_image_is_left_out_with_a_warning(outs, caplog):
    add_images(outs)
    (outs / "spatial" / "tissue_hires_image.png").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING, logger="scrcl"):
        ((_, found),) = source_of(outs).uns["spatial"].items()
    assert found["images"] == {}
    assert "tissue_hires_image.png is left out" in caplog.text


def test_moved_folders_are_the_same_input_and_other_places_another(outs, tmp_path):
    from scrcl.io.identity import content_of

    before = content_of(open_input([outs]).identity)
    moved = outs.rename(tmp_path / "elsewhere")
    assert content_of(open_input([moved]).identity) == before
    places = pd.read_csv(moved / PLACES)
    places["pxl_row_in_fullres"] += 1
    places.to_csv(moved / PLACES, index=False)
    assert content_of(open_input([moved]).identity) != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.iloc[1:], r"1 have none, the first is 'cell39'"),
        (lambda t: t.drop(columns="pxl_col_in_fullres"), "pxl_col_in_fullres is missing"),
        (lambda t: t.assign(pxl_col_in_fullres=t.pxl_col_in_fullres.where(t.barcode != "cell7")),
         r"a number for each cell; 1 have none, the first is cell7"),
        (lambda t: t.assign(pxl_row_in_fullres="a"), "pxl_row_in_fullres of .* must be numbers; got 'a'"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_refused(outs, change, message):
    change(pd.read_csv(outs / PLACES)).to_csv(outs / PLACES, index=False)
    with pytest.raises((InputError, StoreError), match=message):
        _ = open_input([outs]).obsm["spatial"]


def test_a_folder_above_it_names_the_folder(outs):
    with pytest.raises(StoreError, match=f"Give {outs}\\."):
        open_input([outs.parent])


def test_a_run_finds_domains_and_keeps_places_images_and_values(outs, tmp_path):
    from scrcl.engine.api import fit

    add_images(outs)
    fit(str(outs), out=tmp_path / "run", spatial=True, n_clusters=2, keep_x=True, **FAST)
    result = ad.read_h5ad(tmp_path / "run" / "result.h5ad")
    counted = COUNTS.toarray()[COUNTS.toarray().any(axis=1)]
    np.testing.assert_array_equal(result.X.toarray(), counted)
    assert result.obsm["spatial"].shape == (len(counted), 2)
    assert next(iter(result.uns["spatial"].values()))["images"]["hires"].shape == (6, 4, 3)
