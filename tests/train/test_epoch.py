from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl._random import stream
from scrcl.train.epoch import PartitionEpochs, UniformEpochs


def epoch_of(epochs, number):
    first = number * epochs.n_batches
    return [epochs.seeds(first + place) for place in range(epochs.n_batches)]


@settings(max_examples=100)
@given(
    st.integers(2, 200),
    st.integers(1, 12),
    st.integers(1, 80),
    st.integers(0, 3),
    st.integers(0, 50),
)
def test_an_epoch_of_pieces_visits_each_cell_once_in_batches_of_one_size(
    n_cells, n_batches, piece_cells, number, seed
):
    n_batches = min(n_batches, n_cells)
    epoch = epoch_of(PartitionEpochs(n_cells, n_batches, piece_cells, seed=seed), number)
    assert sorted(np.concatenate(epoch)) == list(range(n_cells))
    assert max(map(len, epoch)) - min(map(len, epoch)) <= 1
    assert all((np.diff(cells) > 0).all() for cells in epoch)
    assert all(cells.dtype == np.int64 for cells in epoch)


def runs_on_the_ring(cells, n_cells):
    """Lengths of the stretches of consecutive places, the last and the first being neighbours."""
    cells = sorted(cells)
    gaps = [at + 1 for at, (a, b) in enumerate(pairwise(cells)) if b != a + 1]
    runs = np.diff([0, *gaps, len(cells)]).tolist()
    if len(runs) > 1 and cells[0] == 0 and cells[-1] == n_cells - 1:
        runs[0] += runs.pop()
    return runs


def test_a_batch_joins_runs_of_rows_from_many_places():
    epochs = PartitionEpochs(4_000, 10, 50, seed=0)
    for batch in epoch_of(epochs, 0):
        runs = runs_on_the_ring(batch.tolist(), 4_000)
        assert 5 <= len(runs) <= 9
        # a batch begins and ends within a piece: two of its stretches may be shorter
        assert sum(run % 50 != 0 for run in runs) <= 2
        assert np.ptp(batch) > 1_000


def test_pieces_begin_elsewhere_in_each_epoch():
    epochs = PartitionEpochs(1_000, 5, 40, seed=0)
    seen = set()
    for number in range(6):
        cells = epoch_of(epochs, number)[0]
        begins = cells[1:][np.diff(cells) > 1] % 40
        seen.add(int(np.bincount(begins).argmax()))
    assert len(seen) > 3


def test_pieces_of_one_cell_are_a_uniform_draw():
    epochs = PartitionEpochs(400, 4, 1, seed=0)
    often = np.zeros((400, 400), np.int64)
    for number in range(150):
        for batch in epoch_of(epochs, number):
            often[np.ix_(batch, batch)] += 1
    together = often[np.arange(399), np.arange(1, 400)] / 150
    assert together.mean() == pytest.approx(99 / 399, abs=0.02)


def test_batches_are_a_function_of_the_seed_and_the_step_in_any_order():
    for make in (
        lambda seed: PartitionEpochs(300, 7, 16, seed=seed),
        lambda seed: UniformEpochs(300, 7, seed=seed),
    ):
        forward, back = make(3), make(3)
        steps = range(20)
        once = [forward.seeds(step) for step in steps]
        again = [back.seeds(step) for step in reversed(steps)][::-1]
        assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))
        assert not np.array_equal(once[0], once[7])
        assert not np.array_equal(once[0], make(4).seeds(0))


def test_uniform_batches_are_the_permutation_of_the_named_stream():
    shuffled = stream(5, "train.batch", 1).permutation(100)
    assert np.array_equal(UniformEpochs(100, 3, seed=5).seeds(3), np.sort(shuffled[:33]))
