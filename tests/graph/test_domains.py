import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl.errors import InputError
from scrcl.graph import spatial
from scrcl.graph.domains import coherence, majority_labels
from scrcl.graph.spatial import nearest_spots, spatial_knn
from scrcl.io.labels import CellLabels
from tests.reference_graph import coherence_of_pairs, majority_around, nearest_within


def tissue(seed, n_spots, n_samples, *, n_labels=3, side=6):
    """Spots on a small lattice, so that places and distances are often equal."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(n_samples, size=n_spots).astype(np.int32)
    places = rng.integers(side, size=(n_spots, 2)).astype(float)
    labels = rng.integers(n_labels, size=n_spots).astype(np.int32)
    return labels, places, CellLabels(codes, tuple(map(str, range(n_samples))))


@settings(deadline=None)
@given(st.integers(0, 2**20), st.integers(2, 40), st.integers(1, 3), st.integers(1, 45))
def test_a_spot_takes_the_label_that_most_of_its_nearest_spots_have(seed, n_spots, n_samples, n):
    labels, places, samples = tissue(seed, n_spots, n_samples)
    expected = majority_around(labels, places, n, samples.codes)
    assert np.array_equal(majority_labels(labels, places, n, samples=samples), expected)


def test_of_equal_votes_the_own_label_wins_and_else_the_lowest():
    places = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1.0]])
    for own, others, expected in (
        (1, [0, 0, 1, 1], 1),
        (2, [1, 1, 0, 0], 0),
        (2, [2, 1, 1, 0], 1),
    ):
        found = majority_labels(np.array([own, *others]), places, 4)
        assert found[0] == expected


def test_refinement_never_looks_into_another_slice():
    labels, places, _ = tissue(0, 300, 1)
    both = np.concatenate([labels, (labels + 1) % 3])
    codes = np.repeat([0, 1], 300).astype(np.int32)
    twice = majority_labels(
        both, np.vstack([places] * 2), 20, samples=CellLabels(codes, ("a", "b"))
    )
    assert np.array_equal(twice[:300], majority_labels(labels, places, 20))
    assert np.array_equal(twice[300:], majority_labels((labels + 1) % 3, places, 20))
    assert not np.array_equal(twice, majority_labels(both, np.vstack([places] * 2), 20))


def test_a_spot_alone_in_its_slice_keeps_its_label():
    labels, places = np.array([0, 0, 0, 1]), np.zeros((4, 2))
    samples = CellLabels(np.array([0, 0, 0, 1], np.int32), ("a", "b"))
    assert majority_labels(labels, places, 10, samples=samples).tolist() == [0, 0, 0, 1]
    assert majority_labels(labels, places, 10).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("candidates", [1, 64, 1 << 20])
def test_blocks_decide_nothing_and_each_spot_comes_once(monkeypatch, candidates):
    labels, places, samples = tissue(1, 400, 3)
    expected = nearest_within(places, 9, samples.codes)
    monkeypatch.setattr(spatial, "CANDIDATES", candidates)
    seen = np.zeros(400, int)
    for rows, ids, distances in nearest_spots(places, 9, samples=samples):
        seen[rows] += 1
        assert np.array_equal(ids, expected[0][rows])
        assert np.allclose(distances, expected[1][rows])
    assert (seen == 1).all()
    assert np.array_equal(
        majority_labels(labels, places, 9, samples=samples),
        majority_around(labels, places, 9, samples.codes),
    )


def test_lists_of_all_neighbours_are_never_held(monkeypatch):
    n_spots, n = 30_000, 50
    rng = np.random.default_rng(0)
    labels, places = rng.integers(5, size=n_spots), rng.random((n_spots, 2))
    majority_labels(labels[:200], places[:200], n)  # compiles
    monkeypatch.setattr(spatial, "CANDIDATES", 1 << 14)
    tracemalloc.start()
    majority_labels(labels, places, n)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150 * n_spots + 150 * (1 << 14) < 12 * n * n_spots


def test_coordinates_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="coordinates must be finite"):
        majority_labels(np.zeros(3), np.array([[0, 0], [1, np.nan], [2, 2]]), 1)


@settings(deadline=None)
@given(st.integers(0, 2**20), st.integers(2, 40), st.integers(1, 3))
def test_coherence_is_the_share_of_pairs_of_one_label(seed, n_spots, n_samples):
    labels, places, samples = tissue(seed, n_spots, n_samples)
    labels[:: seed % 3 + 2] = -1
    ids = nearest_within(places, 5, samples.codes)[0]
    found = coherence(labels, ids)
    share, by_chance = coherence_of_pairs(labels, ids)
    assert found.share == pytest.approx(share, nan_ok=True)
    assert found.by_chance == pytest.approx(by_chance)


def test_chance_is_what_shuffled_labels_come_to():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [200, 80, 20])
    ids = spatial_knn(rng.random((300, 2)), 6).ids
    shuffled = [coherence(rng.permutation(labels), ids).share for _ in range(300)]
    assert coherence(labels, ids).by_chance == pytest.approx(np.mean(shuffled), abs=0.004)
