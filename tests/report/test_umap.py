import numpy as np
import pytest

from scrcl.report.umap import subset_of_cells, umap_layout


@pytest.mark.xdist_group("umap")  # what it compiles takes longest: one worker for all of it
def test_the_layout_is_a_function_of_the_seed_and_keeps_groups_apart():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 60)
    points = (rng.normal(size=(120, 8)) + 12 * groups[:, None]).astype(np.float32)
    layout = umap_layout(points, seed=1)
    assert np.array_equal(layout, umap_layout(points, seed=1))
    centres = [np.median(layout[groups == group], axis=0) for group in (0, 1)]
    spread = max(np.abs(layout[groups == g] - centres[g]).max() for g in (0, 1))
    assert np.abs(centres[0] - centres[1]).max() > spread


def test_a_subset_is_ascending_without_repeats_and_small_data_is_shown_whole():
    cells = subset_of_cells(1_000, 50, seed=3)
    assert (np.diff(cells) > 0).all()
    assert len(cells) == 50
    assert np.array_equal(cells, subset_of_cells(1_000, 50, seed=3))
    assert np.array_equal(subset_of_cells(30, 50, seed=3), np.arange(30))
