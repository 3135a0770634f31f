from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrcl.engine.budget import plan_budget
from scrcl.engine.config import RunConfig
from scrcl.engine.needs import stage_needs
from scrcl.engine.pipeline import STAGES
from scrcl.engine.shape import Learning, Shape
from scrcl.errors import BudgetError


def learning(**groups):
    """The method of a configuration without a sample of cells for the stability checks."""
    train = {"stop": "never", **groups.pop("train", {})}
    return Learning.of(RunConfig(train=train, **groups))


ATLAS = Shape(
    n_cells=100_000,
    values_per_row=1_000,
    n_genes=2_000,
    n_comps=100,
    n_neighbors=15,
    learning=learning(),
)
PREPARED = ("read", "stats", "features", "reduce")


def test_every_stage_has_its_needs():
    assert list(stage_needs(ATLAS)) == [stage.name for stage in STAGES]


@given(st.integers(1, 10**6), st.floats(1, 20_000), st.integers(7 * 10**8, 64 * 10**9))
def test_what_is_in_flight_fits_beside_what_is_fixed(n_cells, values_per_row, total):
    shape = replace(ATLAS, n_cells=n_cells, values_per_row=values_per_row)
    try:
        budget = plan_budget(total, shape, n_workers=4)
    except BudgetError:
        return
    assert budget.n_workers >= 1
    for need in stage_needs(shape).values():
        assert need.peak_bytes(budget.n_workers) <= total


def test_memory_and_cores_decide_workers_and_never_blocks():
    budgets = [
        plan_budget(m * 10**8, ATLAS, n_workers=n)
        for m, n in ((15, 1), (20, 4), (40, 8), (300, 64))
    ]
    assert len({(b.block_rows, b.dense_block_rows) for b in budgets}) == 1
    assert [b.n_workers for b in budgets] == sorted({b.n_workers for b in budgets})


@pytest.mark.parametrize("n_cells", [1_000, 100_000, 10**7])
@pytest.mark.parametrize("stages", [None, PREPARED])
def test_too_little_memory_is_refused_with_the_smallest_that_would_do(n_cells, stages):
    shape = replace(ATLAS, n_cells=n_cells)
    with pytest.raises(BudgetError, match=r"at least (\d+) MB") as raised:
        plan_budget(10**8, shape, stages=stages)
    smallest = int(str(raised.value).split("at least ")[1].split(" MB")[0]) * 10**6
    plan_budget(smallest, shape, stages=stages)
    with pytest.raises(BudgetError):
        plan_budget(smallest - 2 * 10**7, shape, stages=stages)


def test_the_stage_that_does_not_fit_is_named_and_those_before_it_can_be_run():
    atlas = replace(ATLAS, n_cells=10**6)
    with pytest.raises(BudgetError, match=r"in the stage \w+; got 2000 MB.*--until"):
        plan_budget(2 * 10**9, atlas)
    assert plan_budget(2 * 10**9, atlas, stages=PREPARED).n_workers >= 1


@given(st.integers(10**5, 10**7))
def test_the_passes_over_the_input_hardly_grow_with_the_cells(n_cells):
    small, large = stage_needs(ATLAS), stage_needs(replace(ATLAS, n_cells=n_cells))
    for name in ("stats", "features", "reduce"):
        assert large[name].peak_bytes(2) - small[name].peak_bytes(2) <= 25 * n_cells


def test_a_mini_batch_that_does_not_fit_is_refused_and_the_way_out_named():
    large = learning(train={"minibatch_cells": 10**5})
    with pytest.raises(BudgetError, match=r"train\.minibatch_cells"):
        plan_budget(4 * 10**9, replace(ATLAS, n_cells=10**6, learning=large))
    drawn = learning(scrcl={"negatives": "sampled", "n_negatives": 10**5})
    with pytest.raises(BudgetError, match=r"scrcl\.n_negatives"):
        plan_budget(4 * 10**9, replace(ATLAS, n_cells=10**6, learning=drawn))
    plan_budget(4 * 10**9, replace(ATLAS, n_cells=10**6))


