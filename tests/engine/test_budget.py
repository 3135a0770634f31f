import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrcl._contract import Shape
from scrcl._sizes import enough_bytes
from scrcl.engine.budget import least_memory, plan_budget
from scrcl.engine.config import RunConfig
from scrcl.engine.memory import block_rows, dense_block_rows
from scrcl.engine.stages import STAGES
from scrcl.errors import BudgetError
from scrcl.prep.gram import gram_seconds
from scrcl.train.methods.scrcl.memory import BLOCK_ANCHORS

ATLAS = Shape(
    n_cells=100_000,
    n_vars=20_000,
    values_per_row=1_000,
    n_genes=2_000,
    n_comps=100,
    n_neighbors=15,
)
TRAIN = {"minibatch_cells": 4_096, "stop": "never"}
PREPARED = STAGES[:4]
LOADED_MINIBATCHES = 4
"""Mini-batches whose rows are in memory: in use, read ahead, and kept by the allocator."""


def settings(*, train=None, **groups):
    return RunConfig(train={**TRAIN, **(train or {})}, **groups)


PLAIN = settings()


def estimate(name, shape=ATLAS, config=PLAIN):
    stage = next(stage for stage in STAGES if stage.name == name)
    return stage.estimate(shape, config)


def test_every_stage_has_a_name_of_its_own_and_an_estimate():
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    least = [stage.estimate(ATLAS, PLAIN).least_bytes for stage in STAGES]
    assert min(least) > 400 * 10**6
    assert least_memory(STAGES, ATLAS, PLAIN) == enough_bytes(max(least))


@given(st.integers(1, 10**6), st.floats(1, 20_000), st.integers(7 * 10**8, 64 * 10**9))
def test_loaded_blocks_fit_with_the_memory_that_is_held_all_along(n_cells, values_per_row, total):
    shape = replace(ATLAS, n_cells=n_cells, values_per_row=values_per_row)
    try:
        budget = plan_budget(total, STAGES, shape, PLAIN, n_workers=4)
    except BudgetError:
        return
    assert budget.n_workers >= 1
    for stage in STAGES:
        assert stage.estimate(shape, PLAIN).peak_bytes(budget.n_workers) <= total


def test_memory_and_cores_decide_workers_and_never_blocks():
    budgets = [
        plan_budget(m * 10**8, STAGES, ATLAS, PLAIN, n_workers=n)
        for m, n in ((15, 1), (20, 4), (40, 8), (300, 64))
    ]
    assert {(b.block_rows, b.dense_block_rows) for b in budgets} == {
        (block_rows(ATLAS), dense_block_rows(ATLAS, PLAIN))
    }
    assert [b.n_workers for b in budgets] == sorted({b.n_workers for b in budgets})


@pytest.mark.parametrize("total", [10**9, 2 * 10**9, 4 * 10**9, 7 * 10**9])
def test_as_many_blocks_are_loaded_as_fit(total):
    n_workers = plan_budget(total, PREPARED, ATLAS, PLAIN, n_workers=64).n_workers
    shared = [e for e in (stage.estimate(ATLAS, PLAIN) for stage in PREPARED) if e.shared]
    assert max(each.peak_bytes(n_workers) for each in shared) <= total
    assert n_workers == 64 or max(each.peak_bytes(n_workers + 1) for each in shared) > total


@pytest.mark.parametrize(("n_cores", "n_workers"), [(1, 2), (3, 4), (7, 8), (64, 8)])
def test_without_a_number_there_is_a_worker_more_than_cores_and_at_most_eight(
    monkeypatch, n_cores, n_workers
):
    monkeypatch.setattr("scrcl.engine.budget.cores", lambda: n_cores)
    assert plan_budget(10**12, STAGES, ATLAS, PLAIN).n_workers == n_workers


