"""How firmly partitions keep clusters apart, by hand."""

import numpy as np
import pytest

from scrcl.cluster.kept_apart import KeptApart

TYPES = np.repeat([0, 1, 2], [50, 50, 100])


def test_clusters_that_are_never_together_are_apart_and_those_that_always_are_are_not():
    kept = KeptApart(TYPES, [TYPES, np.where(TYPES == 2, 0, 1)])
    assert kept.degree(0, 2) == kept.degree(1, 2) == 1
    assert KeptApart(TYPES, [np.zeros_like(TYPES)] * 2).degree(0, 1) == 0


@pytest.mark.parametrize(("n_together", "expected"), [(5, 0.5), (50, 0.0), (0, 1.0)])
def test_one_pair_in_ten_is_a_half(n_together, expected):
    partition = np.where(TYPES == 2, 2, 0)
    partition[np.arange(50, 100 - n_together)] = 1
    # All cells of the first cluster, and this many of the second, are in one community.
    assert KeptApart(TYPES, [partition]).degree(0, 1) == pytest.approx(expected, abs=0.03)


def test_partitions_count_alike_as_logarithms():
    always, never = np.zeros_like(TYPES), TYPES
    degrees = [KeptApart(TYPES, [always] * n + [never] * (4 - n)).degree(0, 1) for n in range(5)]
    assert degrees == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_without_partitions_all_are_apart():
    assert KeptApart(TYPES, []).degree(0, 1) == 1


def test_a_merged_cluster_has_the_cells_of_both():
    partitions = [np.where(TYPES == 0, 0, 1), TYPES]
    kept = KeptApart(TYPES, partitions)
    kept.merge(0, 1)
    whole = KeptApart(np.where(TYPES == 2, 1, 0), partitions)
    assert kept.degree(0, 2) == whole.degree(0, 1)
    assert 0 < kept.degree(0, 2) < 1
