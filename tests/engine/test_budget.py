import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrcl.engine.budget import BYTES_PER_CELL, LIBRARIES_BYTES, batch_bytes, plan_budget
from scrcl.errors import BudgetError


@given(st.integers(1, 300_000), st.floats(1, 5_000), st.integers(16 * 10**8, 64 * 10**9))
def test_blocks_in_flight_fit_beside_what_is_fixed(n_cells, values_per_row, total):
    try:
        budget = plan_budget(total, n_cells=n_cells, values_per_row=values_per_row, n_workers=4)
    except BudgetError:
        return
    in_flight = budget.block_rows * budget.n_workers * values_per_row * 12 * 5
    assert in_flight <= total - LIBRARIES_BYTES - BYTES_PER_CELL * n_cells


def test_more_memory_never_means_smaller_blocks():
    rows = [
        plan_budget(m * 10**9, n_cells=10**5, values_per_row=2e3, n_workers=2).block_rows
        for m in (1, 2, 4, 8, 16)
    ]
    assert rows == sorted(rows)


def test_too_little_memory_is_refused_with_the_smallest_that_would_do():
    with pytest.raises(BudgetError, match=r"at least (\d+) MB") as raised:
        plan_budget(10**8, n_cells=1_000, values_per_row=1_000)
    smallest = int(str(raised.value).split("at least ")[1].split(" MB")[0])
    plan_budget(smallest * 10**6, n_cells=1_000, values_per_row=1_000)


def test_a_batch_that_does_not_fit_is_refused_and_the_way_out_named():
    step = batch_bytes(10**6, batch_cells=10**5, n_neighbors=15, dim=128, n_features=100)
    with pytest.raises(BudgetError, match=r"train\.batch_cells"):
        plan_budget(4 * 10**9, n_cells=10**6, values_per_row=1_000, step_bytes=step)
    step = batch_bytes(10**6, batch_cells=2_000, n_neighbors=15, dim=128, n_features=100)
    plan_budget(4 * 10**9, n_cells=10**6, values_per_row=1_000, step_bytes=step)


@given(st.integers(100, 10**7), st.integers(16, 10**5))
def test_a_batch_never_holds_more_than_all_cells(n_cells, batch_cells):
    shape = {"n_neighbors": 15, "dim": 128, "n_features": 100}
    held = batch_bytes(n_cells, batch_cells=batch_cells, **shape)
    assert held <= n_cells * 4 * (16 * 128 + 400)
    assert held >= min(batch_cells, n_cells) * 0.6 * 4 * (16 * 128 + 400)
