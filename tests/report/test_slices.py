from itertools import pairwise

import numpy as np

from scrcl.io.labels import CellLabels
from scrcl.report.slices import by_slice, side_by_side


def test_samples_and_sections_are_parted():
    xyz = np.array([[0, 0, 1], [1, 0, 1], [0, 0, 5], [1, 0, 5], [0, 0, 1], [1, 0, 1.0]])
    samples = CellLabels(np.array([1, 1, 1, 1, 0, 0]), ("a", "b", "none"))
    found = {name: cells.tolist() for name, cells in by_slice(xyz, samples)}
    assert found == {"a": [4, 5], "b, z = 1": [0, 1], "b, z = 5": [2, 3]}
    assert [name for name, _ in by_slice(xyz[:, :2])] == [""]


def test_continuous_heights_are_cut_into_ranges():
    z = np.random.default_rng(0).uniform(size=300)
    found = by_slice(np.column_stack([z, z, z]))
    assert len(found) == 6
    assert sorted(np.concatenate([cells for _, cells in found])) == list(range(300))
    for (_, low), (_, high) in pairwise(found):
        assert z[low].max() <= z[high].min()


def boxes_of(placed, slice_of):
    return [
        (placed[slice_of == i].min(axis=0), placed[slice_of == i].max(axis=0))
        for i in range(slice_of.max() + 1)
    ]


def test_slices_lie_side_by_side_in_their_own_sizes():
    xy = np.random.default_rng(0).uniform(size=(900, 2)) * [200, 100]
    slice_of = np.repeat([0, 1, 2], 300)
    xy[slice_of == 2] /= 2
    placed, has_one_scale, *_ = side_by_side(xy, slice_of, 3)
    assert has_one_scale
    boxes = boxes_of(placed, slice_of)
    for low, high in pairwise(boxes):  # wide tissues lie one below the other
        assert low[1][1] < high[0][1]
    for i in range(3):
        moved = placed[slice_of == i] - xy[slice_of == i]
        np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape))


def test_slices_in_other_units_are_drawn_in_one_size():
    xy = np.random.default_rng(0).uniform(size=(600, 2))
    slice_of = np.repeat([0, 1], 300)
    xy[slice_of == 1] *= 2000
    placed, has_one_scale, *_ = side_by_side(xy, slice_of, 2)
    assert not has_one_scale
    (low, high), (low2, high2) = boxes_of(placed, slice_of)
    np.testing.assert_allclose(high - low, high2 - low2, rtol=0.1)


def test_a_slice_of_one_cell_or_of_none_has_a_place():
    xy = np.array([[0.0, 0], [4, 2], [9, 9], [3, 3]])
    placed, *_ = side_by_side(xy, np.array([0, 0, 1, 255]), 3)
    assert np.isfinite(placed).all()
    assert (placed[2] > placed[1]).any()
