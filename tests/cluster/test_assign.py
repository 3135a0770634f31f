"""New cells: clusters of blocks, and how familiar cells are."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from scrcl.cluster import assign as module
from scrcl.cluster.assign import assign, assign_blocks, familiarity, nearness

N_DIMS = 4


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(53, N_DIMS)).astype(np.float32)


@pytest.fixture
def run():
    """Component scores of a run's cells, and their neighbours."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(40, N_DIMS)), rng.integers(0, 40, (40, 6))


def cosines(rows, others):
    """Mean cosine between each row and its own others, cell by cell."""
    return [
        np.mean([row @ one / np.linalg.norm(row) / np.linalg.norm(one) for one in near])
        for row, near in zip(rows, others, strict=True)
    ]


@pytest.mark.parametrize("block_values", [1, 30, 1 << 20])
def test_blocks_are_assigned_as_all_points_are(points, monkeypatch, block_values):
    monkeypatch.setattr(module, "BLOCK_VALUES", block_values)
    means, clusters = points[[3, 9, 20, 31, 40]], np.array([1, 0, 0, 2, 1])
    cluster_means = points[[5, 6, 7]]
    found = assign_blocks(points, means, clusters, cluster_means)
    whole = assign(points, means, clusters, cluster_means)
    np.testing.assert_array_equal(found.labels, clusters[cdist(points, means).argmin(axis=1)])
    np.testing.assert_array_equal(found.labels, whole.labels)
    np.testing.assert_array_equal(found.margin, whole.margin)


@pytest.mark.parametrize("block_values", [1, 100, 1 << 20])
def test_familiarity_is_the_share_of_the_runs_cells_that_are_at_most_as_similar(
    points, run, monkeypatch, block_values
):
    monkeypatch.setattr(module, "BLOCK_VALUES", block_values)
    scores, ids = run
    near = np.random.default_rng(2).integers(0, 40, (len(points), 3))
    subset = np.arange(1, 40, 2)
    found = familiarity(points, near, scores, ids, subset)
    usual = np.array(cosines(scores[subset], scores[ids[subset]]))
    expected = [(usual <= one).mean() for one in cosines(points, scores[near])]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert len(np.unique(found)) > 10


def test_a_cell_of_the_run_is_as_familiar_as_itself(run):
    scores, ids = run
    found = familiarity(scores, ids, scores, ids, np.arange(40))
    assert sorted(found) == pytest.approx(np.arange(1, 41) / 40)


@pytest.mark.parametrize("block_values", [N_DIMS, 5 * N_DIMS, 1 << 20])
def test_nearness_is_a_rank_of_distances_in_the_domain(points, run, monkeypatch, block_values):
    monkeypatch.setattr(module, "BLOCK_VALUES", block_values)
    scores, means = run[0], run[0][:3]
    labels, of_run = np.arange(len(points)) % 3, np.arange(40) % 2  # none of the run is in domain 2
    found = nearness(points, labels, means, scores, of_run)
    there = np.linalg.norm(scores - means[of_run], axis=1)
    here = np.linalg.norm(points - means[labels], axis=1)
    expected = [
        (there[of_run == label] >= away).mean() if label < 2 else 0
        for label, away in zip(labels, here, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)
