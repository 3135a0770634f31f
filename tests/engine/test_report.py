import base64
import re

import numpy as np
import pytest

from scrcl.engine.config import GraphConfig
from scrcl.engine.stages.graph import GraphRecord, Locality
from scrcl.engine.stages.graph_notes import graph_facts, graph_notes
from scrcl.report.figures import (
    _middle,
    degree_bars,
    loss_curves,
    merge_lines,
    palette,
    scatter,
)
from scrcl.report.umap import sample_cells, umap_layout


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


@pytest.mark.parametrize(
    "counts", [[0], [3], [0, 0, 5], np.arange(2_000), np.bincount([15] * 9_990 + [9_000] * 10)]
)
def test_degrees_are_bars_however_far_they_reach(counts):
    bars = degree_bars(np.asarray(counts))
    assert bars.startswith("<svg")
    assert bars.count("<path") < 150


HEALTHY = GraphRecord(
    n_neighbors=15,
    backend="ivf",
    recall=0.97,
    n_nodes=10_000,
    n_edges=90_000,
    mean_degree=18.0,
    median_degree=17,
    low_degree=15,
    high_degree=40,
    max_degree=90,
    n_isolated=0,
    n_hubs=10,
    hub_share=0.004,
    n_alone=0,
    search={"lists": 98, "lists_searched": 5},
    locality=Locality(
        rows=4096,
        edges_inside=0.1,
        halo_rows=12.0,
        edges_inside_ordered=0.625,
        halo_rows_ordered=3.0,
    ),
    n_components=3,
    largest_component=0.98,
    hubness=1.5,
)


def test_a_healthy_graph_has_facts_and_no_notes():
    assert graph_notes(HEALTHY, GraphConfig()) == []
    facts = graph_facts(HEALTHY, GraphConfig(recall=0.9))
    assert facts["recall"] == "0.970 (0.9 asked)"
    assert re.findall(r"[\d.]+%?", facts["connected components"]) == ["3", "98.0%"]
    assert re.findall(r"\d+", facts["search"]) == ["15", "98", "5"]
    ordered = facts["edges inside reads of 4,096 cells"]
    assert re.findall(r"[\d.]+%", ordered) == ["10.0%", "62.5%"]
    whole = HEALTHY.model_copy(update={"recall": 1.0})
    assert graph_facts(whole, GraphConfig())["recall"] == "exact"


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        ({"recall": 0.9}, ["0.900", "0.95"]),
        ({"largest_component": 0.89}, ["3 connected components", "89.0%"]),
        ({"n_components": 11}, ["11 connected components"]),
        ({"n_isolated": 4}, ["4 cells have no neighbour"]),
        ({"hub_share": 0.2}, ["10 cells", "20%"]),
    ],
)
def test_each_fault_of_a_graph_is_noted(changes, numbers):
    (note,) = graph_notes(HEALTHY.model_copy(update=changes), GraphConfig())
    for number in numbers:
        assert number in note


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 7, 130])
def test_a_tree_is_drawn_with_its_names_however_many(n):
    from scipy.cluster.hierarchy import linkage

    tree = linkage(np.random.default_rng(0).normal(size=(n, 2)))
    drawn = merge_lines(tree, [f"cluster{i}" for i in range(n)])
    assert drawn.startswith("<svg")
    assert drawn.count("<!-- cluster") == (n if n <= 100 else drawn.count("<!-- cluster")) > 0
    assert ("<!-- (" in drawn) == (n > 100)


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
