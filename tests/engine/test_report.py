import pytest

from scrcl.engine.config import GraphConfig
from scrcl.engine.report_graph import graph_facts, graph_notes

HEALTHY = {
    "n_neighbors": 15,
    "backend": "ivf",
    "recall": 0.97,
    "n_nodes": 10_000,
    "n_edges": 90_000,
    "mean_degree": 18.0,
    "median_degree": 17,
    "low_degree": 15,
    "high_degree": 40,
    "max_degree": 90,
    "n_isolated": 0,
    "n_hubs": 10,
    "hub_share": 0.004,
    "n_alone": 0,
    "search": {"lists": 98, "lists_searched": 5},
    "locality": {
        "rows": 4096,
        "edges_inside": 0.1,
        "halo_rows": 12.0,
        "edges_inside_ordered": 0.625,
        "halo_rows_ordered": 3.0,
    },
    "n_components": 3,
    "largest_component": 0.98,
    "hubness": 1.5,
}


def test_of_a_healthy_graph_there_are_facts_and_no_notes():
    assert graph_notes(HEALTHY, GraphConfig()) == []
    facts = graph_facts(HEALTHY, GraphConfig(recall=0.9))
    assert facts["recall"] == "0.970 (0.9 asked)"
    assert facts["parts"] == "3, the largest with 98.0%"
    assert "(lists 98, lists searched 5)" in facts["search"]
    ordered = facts["edges inside reads of 4,096 cells"]
    assert ordered == "10.0% as they came, 62.5% ordered by partition"
    assert graph_facts({**HEALTHY, "recall": 1.0}, GraphConfig())["recall"] == "exact"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recall": 0.9}, "0.900, under the 0.95"),
        ({"largest_component": 0.89}, "3 parts, the largest with 89.0%"),
        ({"n_components": 11}, "11 parts"),
        ({"n_isolated": 4}, "4 cells have no neighbour"),
        ({"hub_share": 0.2}, "10 cells hold 20%"),
    ],
)
def test_what_is_not_as_it_should_be_is_noted(changes, said):
    (note,) = graph_notes({**HEALTHY, **changes}, GraphConfig())
    assert said in note
