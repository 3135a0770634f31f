"""The data of the interactive maps: what is packed can be read back, and names cannot end the script."""

import base64
import gzip
import json

import numpy as np
import pandas as pd
import pytest

from scrcl.report.maps import (
    MOST_LEVELS,
    Maps,
    category_column,
    column_of,
    number_column,
    payload,
)

EVIL = "</script><script>alert(1)</script><!--"


def unpacked(text, dtype=np.uint8):
    return np.frombuffer(gzip.decompress(base64.b64decode(text)), dtype)


def test_positions_and_columns_can_be_read_back():
    rng = np.random.default_rng(0)
    xy = rng.normal(size=(50, 2)) * [1, 20]
    codes = np.r_[[-1], np.arange(49) % 3]
    maps = Maps(
        n_cells=90,
        umap=xy,
        space=xy,
        slice_of=np.zeros(50, int),
        slices=["all"],
        columns=[category_column("cluster", codes, ["a", "b", EVIL], "Clusters")],
        markers=[["a", EVIL, 1.5]],
        marker_columns=["cluster", "gene", "score"],
        marker_kinds=["text", "text", "score"],
    )
    text = payload(maps)
    assert "<" not in text
    tree = json.loads(text)
    assert (tree["n"], tree["total"]) == (50, 90)
    (column,) = tree["columns"]
    assert column["levels"][2] == EVIL
    assert unpacked(column["data"]).tolist() == np.where(codes < 0, 255, codes).tolist()
    for name in ("umap", "space"):
        for axis, values in zip("xy", xy.T, strict=True):
            steps = unpacked(tree[name][axis], "<u2").astype(float)
            assert np.corrcoef(steps, values)[0, 1] > 0.999999
    wide = unpacked(tree["umap"]["x"], "<u2")
    assert (wide.min(), wide.max()) == (0, 65_535)
    assert unpacked(tree["space"]["x"], "<u2").max() < 10_000  # one scale for both axes
    rows = json.loads(gzip.decompress(base64.b64decode(tree["markers"])))
    assert rows == {
        "columns": ["cluster", "gene", "score"],
        "kinds": ["text", "text", "score"],
        "rows": [["a", EVIL, 1.5]],
    }


def test_numbers_lie_between_their_smallest_and_largest_and_missing_ones_are_marked():
    column = number_column("x", np.array([2.0, 4.0, np.nan, 3.0, np.inf]), "Cells")
    assert (column.low, column.high) == (2, 4)
    assert column.codes.tolist() == [0, 254, 255, 127, 255]
    assert number_column("x", np.array([0.5]), "Cells", (0, 1)).codes.tolist() == [127]
    assert number_column("x", np.full(3, np.nan), "Cells").codes.tolist() == [255] * 3


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (pd.Series(["b", "a", None, "a"]), ["a", "b"]),
        (pd.Series(pd.Categorical(["x", "y", "x", "x"], categories=["z", "y", "x"])), ["y", "x"]),
        (pd.Series([True, False, True, True]), ["False", "True"]),
    ],
)
def test_texts_categories_and_flags_are_categories(values, levels):
    column = column_of("c", values)
    assert list(column.levels) == levels
    shown = [None if code == 255 else levels[code] for code in column.codes]
    assert shown == [None if pd.isna(value) else str(value) for value in values]


def test_numbers_of_obs_are_numbers_and_names_of_cells_are_left_out():
    assert not column_of("n", pd.Series([1, 2, 3])).levels
    assert column_of("n", pd.Series([1, None, 3], dtype="Int64")).codes.tolist() == [0, 255, 254]
    names = pd.Series([f"cell{i}" for i in range(MOST_LEVELS + 1)])
    assert column_of("n", names) is None
    assert column_of("n", names.astype("category")) is None
    assert column_of("n", pd.Series([None, None], dtype=object)) is None