def test_to_stop_earlier_is_advised_only_where_that_keeps_work():
    names = [stage.name for stage in STAGES]
    for until, stage in enumerate(STAGES):
        needed = stage.estimate(ATLAS, PLAIN).least_bytes
        if needed <= max((s.estimate(ATLAS, PLAIN).least_bytes for s in STAGES[:until]), default=0):
            continue
        with pytest.raises(BudgetError) as raised:
            plan_budget(needed - 1, STAGES[: until + 1], ATLAS, PLAIN)
        before = STAGES[until - 1] if until else None
        advised = re.search(r"--until (\w+)", str(raised.value))
        if before is None or before.is_cheap:
            assert advised is None
        else:
            assert advised[1] == names[until - 1]


@pytest.mark.parametrize("n_cells", [1_000, 100_000, 10**7])
@pytest.mark.parametrize("stages", [STAGES, PREPARED], ids=["all", "prepared"])
def test_too_little_memory_is_refused_with_the_smallest_that_is_enough(n_cells, stages):
    shape = replace(ATLAS, n_cells=n_cells)
    with pytest.raises(BudgetError, match=r"at least \d+ MB") as raised:
        plan_budget(10**8, stages, shape, PLAIN)
    smallest = int(re.search(r"at least (\d+) MB", str(raised.value))[1]) * 10**6
    plan_budget(smallest, stages, shape, PLAIN)
    with pytest.raises(BudgetError):
        plan_budget(smallest - 2 * 10**7, stages, shape, PLAIN)


def test_the_stage_that_does_not_fit_is_named_and_those_before_it_can_be_run():
    atlas = replace(ATLAS, n_cells=10**6)
    with pytest.raises(BudgetError, match="1500 MB") as raised:
        plan_budget(15 * 10**8, STAGES, atlas, PLAIN)
    named, until = re.search(r"stage (\w+);.*--until (\w+)", str(raised.value)).groups()
    names = [stage.name for stage in STAGES]
    assert enough_bytes(estimate(named, atlas).least_bytes) == least_memory(STAGES, atlas, PLAIN)
    kept = STAGES[: names.index(until) + 1]
    assert kept[:4] == PREPARED
    assert plan_budget(15 * 10**8, kept, atlas, PLAIN).n_workers >= 1
    with pytest.raises(BudgetError):
        plan_budget(15 * 10**8, STAGES[: len(kept) + 1], atlas, PLAIN)


@given(st.integers(10**5, 10**7))
def test_the_passes_over_the_input_hardly_grow_with_the_cells(n_cells):
    large = replace(ATLAS, n_cells=n_cells)
    for name in ("stats", "features", "reduce"):
        grown = estimate(name, large).peak_bytes(2) - estimate(name).peak_bytes(2)
        assert grown <= 42 * n_cells


def test_a_mini_batch_that_does_not_fit_is_refused_and_the_way_out_named():
    atlas = replace(ATLAS, n_cells=10**6)
    with pytest.raises(BudgetError, match=r"train\.minibatch_cells"):
        plan_budget(4 * 10**9, STAGES, atlas, settings(train={"minibatch_cells": 10**5}))
    drawn = settings(scrcl={"negatives": "sampled", "n_negatives": 10**5})
    with pytest.raises(BudgetError, match=r"scrcl\.n_negatives"):
        plan_budget(4 * 10**9, STAGES, atlas, drawn)
    plan_budget(4 * 10**9, STAGES, atlas, PLAIN)


@given(st.integers(100, 10**7), st.integers(16, 10**5))
def test_a_step_never_holds_more_than_all_cells(n_cells, batch_cells):
    config = settings(train={"minibatch_cells": batch_cells})
    step = estimate("train", replace(ATLAS, n_cells=n_cells), config).block_bytes
    embedded = min(n_cells, BLOCK_ANCHORS) * 4 * 16 * 128
    most = n_cells * (4 * 16 * 128 + LOADED_MINIBATCHES * (8 * 100 + 90 * 21)) + embedded
    assert min(batch_cells, n_cells) * 0.6 * 16 * 100 <= step <= most


