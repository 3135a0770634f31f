"""Parts of the images in ``uns["spatial"]``, and where they lie."""

import anndata as ad
import h5py
import numpy as np
import pytest

from scrcl.io.tissue_images import libraries_of, part_of_image

SPOTS = np.array([[1000.0, 500], [3000, 500], [1000, 2500], [3000, 1500]])


def library(scale=0.1, size=(400, 500), kind="lowres", dtype=np.uint8):
    """Return an image in which red grows to the right and green downwards, by 1 a pixel."""
    down, right = np.mgrid[: size[0], : size[1]]
    image = np.stack([right % 256, down % 256, 0 * down], axis=-1).astype(dtype)
    return {"images": {kind: image}, "scalefactors": {f"tissue_{kind}_scalef": scale}}


def test_the_part_below_the_spots_is_read_with_its_place():
    part = part_of_image(library(), SPOTS, margin=0.05)
    np.testing.assert_allclose(part.corner, [900, 400])
    np.testing.assert_allclose(part.size, [2200, 2200])
    assert part.pixels.shape == (220, 220, 3)
    assert part.pixels[0, 0].tolist() == [90, 40, 0]


def test_the_larger_image_is_taken_where_the_smaller_shows_too_little():
    both = library(0.1)
    large = library(0.2, (800, 1000), "hires")
    for key in both:
        both[key] |= large[key]
    assert part_of_image(both, SPOTS, margin=0).pixels.shape == (400, 400, 3)
    wide = np.array([[100.0, 100], [4900, 3900]])
    assert part_of_image(both, wide, margin=0).pixels.shape == (380, 480, 3)


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held.pop("scalefactors"),
        lambda held: held["scalefactors"].clear(),
        lambda held: held.pop("images"),
        lambda held: held["images"].update(lowres=np.zeros(4)),
        lambda held: held["scalefactors"].update(tissue_lowres_scalef=0.01),
        lambda held: held["scalefactors"].update(tissue_lowres_scalef=5.0),
    ],
)
def test_without_a_scale_that_fits_the_spots_there_is_no_image(change):
    held = library()
    change(held)
    if held.get("scalefactors", {}).get("tissue_lowres_scalef") == 0.01:  # all spots are within
        assert part_of_image(held, SPOTS * 100, margin=0) is None
    else:
        assert part_of_image(held, SPOTS, margin=0) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.full((400, 500, 3), 0.5), 128),
        (np.full((400, 500, 4), 100.0, np.float32), 100),
        (np.full((400, 500), 7, np.uint8), 7),
        (np.full((400, 500, 1), 1000, np.uint16), 255),
        (np.full((400, 500, 3), np.nan), 0),
    ],
)
def test_fractions_bytes_and_grey_images_are_shown_alike(values, expected):
    held = {"images": {"lowres": values}, "scalefactors": {"tissue_lowres_scalef": 0.1}}
    assert (part_of_image(held, SPOTS, margin=0).pixels == expected).all()


def test_images_are_found_in_a_file_and_in_memory(tmp_path):
    cells = ad.AnnData(
        np.ones((2, 2), np.float32), uns={"spatial": {"lib": library(), "is_single": True}}
    )
    cells.write_h5ad(tmp_path / "cells.h5ad")
    in_memory = part_of_image(libraries_of(cells)["lib"], SPOTS, margin=0)
    with h5py.File(tmp_path / "cells.h5ad") as file:
        assert list(libraries_of(file)) == ["lib"]
        found = part_of_image(libraries_of(file)["lib"], SPOTS, margin=0)
    np.testing.assert_array_equal(found.pixels, in_memory.pixels)
    assert libraries_of(ad.AnnData(np.ones((2, 2), np.float32))) == {}
