from itertools import pairwise

import numpy as np

from scrcl.io.labels import CellLabels
from scrcl.report.slices import by_slice


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