def test_the_subset_that_decides_when_to_stop_is_counted():
    atlas = replace(ATLAS, n_cells=10**6)
    few, wide = {"minibatch_cells": 64}, {"features": "hvg"}
    stops = settings(train={**few, "stop": "auto", "stop_cells": 2_000}, scrcl=wide)
    more = (
        estimate("train", atlas, stops).block_bytes
        - estimate("train", atlas, settings(train=few, scrcl=wide)).block_bytes
    )
    assert 2_000 * 20 * 4 * 2_000 < more < 2_000 * 25 * 4 * 2_000


def test_the_embeddings_of_a_step_are_seeds_and_a_block_of_anchors_as_training_cuts_them():
    atlas = replace(ATLAS, n_cells=10**7)
    narrow, wide = (
        estimate("train", atlas, settings(scrcl={"dim": dim})).block_bytes for dim in (128, 129)
    )
    assert (wide - narrow) / (4 * 16) == 4_096 + BLOCK_ANCHORS


def test_what_training_holds_hardly_grows_with_the_cells_of_an_atlas():
    few, many = (replace(ATLAS, n_cells=n) for n in (2 * 10**6, 2 * 10**7))
    for name in ("train", "embed"):
        grown = estimate(name, many).least_bytes - estimate(name, few).least_bytes
        assert grown <= 18 * 10**6 * 40 + (1 << 29), name
    assert estimate("train", replace(ATLAS, n_cells=10**6)).least_bytes < 2 << 30


def test_edges_take_disk_and_no_memory_beyond_the_lists_they_are_made_of():
    n_cells = 10**6
    few, many = (replace(ATLAS, n_cells=n_cells, n_neighbors=k) for k in (15, 65))
    more = estimate("graph", many).least_bytes - estimate("graph", few).least_bytes
    assert more == n_cells * 8 * 50
    assert estimate("report", many).least_bytes == estimate("report", few).least_bytes
    more = estimate("report", many).disk_bytes - estimate("report", few).disk_bytes
    assert more > n_cells * 12 * 100


def test_ids_and_distances_of_an_atlas_are_released_and_an_index_in_memory_counts():
    large = replace(ATLAS, n_cells=10**7)
    graph = estimate("graph", large)
    assert graph.least_bytes < 4 * 10**9 < graph.disk_bytes
    held = estimate("graph", large, settings(graph={"backend": "ivf"}))
    assert held.least_bytes - graph.least_bytes == (4 * 100 + 8) * 10**7


def test_wide_features_and_embeddings_count():
    atlas, genes = replace(ATLAS, n_cells=20_000), settings(scrcl={"features": "hvg"})
    more = estimate("train", atlas, genes).fixed_bytes - estimate("train", atlas).fixed_bytes
    assert more > 20_000 * 8 * 1_500
    assert dense_block_rows(ATLAS, genes) * 2_000 * 4 <= 8_000_000
    large = estimate("embed", atlas, settings(scrcl={"dim": 1_500}))
    assert large.fixed_bytes - estimate("embed", atlas).fixed_bytes > 20_000 * 8 * 1_300


def test_products_of_genes_take_time_by_the_square_of_the_genes_of_a_cell():
    assert gram_seconds(1_000, 120, 2_000) == pytest.approx(4 * gram_seconds(1_000, 60, 2_000))
    # Rows that are nearly full are multiplied by BLAS, at a cost of all genes.
    assert gram_seconds(1_000, 1_500, 2_000) == gram_seconds(1_000, 2_000, 2_000)
    shape = replace(ATLAS, values_per_row=200.0, n_vars=2_000, n_genes=2_000)
    products = gram_seconds(shape.n_cells, 200, 2_000)
    assert estimate("features", shape).shared_seconds > products > 1


def test_smoothing_of_labels_is_counted():
    plain = estimate("cluster")
    smoothing = estimate("cluster", config=settings(spatial=True))
    assert smoothing.least_bytes > plain.least_bytes + 100 * ATLAS.n_cells
    assert smoothing.disk_bytes == plain.disk_bytes + 4 * ATLAS.n_cells


