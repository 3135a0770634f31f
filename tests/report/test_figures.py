import re

import numpy as np
import pytest

from scrcl.report.colours import palette
from scrcl.report.figures import (
    degree_bars,
    loss_curves,
    merge_lines,
    share_bars,
)


def test_colours_differ_and_the_first_stay_the_same():
    assert len(set(palette(80))) == 80
    assert palette(80)[:16] == palette(16)


def test_a_loss_curve_has_a_point_for_each_step_at_its_height():
    history = [{"step": step, "ndc": 1 / step, "lr": 1} for step in (1, 2, 4)]
    drawn = loss_curves([*history, {"step": 5, "other": 3.0}])
    curves = re.findall(r'<polyline class="curve" points="([^"]*)"', drawn)
    first, second = ([tuple(map(float, point.split(","))) for point in c.split()] for c in curves)
    assert len(first) == 3
    assert len(second) == 1
    (x1, y1), (x2, y2), (x3, y3) = first
    assert (x3 - x2) == pytest.approx(2 * (x2 - x1), abs=0.2)
    assert (y2 - y1) == pytest.approx(2 * (y3 - y2), abs=0.2)
    assert y1 < y2 < y3
    assert ">ndc<" in drawn
    assert ">lr<" not in drawn


def bars_of(drawn):
    return [float(height) for height in re.findall(r'class="bar"[^>]*height="([^"]*)"', drawn)]


def test_the_bars_of_a_histogram_are_as_high_as_their_counts():
    heights = bars_of(share_bars(np.array([0.01, 0.5, 0.5, 0.99, 0.99, 0.99]), "confidence"))
    assert heights == pytest.approx([heights[0], 2 * heights[0], 3 * heights[0]], abs=0.2)
    assert len(bars_of(share_bars(np.linspace(0, 1, 999), "x"))) == 40
    drawn = share_bars(np.array([0.01, 0.5, 0.5]), "confidence")
    assert re.findall("<title>(.*?)</title>", drawn) == ["1 cell", "2 cells"]


@pytest.mark.parametrize(
    "counts", [[0], [3], [0, 0, 5], np.arange(2_000), np.bincount([15] * 9_990 + [9_000] * 10)]
)
def test_the_number_of_degree_bars_is_limited(counts):
    drawn = degree_bars(np.asarray(counts))
    assert drawn.startswith("<svg")
    assert len(bars_of(drawn)) <= 60
    assert "nan" not in drawn


@pytest.mark.parametrize("n", [2, 7, 130])
def test_a_tree_is_drawn_with_its_names_up_to_100_leaves(n):
    from scipy.cluster.hierarchy import linkage

    tree = linkage(np.random.default_rng(0).normal(size=(n, 2)))
    drawn = merge_lines(tree, [f"cluster{i}" for i in range(n)])
    named = drawn.count(">cluster")
    assert named == n if n <= 100 else 0 < named < 100
    assert drawn.count("<polyline") == min(n, 100) - 1
    assert bool(re.search(r">\(\d+\)<", drawn)) == (n > 100)


def test_a_tree_has_room_for_long_names():
    tree = np.array([[0, 1, 1.0, 2], [2, 3, 2.0, 3]])
    heights = []
    for names in (["0", "1", "2"], ["0 a long name", "1 a much longer name", "2"]):
        drawn = merge_lines(tree, names)
        assert all(f">{name}</text>" in drawn for name in names)
        heights.append(int(re.search(r' height="(\d+)"', drawn)[1]))
    assert heights[0] < heights[1] - 60
