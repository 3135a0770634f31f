"""Subsets of cells are compared without leaving the maps that they are read from resident."""

import sys
from pathlib import Path

import numpy as np
import pytest

from scrcl.cluster.mixing import describe_mixing
from scrcl.engine.stages.correct_fit import neighbours_among

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def resident_bytes(path):
    lines, total, inside = Path("/proc/self/smaps").read_text().splitlines(), 0, False
    for line in lines:
        first = line.split()[0]
        if "-" in first:
            inside = line.endswith(str(path))
        elif inside and first == "Rss:":
            total += int(line.split()[1]) * 1024
    return total


def test_neighbours_of_a_subset_leave_no_map_resident(tmp_path):
    path, rng = tmp_path / "points.npy", np.random.default_rng(0)
    np.save(path, rng.normal(size=(4_000, 64)).astype(np.float32))
    points, cells = np.load(path, mmap_mode="r"), np.arange(0, 4_000, 9)
    assert points[cells].sum() != 0
    assert resident_bytes(path) > 500_000
    neighbours_among(points, cells, 0)
    assert resident_bytes(path) == 0
    codes, ids = rng.integers(0, 2, 4_000), rng.integers(0, 4_000, (4_000, 5))
    describe_mixing(codes, codes, ids, points, n_neighbors=5, n_cells=300, seed=0)
    assert resident_bytes(path) == 0
