"""Drawings of clusters: well-formed, with what they show in their titles."""

from xml.etree import ElementTree as ET

import numpy as np

from scrcl.report.composition import composition_figure
from scrcl.report.drawings import composition_bars, dot_plot, paga_graph
from scrcl.report.svg import shortened, text_width

NAMES = ["0 <b>B & T</b>", "1", "a name of a cluster that is far too long to be shown"]
COLOURS = ["#123456", "#abcdef", "#fedcba"]


def _parsed(svg):
    return ET.fromstring(svg)  # noqa: S314


def titles(svg):
    return [node.text for node in _parsed(svg).iter() if node.tag.endswith("title")]


def tags(svg, name):
    return [node for node in _parsed(svg).iter() if node.tag.endswith(name)]


def test_dots_have_the_area_of_the_share_and_the_strength_of_the_mean():
    mean = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])
    share = np.array([[0.0, 0.25, 1.0], [0.5, 0.0, 0.0]])
    svg = dot_plot(mean, share, ["<i>", "CD3D"], NAMES)
    every = tags(svg, "circle")
    dots = [dot for dot in every if len(dot)]  # those of the key have no title
    assert len(dots) == 3  # none without cells
    shown = {dot[0].text: (float(dot.get("r")), float(dot.get("fill-opacity"))) for dot in dots}
    quarter, whole = (
        shown["<i> in 1: mean 1.00, 25% of cells"],
        shown[f"<i> in {NAMES[2]}: mean 2.00, 100% of cells"],
    )
    assert abs(2 * quarter[0] - whole[0]) < 0.2
    assert quarter[1] < whole[1] == 1
    key = {float(dot.get("r")) for dot in every if not len(dot)}
    assert max(key) == whole[0] > min(key)
    assert {"10%", "50%", "100% of cells"} <= {node.text for node in tags(svg, "text")}
    assert "<b>" not in svg


def test_links_below_the_least_are_left_out_and_names_are_escaped():
    connectivities = np.array([[0, 0.5, 0.001], [0.5, 0, 0], [0.001, 0, 0]])
    svg = paga_graph(
        connectivities,
        np.random.default_rng(0).normal(size=(3, 2)),
        np.array([5, 3, 1]),
        NAMES,
        COLOURS,
    )
    assert len(tags(svg, "line")) == 1
    assert f"{NAMES[0]} and 1: 0.50" in titles(svg)
    assert f"{NAMES[2]}: 1 cell" in titles(svg)
    assert "<b>" not in svg


def test_bars_of_a_group_add_up_to_one_width():
    counts = np.array([[30, 10, 0], [1, 1, 2]])
    svg = composition_bars(counts, ["donor <1>", "donor 2"], NAMES, COLOURS)
    rows = {}
    for bar in tags(svg, "rect"):
        rows.setdefault(bar.get("y"), []).append(float(bar.get("width").rstrip("%")))
    assert [len(row) for row in rows.values()] == [2, 3]
    assert {round(sum(row)) for row in rows.values()} == {100}
    assert f"{NAMES[0]} in donor <1>: 30 cells, 75.0%" in titles(svg)


def test_a_legend_names_all_clusters_and_a_page_shows_the_first_groups():
    figure = composition_figure(
        np.ones((70, 3), int), [f"s{i}" for i in range(70)], NAMES, ("cluster", "sample")
    )
    assert [name for name, _ in figure.legend] == NAMES
    assert figure.caption == "Shares of the clusters in each sample. The first 60 of 70."
    assert "s59" in figure.content
    assert "s60" not in figure.content


def test_names_stay_inside_of_the_drawing():
    names = ["0 naive thymus-derived CD4-positive", "1", "2 WWWWWWWWWWWWWWWWWWWWWWWWWW"]
    svg = paga_graph(
        np.zeros((3, 3)), np.array([[0, 0], [1, 1], [2, 0.0]]), np.ones(3), names, COLOURS
    )
    for name, text in zip(names, tags(svg, "text"), strict=True):
        half = text_width(name, 12) / 2
        assert half <= float(text.get("x")) <= 680 - half
    genes = ["ENSG00000171617", "ENSG00000171618"]
    svg = dot_plot(np.ones((2, 3)), np.ones((2, 3)), genes, names)
    (gene, *_) = [text for text in tags(svg, "text") if text.get("class") == "gene"]
    top = float(gene.get("transform").split()[1].split(")")[0])
    assert top > text_width(genes[0], 12)


def test_long_names_that_begin_alike_stay_distinct():
    names = [f"CD4-positive alpha-beta memory T cell (helper {i})" for i in (1, 2)]
    short = [shortened(name) for name in names]
    assert short[0] != short[1]
    assert all(len(name) <= 26 and "…" in name for name in short)
    assert shortened("naive T cell") == "naive T cell"


def test_names_of_clusters_on_one_another_are_written_on_lines_of_their_own():
    svg = paga_graph(
        np.zeros((3, 3)), np.array([[0, 0], [0, 0.001], [9, 9]]), np.ones(3), NAMES, COLOURS
    )
    first, second, _ = (float(text.get("y")) for text in tags(svg, "text"))
    assert abs(first - second) >= 14
