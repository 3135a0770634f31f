"""The image of the tissue in the report: which slice has which."""

import base64
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from scrcl.engine.api import fit
from tests.cells import FAST, make_cells

SHOWN = {**FAST, "report": {"umap_cells": 200}, "n_clusters": 2, "device": "cpu"}


def slide(colour, name, *, shift=0.0, seed=0):
    """Return cells on an image of one colour."""
    cells = make_cells(90, 30, seed=seed)
    cells.obsm["spatial"] = 1000 * np.random.default_rng(seed).random((90, 2)) + 100 + shift
    image = np.full((60, 60, 3), colour, np.uint8)
    cells.uns["spatial"] = {
        name: {"images": {"lowres": image}, "scalefactors": {"tissue_lowres_scalef": 0.05}}
    }
    return cells


def images_of(out):
    page = (out / "report.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    return data["slices"], data.get("images", []), page


def colour_of(image):
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(image["data"]))))
    return pixels.reshape(-1, 3).mean(axis=0).round().astype(int).tolist()


def test_each_slice_has_the_image_of_its_file(tmp_path):
    paths = [tmp_path / "one.h5ad", tmp_path / "two.h5ad"]
    slide((200, 0, 0), "lib").write_h5ad(paths[0])
    slide((0, 0, 200), "lib", seed=1).write_h5ad(paths[1])
    fit(paths, out=tmp_path / "out", spatial=True, **SHOWN)
    slices, images, page = images_of(tmp_path / "out")
    assert slices == ["one", "two"]
    assert [image["slice"] for image in images] == [0, 1]
    assert [int(np.argmax(colour_of(image))) for image in images] == [0, 2]
    assert 'id="tissue"' in page
    assert "data:image/jpeg" in page


def test_the_image_shows_cell_types_too_and_lies_under_the_cells(tmp_path):
    fit(slide((0, 200, 0), "lib"), out=tmp_path / "out", **SHOWN)
    _, (image,), _ = images_of(tmp_path / "out")
    # Positions go from 0 to 65,535; a little more is shown around them.
    assert -3000 < image["x"] < 0
    assert 65_535 < image["x"] + image["w"] < 69_000


def test_libraries_of_one_file_are_told_apart_by_their_column(tmp_path):
    import anndata

    parts = {name: slide(colour, name, seed=seed)
             for seed, (name, colour) in enumerate({"a": (200, 0, 0), "b": (0, 0, 200)}.items())}  # fmt: skip
    joined = anndata.concat(parts, label="library_id", index_unique="-", uns_merge="unique")
    joined.obs["slice"] = joined.obs["library_id"].cat.rename_categories(["first", "second"])
    fit(joined, out=tmp_path / "out", spatial=True, sample_key="slice", **SHOWN)
    slices, images, _ = images_of(tmp_path / "out")
    assert slices == ["first", "second"]
    assert [int(np.argmax(colour_of(image))) for image in images] == [0, 2]


@pytest.mark.parametrize(("gap", "n_images"), [(0.0, 0), (400.0, 2)])
def test_one_image_is_of_several_slices_if_these_lie_side_by_side(tmp_path, gap, n_images):
    cells = slide((200, 0, 0), "lib")
    left = np.arange(90) < 45
    cells.obsm["spatial"][:, 0] = np.random.default_rng(1).random(90) * 300 + 100
    cells.obsm["spatial"][~left, 0] += gap
    cells.obs["slice"] = pd.Categorical(np.where(left, "a", "b"))
    fit(cells, out=tmp_path / "out", spatial=True, sample_key="slice", **SHOWN)
    assert len(images_of(tmp_path / "out")[1]) == n_images


def test_without_an_image_or_with_other_coordinates_the_report_is_as_it_was(tmp_path):
    cells = slide((200, 0, 0), "lib")
    cells.obs["x"], cells.obs["y"] = cells.obsm["spatial"].T
    fit(cells.copy(), out=tmp_path / "named", coordinates="x,y", **SHOWN)
    del cells.uns["spatial"]
    fit(cells, out=tmp_path / "none", **SHOWN)
    for name in ("named", "none"):
        _, images, page = images_of(tmp_path / name)
        assert images == []
        assert 'id="tissue"' not in page
