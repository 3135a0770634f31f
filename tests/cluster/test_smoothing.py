"""Smoothed labels in a tissue: what is renumbered, joined, and said about it."""

import numpy as np
import pytest

from scrcl.cluster.find import Clusters
from scrcl.cluster.levels import Levels, Parting, Split
from scrcl.cluster.smoothing import smooth_clusters
from scrcl.graph.domains import majority_labels
from scrcl.io.labels import CellLabels


def clusters(labels, *, n=4, extra=None, nested=None, levels=None):
    labels = np.asarray(labels, np.int32)
    return Clusters(
        labels=labels,
        micro_means=np.arange(2.0 * n, dtype=np.float32)[:, None],
        cluster_of_micro=np.repeat(np.arange(n, dtype=np.int32), 2),
        micro_sizes=np.ones(2 * n, np.int64),
        cluster_means=10 * np.arange(n, dtype=np.float32)[:, None],
        cluster_tree=np.array([[0, 1, 1.0, 2], [2, 4, 2.0, 3], [3, 5, 3.0, 4]])[: n - 1],
        micro_tree=np.zeros((2 * n - 1, 4)),
        extra_cuts={k: np.asarray(cut, np.int32) for k, cut in (extra or {}).items()},
        nested=nested or {},
        notes=["a note"],
        choice=None,
        levels=levels,
    )


def speckled():
    """Labels 0, 1 and 2 of the regions of the line, and two single cells of a fourth cluster."""
    labels = np.repeat([0, 1, 2], [8, 9, 10])
    labels[[3, 20]] = 3
    return labels, np.arange(27.0)[:, None] * [1, 0]


def test_clusters_are_numbered_by_their_size_after_smoothing():
    labels, line = speckled()
    found = clusters(labels)
    after, before = smooth_clusters(found, line, 4)
    expected = majority_labels(labels, line, 4)
    sizes = np.bincount(expected, minlength=4)
    assert sizes[3] == 0
    rank = np.array([2, 1, 0, 3])  # the last region is the largest, and the fourth cluster is lost
    np.testing.assert_array_equal(after.labels, rank[expected])
    np.testing.assert_array_equal(before, rank[labels])
    np.testing.assert_array_equal(after.cluster_of_micro, rank[found.cluster_of_micro])
    assert after.cluster_means.ravel().tolist() == [20, 10, 0, 30]
    # Leaves of the tree are clusters; numbers from 4 on are merges.
    assert after.cluster_tree[:, :2].tolist() == [[2, 1], [0, 4], [3, 5]]
    assert found.cluster_tree[:, :2].tolist() == [[0, 1], [2, 4], [3, 5]]
    assert after.notes[0] == "a note"
    assert after.notes[1].startswith("Smoothing removed 1 cluster.")
    assert len(after.notes) == 2


def test_nothing_is_noted_where_no_cluster_is_lost():
    labels = np.repeat([0, 1], [8, 9])
    after, before = smooth_clusters(clusters(labels, n=2), np.arange(17.0)[:, None] * [1, 0], 2)
    np.testing.assert_array_equal(after.labels, 1 - labels)
    np.testing.assert_array_equal(before, after.labels)
    assert after.notes == ["a note"]


def test_coarser_cuts_join_the_smoothed_clusters_and_others_are_smoothed_by_themselves():
    labels, line = speckled()
    coarse = np.array([1, 1, 0, 0])[labels]
    fine = np.where(np.arange(27) % 9 == 0, 4, labels)
    other = np.arange(27) % 2  # a cut that is coarser and does not nest
    cuts, nested = {2: coarse, 5: fine, 3: other}, {2: True, 5: True, 3: False}
    after, _ = smooth_clusters(clusters(labels, extra=cuts, nested=nested), line, 4)
    assert after.nested == {2: True, 5: False, 3: False}
    np.testing.assert_array_equal(after.extra_cuts[2], np.repeat([0, 1], [17, 10]))
    smoothed = majority_labels(fine.astype(np.int32), line, 4)
    pairs = set(zip(after.extra_cuts[5].tolist(), smoothed.tolist(), strict=True))
    assert len(pairs) == len(np.unique(smoothed))
    assert (np.diff(np.bincount(after.extra_cuts[5])) <= 0).all()
    told = after.notes[2:]
    assert len(told) == 2
    assert told[0].startswith("The 5 clusters of cluster.also were smoothed separately")
    assert told[0].endswith(f"{len(np.unique(smoothed))} of them are left.")
    assert told[1].startswith("The 3 clusters")


def test_a_coarser_cut_that_lost_clusters_is_noted():
    labels, line = speckled()
    cut = np.array([0, 0, 0, 1])[labels]
    after, _ = smooth_clusters(clusters(labels, extra={2: cut}, nested={2: True}), line, 4)
    assert after.notes[-1].startswith("Smoothing removed clusters from the 2 clusters")
    assert after.notes[-1].endswith("1 of them are left.")


@pytest.mark.parametrize(
    ("merge", "split", "expected"),
    [((1, 0), (2, 2), ((1, 2), (0, 0))), ((3, 0), (3, 3), (None, None))],
)
def test_the_next_merge_and_split_name_clusters_by_their_new_numbers(merge, split, expected):
    labels, line = speckled()
    steps = [Split((9, 8), merge, 0.4), Split((5, 5), split, 0.3)]
    levels = Levels(labels, labels, np.zeros((3, 4)), *steps, partings=(Parting((1,), 0.2),))
    found = smooth_clusters(clusters(labels, levels=levels), line, 4).clusters.levels
    assert tuple(step and step.clusters for step in found[3:5]) == expected
    assert found.partings == ()
    if expected[0]:
        assert [step.cells for step in found[3:5]] == [(9, 8), (5, 5)]


def test_levels_without_a_next_step_stay_so():
    labels, line = speckled()
    levels = Levels(labels, labels, np.zeros((3, 4)), None, None, partings=())
    assert smooth_clusters(clusters(labels, levels=levels), line, 4).clusters.levels[3:5] == (
        None,
        None,
    )


def test_cells_are_smoothed_within_their_slice():
    labels = np.array([0] * 6 + [1] * 6)
    coordinates = np.tile(np.arange(6.0), 2)[:, None] * [1, 0]
    samples = CellLabels(np.repeat([0, 1], 6).astype(np.int32), ("a", "b"))
    kept = smooth_clusters(clusters(labels, n=2), coordinates, 5, samples=samples).clusters
    np.testing.assert_array_equal(kept.labels, labels)
