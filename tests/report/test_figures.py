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


def test_loss_curves_are_svg():
    curves = loss_curves([{"step": step, "ndc": 1 / step} for step in (1, 2, 3)])
    assert curves.startswith("<svg")


def test_shares_have_one_bar_for_each_fortieth():
    few = share_bars(np.array([0.0, 1.0]), "confidence")
    assert few.startswith("<svg")
    assert few.count('id="patch_') == share_bars(np.linspace(0, 1, 999), "x").count('id="patch_')
    assert few.count('id="patch_') >= 40


@pytest.mark.parametrize(
    "counts", [[0], [3], [0, 0, 5], np.arange(2_000), np.bincount([15] * 9_990 + [9_000] * 10)]
)
def test_the_number_of_degree_bars_is_limited(counts):
    bars = degree_bars(np.asarray(counts))
    assert bars.startswith("<svg")
    assert bars.count("<path") < 150


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 7, 130])
def test_a_tree_is_drawn_with_its_names_up_to_100_leaves(n):
    from scipy.cluster.hierarchy import linkage

    tree = linkage(np.random.default_rng(0).normal(size=(n, 2)))
    drawn = merge_lines(tree, [f"cluster{i}" for i in range(n)])
    assert drawn.startswith("<svg")
    assert drawn.count("<!-- cluster") == (n if n <= 100 else drawn.count("<!-- cluster")) > 0
    assert ("<!-- (" in drawn) == (n > 100)
