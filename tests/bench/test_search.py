"""The benchmarks of neighbour graphs and of the order of cells at toy size."""

import numpy as np
import pytest

from bench.search import order
from bench.search.__main__ import exponent, main
from bench.search.peers import recall_of


@pytest.mark.slow
def test_neighbour_searches_are_tuned_to_one_recall_and_compared_with_scrcl(
    tmp_path, options, read
):
    points = np.random.default_rng(0).normal(size=(2_000, 12)).astype(np.float32)
    np.save(tmp_path / "points.npy", points)
    page = tmp_path / "knn.md"
    main(
        options(
            points=tmp_path / "points.npy", sizes="600,1200", dims=8, k=5, queries=200, repeats=2,
            systems="scrcl:ivf,scrcl:none,ivf", out=page,
        )
    )  # fmt: skip
    text, sizes = read(page)
    assert [size["n"] for size in sizes] == [600, 1_200]
    for size in sizes:
        ours, failed, peer = size["systems"].values()
        assert (ours["backend"], ours["over_first"], len(ours["seconds_of_runs"])) == ("ivf", 1, 2)
        assert "backend" in failed["failed"]
        assert peer["reached"]
        assert 0.95 <= peer["recall"] <= 1
        assert peer["seconds"] > 0 < peer["over_first"]
        assert peer["peak_rss_bytes"] > 20e6
        assert f"| {size['n']:,} | ivf |" in text
    assert "to the power of: scrcl:ivf " in text


def test_the_recall_of_a_search_counts_true_neighbours_once_and_never_the_point_itself():
    points = np.array([[0.0], [1.0], [2.0], [4.0], [8.0]], np.float32)
    truth = {"queries": np.array([0, 3]), "squared": np.array([4.0, 9.0])}
    assert recall_of(np.array([[1, 2], [2, 1]]), points, truth) == 1
    assert recall_of(np.array([[1, 1], [3, 2]]), points, truth) == 0.5
    assert recall_of(np.array([[4, -1], [0, 4]]), points, truth) == 0


def test_the_exponent_is_the_slope_of_the_logarithms():
    assert exponent([10, 100, 1_000], [2.0, 20 * 10**0.25, 200 * 10**0.5]) == pytest.approx(1.25)
    assert exponent([10], [2.0]) is None


def test_the_order_of_cells_is_measured_by_list_and_read(tmp_path, options, read):
    rng = np.random.default_rng(0)
    centers = rng.normal(scale=5, size=(20, 6))
    np.save(
        tmp_path / "points.npy", centers[rng.integers(20, size=1_500)] + rng.normal(size=(1_500, 6))
    )
    page = tmp_path / "order.md"
    order.main(
        options(
            points=tmp_path / "points.npy", n=1000, dims=6, k=5, reads=64, lists="32,64", out=page
        )
    )
    text, found = read(page)
    rows = {one["order"]: one for one in found}
    assert list(rows) == ["order of the file", "shuffled", "lists of 32", "lists of 64"]
    assert rows["lists of 64"]["inside"] > 2 * rows["shuffled"]["inside"]
    assert "| lists of 64 | 64 |" in text
