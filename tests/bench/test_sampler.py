"""The benchmark of mini-batches at toy size."""

import numpy as np
import pytest

from bench.sampler.__main__ import main
from bench.sampler.speed import relabel_numpy
from scrcl.graph.relabel import relabel_compiled


@pytest.fixture
def measure(tmp_path, data, options, read):
    def run(section):
        page = tmp_path / "sampler.md"
        main(
            options(
                cells=900, large_cells=1500, dims=8, list_cells=50, batch=200, pieces=25,
                repeats=2, steps=2, batches=4, batch_sizes=200, study_pieces=25,
                accuracy_batch=80, accuracy_lists=30, accuracy_pieces=20, accuracy_steps=8,
                seeds=0, data=data, sets="plain", work=tmp_path / "work", only=section, out=page,
            )
        )  # fmt: skip
        text, (row,) = read(page)
        return text, row["found"]

    return run


@pytest.mark.slow
def test_mini_batches_are_timed_by_size_composition_and_fanout(measure):
    text, found = measure("speed")
    rows = found["sampling"]
    assert [(row["n_cells"], row["piece_cells"], row["fanout"]) for row in rows] == [
        (n_cells, piece, fanout)
        for n_cells in (900, 1500)
        for piece in (1, 25)
        for fanout in (None, 10)
    ]
    assert all(row["seeds_per_s"]["native"] > 0 < row["times_native"]["NumPy"] for row in rows)
    uniform, pieces = rows[0], rows[2]
    assert pieces["halo_rows_per_seed"] < 0.8 * uniform["halo_rows_per_seed"]
    assert [row["of_uniform"] > 0 for row in found["stepping"]] == [True, True]
    assert "| 1,500 | 25 | 10 |" in text


@pytest.mark.slow
def test_means_of_mini_batches_of_pieces_have_larger_errors_and_drawn_cells_do_not(measure):
    text, rows = measure("moments")
    uniform, pieces, one_piece = rows
    assert [row["piece_cells"] for row in rows] == [1, 25, 200]
    for row in rows:
        # every cell once, in mini-batches of one size: their means are exact in the mean
        assert row["means"]["own target"]["bias"] < 1e-3
        assert row["means"]["sampled target"]["spread"] < 1e-3  # all cells are drawn
    spreads = [row["means"]["own target"]["spread"] for row in (uniform, pieces, one_piece)]
    assert spreads == sorted(spreads)
    assert "| 200 | uniform |" in text


@pytest.mark.slow
def test_clusters_of_both_compositions_are_scored(measure):
    text, rows = measure("accuracy")
    sides = [(row["piece_cells"], row["negatives"]) for row in rows]
    assert sides == [(1, "moments"), (1, "sampled"), (20, "moments"), (20, "sampled")]
    assert all(0 <= row["nmi"] <= 1 for row in rows)
    assert "| plain | 240 |" in text


def test_numbering_by_numpy_is_the_same_as_the_compiled_one():
    rng = np.random.default_rng(0)
    seeds, neighbours = rng.permutation(50)[:20], rng.integers(0, 50, 300)
    ours, theirs = (relabel(seeds, neighbours) for relabel in (relabel_compiled, relabel_numpy))
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))
