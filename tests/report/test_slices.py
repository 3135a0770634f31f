import base64
import io
from itertools import pairwise

import numpy as np
import pytest

from scrcl.io.labels import CellLabels
from scrcl.report.colours import palette
from scrcl.report.figures import scatter
from scrcl.report.slices import by_slice


def centre(picture, colour):
    """Return where a colour lies in a picture: to the right and down, from the middle."""
    from matplotlib.image import imread

    image = (imread(io.BytesIO(base64.b64decode(picture)))[..., :3] * 255).round()
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    down, right = np.nonzero((image == wanted).all(axis=2))
    return right.mean() - image.shape[1] / 2, down.mean() - image.shape[0] / 2


@pytest.mark.parametrize("seed", range(4))
def test_points_have_the_colour_of_their_cluster_and_y_points_down(seed):
    """A picture of a tissue is drawn as a microscope shows it: small y at the top."""
    rng = np.random.default_rng(seed)
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    labels = rng.permutation(4)
    sizes = [10, 70, 30, 50]
    points = np.repeat(corners, sizes, axis=0) + rng.normal(scale=0.004, size=(160, 2))
    drawn = scatter(points, np.repeat(labels, sizes), ["", "", "", ""], equal=True)
    for (x, y), label in zip(corners, labels, strict=True):
        right, down = centre(drawn, palette(4)[label])
        assert (right > 50) == (x == 1)
        assert (down > 50) == (y == 1)


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
