"""Still pictures of the maps: each slice is drawn, in the colours of its clusters."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from scrcl.report.maps import Maps, category_column
from scrcl.report.pictures import MAX_PICTURES, still_pictures
from scrcl.report.tissue_image import tissue_image


def pixels_of(png, *, legend=False):
    """The pixels of the map, or of the legend beside it."""
    whole = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")).astype(int)
    return whole[:, 960:] if legend else whole[:, :960]


def rgb(colour):
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def area(pixels, colour):
    return int((pixels == rgb(colour)).all(axis=2).sum())


def maps_of(codes, slices, **fields):
    column = category_column("cluster", np.asarray(codes), ["0", "1"], "Clusters")
    grid = np.stack(np.divmod(np.arange(len(codes)), 10), axis=1).astype(float)
    return Maps(len(codes), None, [column], grid, np.asarray(slices), ["a", "b"], **fields), column


def test_each_slice_is_a_picture_with_the_colours_of_its_clusters():
    maps, column = maps_of([0] * 50 + [1] * 50, [0] * 50 + [1] * 50)
    (first, one, _), (second, two, _) = still_pictures(maps)
    assert ("space, a" in first, "space, b" in second) == (True, True)
    one, two = pixels_of(one), pixels_of(two)
    assert area(one, column.colours[0]) > 50
    assert area(one, column.colours[1]) == 0
    # Letters of the names hide a little.
    assert area(two, column.colours[1]) == pytest.approx(area(one, column.colours[0]), rel=0.02)


def test_spots_of_a_tissue_fill_much_of_it():
    side = 60
    xy = np.stack(np.divmod(np.arange(side**2), side), axis=1).astype(float)
    column = category_column("cluster", np.zeros(side**2, int), ["0"], "Clusters")
    ((_, png, _),) = still_pictures(Maps(side**2, None, [column], xy))
    pixels = pixels_of(png)
    assert area(pixels, column.colours[0]) > 0.25 * (720 - 32) ** 2


def test_captions_call_spots_spots():
    maps, _ = maps_of([0] * 50 + [1] * 50, [0] * 100, cell="spot")
    assert [caption for caption, _, _ in still_pictures(maps)] == ["Spots in space, a, by cluster"]


def test_both_axes_have_one_scale_and_y_points_down():
    codes = [1] + [0] * 99
    maps, column = maps_of(codes, [0] * 100)
    ((_, png, _),) = still_pictures(maps)
    pixels = pixels_of(png)
    rows, columns = np.nonzero((pixels != 255).any(axis=2))
    assert np.ptp(rows) == np.ptp(columns)
    at = np.argwhere((pixels == rgb(column.colours[1])).all(axis=2)).mean(axis=0)
    assert at[0] < rows.mean()  # the first cell is at (0, 0): at the top left
    assert at[1] < columns.mean()


def test_a_lonely_point_has_its_colour_where_it_lies():
    codes = [1] + [0] * 99
    column = category_column("cluster", np.asarray(codes), ["0", "1"], "Clusters")
    grid = np.stack(np.divmod(np.arange(100), 10), axis=1).astype(float)
    ((_, png, _),) = still_pictures(Maps(100, grid, [column]))
    pixels = pixels_of(png)
    rows, columns = np.nonzero((pixels != 255).any(axis=2))
    at = np.argwhere((pixels == rgb(column.colours[1])).all(axis=2)).mean(axis=0)
    # The first cell is at (0, 0): on a UMAP at the bottom left.
    assert np.abs(at - [rows.max(), columns.min()]).max() < 15


def test_only_some_of_many_slices_have_a_picture():
    n = MAX_PICTURES + 5
    column = category_column("cluster", np.zeros(n, int), ["0"], "Clusters")
    maps = Maps(n, None, [column], np.zeros((n, 2)), np.arange(n), [f"s{i}" for i in range(n)])
    assert len(list(still_pictures(maps))) == MAX_PICTURES


def test_spots_lie_over_the_image_of_their_slice():
    maps, column = maps_of([0] * 100, [0] * 100)
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[:100, :, 0] = 255  # red above, blue below
    pixels[100:, :, 2] = 255
    low, size = maps.space.min(axis=0), np.ptp(maps.space, axis=0)
    image = tissue_image(0, pixels, low - 0.1 * size, 1.2 * size, n_images=1)
    ((_, content, kind),) = still_pictures(replace(maps, images=[image]))
    assert kind == "jpeg"
    drawn = pixels_of(content).astype(int)
    is_red = (drawn[:, :, 0] > 200) & (drawn[:, :, 2] < 60)
    is_blue = (drawn[:, :, 2] > 200) & (drawn[:, :, 0] < 60)
    assert np.argwhere(is_red)[:, 0].max() <= 362  # the middle of the picture
    assert np.argwhere(is_blue)[:, 0].min() >= 358
    own = np.array(rgb(column.colours[0]))
    over_red = np.abs(drawn - (0.6 * own + 0.4 * np.array([255, 0, 0]))).max(axis=2) < 30
    assert over_red[:350].sum() > 1000


@pytest.mark.parametrize(("n_images", "side", "n_bytes"), [(1, 600, 150_000), (24, 300, 62_500)])
def test_an_image_for_the_page_is_small(n_images, side, n_bytes):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1800, 3)).astype(np.uint8)
    image = tissue_image(0, noise, np.zeros(2), np.ones(2), n_images=n_images)
    width, height = Image.open(io.BytesIO(image.jpeg)).size
    assert len(image.jpeg) <= n_bytes
    assert width <= side
    assert width == pytest.approx(2 * height, abs=2)


def test_cells_of_the_run_are_grey_and_lie_behind_new_cells():
    column = category_column("cluster", np.zeros(5, int), ["0"], "Clusters")
    xy = np.stack([np.arange(5.0), np.zeros(5)], axis=1)
    behind = np.concatenate([xy, xy + np.array([0, 1])] * 5)
    maps = Maps(5, xy, [column], behind=behind, n_run=50)
    ((_, png, _),) = still_pictures(maps)
    pixels = pixels_of(png)
    grey = np.argwhere((pixels == 200).all(axis=2))
    assert area(pixels, column.colours[0]) == len(grey) > 100  # the upper row alone is grey
    assert (
        grey[:, 0].max() < np.argwhere((pixels == rgb(column.colours[0])).all(axis=2))[:, 0].min()
    )


def test_names_stand_at_their_categories_and_none_where_categories_are_mixed():
    rng = np.random.default_rng(0)
    codes = np.arange(900) % 3
    apart = rng.normal(size=(900, 2)) + 20 * np.stack([codes == 1, codes == 2], axis=1)
    column = category_column("cluster", codes, ["0 B cell", "1 T cell", "2 NK cell"], "Clusters")
    ((_, png, _),) = still_pictures(Maps(900, apart, [column]))
    rows, columns = np.nonzero((pixels_of(png) == 0).all(axis=2))  # black is in letters alone
    thirds = {(y < 360, x < 480) for y, x in zip(rows, columns, strict=True)}
    assert thirds == {(True, True), (False, True), (False, False)}
    ((_, png, _),) = still_pictures(Maps(900, rng.normal(size=(900, 2)), [column]))
    mixed = (pixels_of(png) == 0).all(axis=2).sum()
    assert mixed < len(rows) / 2


def shades_at(png, box):
    """Black pixels, which letters alone have, in a box of rows and columns."""
    top, bottom, left, right = box
    return int((pixels_of(png)[top:bottom, left:right] == 0).all(axis=2).sum())


def test_a_name_does_not_stand_at_points_of_another_category():
    # Two small groups side by side, far from a large one: the long name of one would lie upon the other.
    codes = np.array([0] * 500 + [1] * 30 + [2] * 20)
    rng = np.random.default_rng(0)
    spread = rng.normal(0, [[1, 1]] * 500 + [[0.12, 0.1]] * 50, (550, 2))
    xy = spread + np.array([[8, 8]] * 500 + [[0.5, 0]] * 30 + [[-0.5, 0]] * 20)
    column = category_column(
        "cluster", codes, ["0", "1 B", "2 a type with a long name"], "Clusters"
    )
    ((_, png, _),) = still_pictures(Maps(550, xy, [column]))
    drawn = pixels_of(png)
    places = {
        code: np.argwhere((drawn == rgb(column.colours[code])).all(axis=2)) for code in (1, 2)
    }
    for code, other in ((1, 2), (2, 1)):
        (top, left), (bottom, right) = places[code].min(axis=0), places[code].max(axis=0)
        assert shades_at(png, (top - 30, bottom + 30, left, right)) > 0  # it has a name or a number
        beside = places[other][:, 1].min() - 8, places[other][:, 1].max() + 8
        assert beside[0] > right or beside[1] < left
    (_, left), (_, right) = places[2].min(axis=0), places[2].max(axis=0)
    around = shades_at(png, (max(places[2][:, 0].min() - 30, 0), 720, 0, places[1][:, 1].min() - 1))
    inside = shades_at(png, (0, 720, left, right))
    assert around == inside  # "2", no wider than its points


def test_a_legend_has_the_categories_that_are_drawn():
    maps, column = maps_of([0] * 50 + [1] * 50, [0] * 100)
    ((_, png, _),) = still_pictures(maps)
    legend = pixels_of(png, legend=True)
    assert [area(legend, colour) for colour in column.colours[:2]] == [144, 144]
    assert (legend == 0).all(axis=2).sum() > 10  # letters
    maps, _ = maps_of([0] * 100, [0] * 100)
    ((_, png, _),) = still_pictures(maps)
    assert pixels_of(png, legend=True).shape[1] == 0