def test_a_file_of_the_graph_view_alone_is_counted():
    more = estimate("embed", config=settings(cluster={"on": "graph_view"})).disk_bytes
    assert more - estimate("embed").disk_bytes == 4 * 128 * ATLAS.n_cells


def test_extra_cuts_batches_and_communities_are_counted():
    plain = estimate("cluster")
    cuts = estimate("cluster", config=settings(cluster={"also": (5, 6, 7)}))
    assert cuts.fixed_bytes - plain.fixed_bytes >= 3 * 4 * ATLAS.n_cells
    assert cuts.disk_bytes - plain.disk_bytes == 3 * 4 * ATLAS.n_cells
    twice = estimate("batches", replace(ATLAS, n_cells=2 * ATLAS.n_cells)).fixed_bytes
    assert twice - estimate("batches").fixed_bytes >= 48 * ATLAS.n_cells
    more = estimate("cluster", config=settings(cluster={"vote_cells": 90_000}))
    assert more.block_bytes > plain.block_bytes
    assert more.seconds > plain.seconds


def test_a_vote_is_counted_as_it_was_measured():
    cluster = next(stage for stage in STAGES if stage.name == "cluster")
    measured = 1.13e9  # of a whole run of 100,000 cells
    assert cluster.estimate(ATLAS, RunConfig()).least_bytes >= measured


def test_micro_clusters_are_merged_in_memory_that_grows_with_their_pairs():
    plain, many = (
        estimate("cluster", config=settings(cluster={"n_micro": n})).least_bytes
        for n in (300, 10_000)
    )
    assert many - plain > 2 * 10**9


MEASURED = sorted(
    (Path(__file__).parents[2] / "bench/results/scale").glob("2026-11-30-2cpu-[13]m.jsonl")
)
SMALL = ("stats", "links", "markers", "names", "subclusters", "doublets", "pseudotime", "report")
"""Stages whose memory is hardly that of blocks or mini-batches, which vary with what is searched and trained."""


@pytest.mark.parametrize("page", MEASURED, ids=lambda path: path.stem)
def test_no_stage_takes_much_more_than_planned_and_small_ones_no_much_less(page):
    row = json.loads(page.read_text().splitlines()[0])
    measured = {stage["name"]: stage["peak_rss_bytes"] for stage in row["stages"]}
    stored = row["stages"][0]["stored_values"]
    shape = Shape(
        n_cells=row["n_cells"],
        n_vars=2_000,
        values_per_row=stored / row["n_cells"],
        n_genes=2_000,
        n_comps=100,
        n_neighbors=15,
        input_bytes=row["input_bytes"],
    )
    config = RunConfig(n_clusters=10, memory="3GB")
    n_workers = plan_budget(config.memory, STAGES, shape, config, n_workers=3).n_workers
    shares = {
        stage.name: measured[stage.name] / stage.estimate(shape, config).peak_bytes(n_workers)
        for stage in STAGES
    }
    assert {name: share for name, share in shares.items() if share > 1.1} == {}
    assert {name: shares[name] for name in SMALL if shares[name] < 0.77} == {}


def test_batches_are_tested_more_often_than_columns_that_nobody_named():
    plain, named = estimate("batches"), estimate("batches", replace(ATLAS, n_batches=4))
    of_a_test = plain.read_bytes
    assert named.read_bytes >= 3 * of_a_test + 4 * ATLAS.n_cells * ATLAS.n_neighbors
    assert named.seconds > 3 * (plain.seconds - 1)
    assert named.fixed_bytes > plain.fixed_bytes
    for name in ("links", "names", "subclusters", "pseudotime"):  # scikit-learn stays loaded
        more = estimate(name, replace(ATLAS, n_batches=4)).fixed_bytes
        assert more == estimate(name).fixed_bytes + 110 * 10**6
