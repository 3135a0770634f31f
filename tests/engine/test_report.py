import base64

import numpy as np
import pytest

from scrcl.engine.report.figures import _middle, loss_curves, palette, scatter
from scrcl.engine.report.layout import sample_cells, umap_layout


def test_colours_differ_and_the_first_stay_the_same():
    assert len(set(palette(80))) == 80
    assert palette(80)[:16] == palette(16)


def test_a_name_stands_in_the_larger_part_of_a_cluster_that_is_split():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(60, 2)), rng.normal(size=(30, 2)) + 50, [[25.0, 25.0]]]
    assert np.abs(_middle(np.vstack(parts))).max() < 1


def test_a_picture_is_a_png_and_curves_are_svg():
    xy, labels = np.random.default_rng(0).normal(size=(50, 2)), np.arange(50) % 3
    picture = base64.b64decode(scatter(xy, labels, ["0", "1", "2"]))
    assert picture.startswith(b"\x89PNG")
    curves = loss_curves([{"step": step, "ndc": 1 / step} for step in (1, 2, 3)])
    assert curves.startswith("<svg")


@pytest.mark.slow
def test_the_layout_is_a_function_of_the_seed_and_keeps_groups_apart():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 60)
    points = (rng.normal(size=(120, 8)) + 12 * groups[:, None]).astype(np.float32)
    layout = umap_layout(points, seed=1)
    assert np.array_equal(layout, umap_layout(points, seed=1))
    centres = [np.median(layout[groups == group], axis=0) for group in (0, 1)]
    spread = max(np.abs(layout[groups == g] - centres[g]).max() for g in (0, 1))
    assert np.abs(centres[0] - centres[1]).max() > spread


def test_a_sample_is_ascending_without_repeats_and_small_data_is_shown_whole():
    cells = sample_cells(1_000, 50, seed=3)
    assert (np.diff(cells) > 0).all()
    assert len(cells) == 50
    assert np.array_equal(cells, sample_cells(1_000, 50, seed=3))
    assert np.array_equal(sample_cells(30, 50, seed=3), np.arange(30))
