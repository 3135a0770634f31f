"""Drawings of how numbers are spread."""

import numpy as np

from scrcl.report.spreads import spreads

RNG = np.random.default_rng(0)


def test_each_group_has_its_shape_and_median():
    groups = [("a<b", RNG.lognormal(7, 1, 500)), ("none", np.empty(0)), ("one", np.array([3.0]))]
    drawn = spreads("counts", groups, logarithmic=True)
    assert drawn.count("<polygon") == drawn.count('class="middle"') == 2
    assert "a&lt;b" in drawn
    assert "a<b" not in drawn
    assert f"median {np.median(groups[0][1]):,.0f}, 500 cells" in drawn
    assert "nan" not in drawn


def test_equal_values_and_shares_are_drawn():
    drawn = spreads("mitochondrial share", [("all", np.zeros(9))], percent=True)
    assert "median 0.0%, 9 cells" in drawn
    assert "nan" not in drawn
    assert spreads("counts", []).endswith("</svg>")
