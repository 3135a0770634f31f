import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrcl.engine.budget import BYTES_PER_CELL, LIBRARIES_BYTES, plan_budget
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
