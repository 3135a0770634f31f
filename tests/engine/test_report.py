"""Facts and notes about the cell graph."""

import re

import pytest

from scrcl.engine.stages.cluster_facts import low_confidence_notes
from scrcl.engine.stages.graph import GraphRecord, Locality
from scrcl.engine.stages.graph_notes import graph_facts, graph_notes, graph_overview
from scrcl.engine.stages.markers import MarkersSettings, held_back_note
from scrcl.engine.words import Words
from scrcl.graph.settings import GraphSettings

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
    assert graph_notes(HEALTHY, GraphSettings(), Words()) == []
    facts = graph_facts(HEALTHY, GraphSettings(recall=0.9), Words())
    assert facts["recall"] == "0.970 (0.9 asked)"
    assert re.findall(r"[\d.]+%?", facts["connected components"]) == ["3", "98.0%"]
    assert re.findall(r"\d+", facts["search"]) == ["15", "98", "5"]
    ordered = facts["edges inside reads of 4,096 cells"]
    assert re.findall(r"[\d.]+%", ordered) == ["10.0%", "62.5%"]
    whole = HEALTHY.model_copy(update={"recall": 1.0})
    assert graph_facts(whole, GraphSettings(), Words())["recall"] == "exact"


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        (
            {"recall": 0.7, "excess": 0.0123, "backend": "partitioned"},
            ["70%", "1.2% farther", "To find 95%", "`graph.recall=0.95`"],
        ),
        ({"largest_component": 0.89}, ["3 connected components", "89.0%"]),
        ({"n_components": 11}, ["11 connected components"]),
        ({"n_isolated": 4}, ["4 cells have no neighbour"]),
        ({"hub_share": 0.2}, ["10 cells", "20%"]),
    ],
)
def test_each_fault_of_a_graph_is_noted(changes, numbers):
    (note,) = graph_notes(HEALTHY.model_copy(update=changes), GraphSettings(), Words())
    for number in numbers:
        assert number in note


def test_a_recall_that_was_asked_for_and_not_reached_is_noted():
    short = HEALTHY.model_copy(update={"recall": 0.9})
    (note,) = graph_notes(short, GraphSettings(recall=0.95), Words())
    assert "a recall of 0.900, below the 0.95 that was asked for" in note


def test_slices_that_are_kept_apart_are_no_fault_of_a_graph():
    slices = {"n_components": 14, "n_kept_apart": 14, "largest_component": 1.0}
    record = HEALTHY.model_copy(update=slices)
    assert graph_notes(record, GraphSettings(), Words()) == []
    assert graph_facts(record, GraphSettings(), Words())["connected components"].startswith(
        "14 in 14 slice"
    )
    broken = record.model_copy(update={"largest_component": 0.5})
    (note,) = graph_notes(broken, GraphSettings(), Words())
    assert "14 connected components, the largest of each slice with 50.0% of the cells" in note


def test_edges_across_slices_are_shown_once():
    record = HEALTHY.model_copy(update={"cross_batch_share": 0.25, "cross_sample_share": 0.0})
    assert graph_overview(record, Words()).endswith(
        "25.0% of them across batches, 0.0% of them across slices"
    )
    same = record.model_copy(update={"cross_batch_share": 0.0})
    assert graph_overview(same, Words(batch="slice")).count("across") == 1


def test_the_note_of_clusters_of_low_confidence_names_a_few():
    assert not list(low_confidence_notes([0.5, 0.9], Words()))
    (one,) = low_confidence_notes([0.9, 0.49], Words(prefix="3_"))
    assert one.startswith("Cluster 3_1 has a low confidence")
    (two,) = low_confidence_notes([0.9, 0.4, 0.4], Words("spot", "domain"))
    assert two.startswith("Domains 1, 2 have a low confidence: most spots")
    (many,) = low_confidence_notes([0.4] * 500, Words())
    assert "10, 11 and 488 others have a low confidence" in many


def test_genes_that_are_held_back_are_one_sentence():
    settings, words = MarkersSettings(), Words()
    expected = (
        "12 genes that more than 90% of the other cells express are listed after all others, with a log2 fold change "
        "below 2 (markers.common_fold_change)."
    )
    assert held_back_note(12, settings, words) == expected
    assert held_back_note(1, settings, words).startswith("1 gene that more than 90% of the other")
