import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrcl.errors import InputError
from scrcl.graph import spatial
from scrcl.graph.domains import coherence, majority_labels
from scrcl.graph.spatial import nearest_cells, spatial_knn
from scrcl.io.labels import CellLabels
from tests.reference_graph import coherence_of_pairs, majority_around, nearest_within


def tissue(seed, n_cells, n_samples, *, n_labels=3, side=6):
    """Cells on a small lattice, so that coordinates and distances are often equal."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(n_samples, size=n_cells).astype(np.int32)
    coordinates = rng.integers(side, size=(n_cells, 2)).astype(float)
    labels = rng.integers(n_labels, size=n_cells).astype(np.int32)
    return labels, coordinates, CellLabels(codes, tuple(map(str, range(n_samples))))


@given(st.integers(0, 2**20), st.integers(2, 40), st.integers(1, 3), st.integers(1, 45))
def test_a_cell_takes_the_most_frequent_label_of_its_nearest_cells(seed, n_cells, n_samples, n):
    labels, coordinates, samples = tissue(seed, n_cells, n_samples)
    expected = majority_around(labels, coordinates, n, samples.codes)
    assert np.array_equal(majority_labels(labels, coordinates, n, samples=samples), expected)


def test_in_a_tie_the_own_label_wins_or_else_the_lowest():
    coordinates = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1.0]])
    for own, others, expected in (
        (1, [0, 0, 1, 1], 1),
        (2, [1, 1, 0, 0], 0),
        (2, [2, 1, 1, 0], 1),
    ):
        found = majority_labels(np.array([own, *others]), coordinates, 4)
        assert found[0] == expected


def test_smoothing_uses_cells_of_the_same_slice_only():
    labels, coordinates, _ = tissue(0, 300, 1)
    both = np.concatenate([labels, (labels + 1) % 3])
    codes = np.repeat([0, 1], 300).astype(np.int32)
    twice = majority_labels(
        both, np.vstack([coordinates] * 2), 20, samples=CellLabels(codes, ("a", "b"))
    )
    assert np.array_equal(twice[:300], majority_labels(labels, coordinates, 20))
    assert np.array_equal(twice[300:], majority_labels((labels + 1) % 3, coordinates, 20))
    assert not np.array_equal(twice, majority_labels(both, np.vstack([coordinates] * 2), 20))


def test_the_only_cell_of_a_slice_keeps_its_label():
    labels, coordinates = np.array([0, 0, 0, 1]), np.zeros((4, 2))
    samples = CellLabels(np.array([0, 0, 0, 1], np.int32), ("a", "b"))
    assert majority_labels(labels, coordinates, 10, samples=samples).tolist() == [0, 0, 0, 1]
    assert majority_labels(labels, coordinates, 10).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("candidates", [1, 64, 1 << 20])
def test_block_size_changes_nothing_and_each_cell_comes_once(monkeypatch, candidates):
    labels, coordinates, samples = tissue(1, 400, 3)
    expected = nearest_within(coordinates, 9, samples.codes)
    monkeypatch.setattr(spatial, "_CANDIDATES", candidates)
    seen = np.zeros(400, int)
    for rows, ids, distances in nearest_cells(coordinates, 9, samples=samples):
        seen[rows] += 1
        assert np.array_equal(ids, expected[0][rows])
        assert np.allclose(distances, expected[1][rows])
    assert (seen == 1).all()
    assert np.array_equal(
        majority_labels(labels, coordinates, 9, samples=samples),
        majority_around(labels, coordinates, 9, samples.codes),
    )


def test_the_neighbours_of_all_cells_are_never_in_memory(monkeypatch):
    n_cells, n = 30_000, 50
    rng = np.random.default_rng(0)
    labels, coordinates = rng.integers(5, size=n_cells), rng.random((n_cells, 2))
    majority_labels(labels[:200], coordinates[:200], n)  # compiles
    monkeypatch.setattr(spatial, "_CANDIDATES", 1 << 14)
    tracemalloc.start()
    majority_labels(labels, coordinates, n)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150 * n_cells + 150 * (1 << 14) < 12 * n * n_cells


def test_coordinates_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="coordinates must"):
        majority_labels(np.zeros(3), np.array([[0, 0], [1, np.nan], [2, 2]]), 1)


@given(st.integers(0, 2**20), st.integers(2, 40), st.integers(1, 3))
def test_coherence_is_the_share_of_pairs_with_equal_labels(seed, n_cells, n_samples):
    labels, coordinates, samples = tissue(seed, n_cells, n_samples)
    labels[:: seed % 3 + 2] = -1
    ids = nearest_within(coordinates, 5, samples.codes)[0]
    found = coherence(labels, ids)
    share, by_chance = coherence_of_pairs(labels, ids)
    assert found.share == pytest.approx(share, nan_ok=True)
    assert found.by_chance == pytest.approx(by_chance)


def test_the_share_by_chance_is_that_of_shuffled_labels():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [200, 80, 20])
    ids = spatial_knn(rng.random((300, 2)), 6).ids
    shuffled = [coherence(rng.permutation(labels), ids).share for _ in range(300)]
    assert coherence(labels, ids).by_chance == pytest.approx(np.mean(shuffled), abs=0.004)