def test_what_training_holds_hardly_grows_with_the_cells_of_an_atlas():
    few, many = (stage_needs(replace(ATLAS, n_cells=n)) for n in (2 * 10**6, 2 * 10**7))
    for name in ("train", "embed"):
        grown = many[name].least_bytes - few[name].least_bytes
        assert grown <= 18 * 10**6 * 40 + (1 << 29), name
    assert stage_needs(replace(ATLAS, n_cells=10**6))["train"].least_bytes < 2 << 30


def test_edges_take_disk_and_no_memory_beside_the_lists_they_are_made_of():
    n_cells = 10**6
    few, many = (stage_needs(replace(ATLAS, n_cells=n_cells, n_neighbors=k)) for k in (15, 65))
    assert many["graph"].least_bytes - few["graph"].least_bytes == n_cells * 8 * 50
    assert many["report"].least_bytes == few["report"].least_bytes
    assert many["report"].disk_bytes - few["report"].disk_bytes > n_cells * 12 * 100


def test_ids_and_distances_of_an_atlas_are_let_go_of_and_those_in_memory_count():
    large = replace(ATLAS, n_cells=10**7)
    graph = stage_needs(large)["graph"]
    assert graph.least_bytes < 4 * 10**9 < graph.disk_bytes
    held = stage_needs(replace(large, index_bytes=400))["graph"]
    assert held.least_bytes - graph.least_bytes == 400 * 10**7


def test_wide_features_and_embeddings_count():
    atlas = replace(ATLAS, n_cells=20_000)
    of_genes = learning(scrcl={"features": "hvg"})
    plain, wide = stage_needs(atlas), stage_needs(replace(atlas, learning=of_genes))
    more = wide["train"].fixed_bytes - plain["train"].fixed_bytes
    assert more > 20_000 * 8 * 1_500
    assert replace(ATLAS, learning=of_genes).dense_block_rows * 2_000 * 4 <= 8_000_000
    large = stage_needs(replace(atlas, learning=learning(scrcl={"dim": 1_500})))
    assert large["embed"].fixed_bytes - plain["embed"].fixed_bytes > 20_000 * 8 * 1_300


def test_smoothing_of_labels_is_counted():
    plain = stage_needs(ATLAS)
    refining = stage_needs(replace(ATLAS, refining=True))["cluster"]
    assert refining.least_bytes > plain["cluster"].least_bytes + 100 * ATLAS.n_cells
    assert refining.disk_bytes == plain["cluster"].disk_bytes + 4 * ATLAS.n_cells


def test_the_graph_view_by_itself_is_counted():
    more = stage_needs(replace(ATLAS, learning=learning(cluster={"on": "graph_view"})))[
        "embed"
    ].disk_bytes
    assert more - stage_needs(ATLAS)["embed"].disk_bytes == 4 * 128 * ATLAS.n_cells


def test_further_clusterings_batches_and_communities_are_counted():
    plain = stage_needs(ATLAS)["cluster"]
    also = stage_needs(replace(ATLAS, n_also=3))["cluster"]
    assert also.fixed_bytes - plain.fixed_bytes >= 3 * 4 * ATLAS.n_cells
    assert also.disk_bytes - plain.disk_bytes == 3 * 4 * ATLAS.n_cells
    assert stage_needs(replace(ATLAS, n_batches=2))["cluster"].fixed_bytes > plain.fixed_bytes
    assert (
        stage_needs(replace(ATLAS, graph_cells=90_000))["cluster"].flight_bytes > plain.flight_bytes
    )


def test_groups_are_merged_in_memory_that_grows_with_their_pairs():
    plain, many = (
        stage_needs(replace(ATLAS, n_groups=n))["cluster"].least_bytes for n in (300, 10_000)
    )
    assert many - plain > 2 * 10**9
