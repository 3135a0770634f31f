"""Coordinates that a setting names: in obsm, in columns of obs, or in a text."""

import numpy as np
import pandas as pd
import pytest

from scrcl.errors import InputError
from scrcl.io.named_coordinates import read_named_coordinates, suggested_coordinates
from scrcl.io.open import from_anndata
from tests.stores import random_counts, table

XY = np.column_stack([np.arange(9.0), np.arange(9.0) % 3])


@pytest.fixture
def cells():
    adata = table(random_counts(9, 5))
    adata.obs["x"], adata.obs["y"], adata.obs["kind"] = XY[:, 0], XY[:, 1], "a"
    adata.obsm["X_spatial"] = XY + 1
    return adata


def test_a_key_of_obsm_or_columns_of_obs_are_read(cells):
    matrix = from_anndata(cells)
    np.testing.assert_array_equal(read_named_coordinates(matrix, "X_spatial"), XY + 1)
    np.testing.assert_array_equal(read_named_coordinates(matrix, "y, x"), XY[:, ::-1])


@pytest.mark.parametrize("columns", [["x", "y"], ["left", "top"], ["Y", "area", "X", "kind"]])
def test_a_text_is_matched_by_the_names_of_the_cells(cells, columns, tmp_path):
    axes = {"x": XY[:, 0], "y": XY[:, 1], "left": XY[:, 0], "top": XY[:, 1]}
    values = {name: axes.get(name.lower(), "other") for name in columns}
    written = pd.DataFrame(values, index=cells.obs_names).iloc[::-1]
    written.to_csv(tmp_path / "coordinates.csv")
    np.testing.assert_array_equal(
        read_named_coordinates(from_anndata(cells), str(tmp_path / "coordinates.csv")), XY
    )


def test_what_cannot_be_coordinates_is_refused(cells, tmp_path):
    matrix = from_anndata(cells)
    with pytest.raises(InputError, match=r"obs has no 'z'.*X_spatial.*columns of obs: x, y, kind"):
        read_named_coordinates(matrix, "x,z")
    with pytest.raises(InputError, match=r"numbers; got 'a' in a column of obs, 'kind'.*cell0"):
        read_named_coordinates(matrix, "x,kind")
    with pytest.raises(InputError, match="two or three columns; got 1"):
        read_named_coordinates(matrix, "x")
    path = tmp_path / "coordinates.csv"
    pd.DataFrame(XY[1:], index=cells.obs_names[1:]).to_csv(path)
    with pytest.raises(InputError, match=r"1 have none, the first is 'cell0'"):
        read_named_coordinates(matrix, str(path))


def test_numbers_that_are_written_as_text_are_read_and_missing_ones_stay_missing(cells):
    cells.obs["x"] = cells.obs["x"].astype(str)
    cells.obs.loc["cell3", "y"] = np.nan
    read = read_named_coordinates(from_anndata(cells), "x,y")
    np.testing.assert_array_equal(read[:, 0], XY[:, 0])
    assert np.flatnonzero(np.isnan(read).any(axis=1)).tolist() == [3]


@pytest.mark.parametrize(
    ("columns", "found"),
    [(["x", "y"], "x,y"), (["X", "Z", "Y"], "X,Y,Z"), (["x_centroid", "y_centroid"], "x_centroid,y_centroid"),
     (["CenterX_global_px", "CenterY_global_px"], "CenterX_global_px,CenterY_global_px"), (["x"], None)],
)  # fmt: skip
def test_usual_names_of_columns_are_suggested(columns, found):
    adata = table(random_counts(9, 5))
    for column in columns:
        adata.obs[column] = 1.0
    assert suggested_coordinates(from_anndata(adata)) == found


def test_another_key_of_obsm_is_suggested(cells):
    assert suggested_coordinates(from_anndata(cells)) == "X_spatial"
