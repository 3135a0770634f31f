"""Merges by given depths of valleys: what counts, and in which order."""

import math
from itertools import combinations

import numpy as np
import pytest

from scrcl.cluster.merging import join_order, merge_unsupported


class Depths:
    """Evidence whose depths are given by pairs of types; those of joined types are the lowest that can be measured."""

    def __init__(self, types, points, depths):
        self.types, self.spaces = np.asarray(types), [np.asarray(points, float)]
        self.within = -1.0
        self.depths = {frozenset(pair): depth for pair, depth in depths.items()}

    def support(self, a, b):
        pairs = {frozenset((i, j)) for i in self.types[a] for j in self.types[b]}
        depths = [self.depths[pair] for pair in pairs]
        return min((depth for depth in depths if depth >= 0), default=depths[0])

    def within_batches(self, a, b):
        return self.within

    def means(self, group):
        return [space[group].mean(axis=0) for space in self.spaces]


def line(sizes, depths, at=None):
    """Types of these sizes at places on a line."""
    types = np.repeat(np.arange(len(sizes)), sizes)
    places = np.arange(len(sizes)) if at is None else np.asarray(at)
    return Depths(types, places[types][:, None], depths), types


def all_pairs(n, depth, **others):
    return {(i, j): depth for i in range(n) for j in range(i)} | others


@pytest.mark.parametrize("n_small", [3, 10, 200])
def test_support_weighs_the_depth_by_cells_and_what_other_pairs_show_by_five(n_small):
    depths = all_pairs(4, 0.9) | {(1, 0): 0.3}
    evidence, types = line((n_small, 300, 300, 300), {(i, j): d for (i, j), d in depths.items()})
    # Of six near pairs one has no valley; two more are added, one of them without.
    share = 1 - 2 * (1 + 1) / (6 + 2)
    support = (n_small * 0.3 + 5 * share) / (n_small + 5)
    assert merge_unsupported(evidence, types, support - 1e-9).tolist() == [0, 1, 2, 3]
    assert merge_unsupported(evidence, types, support + 1e-9).tolist() == [0, 0, 1, 2]


def test_pairs_that_cannot_be_measured_say_nothing_about_others_and_merge_first():
    depths = all_pairs(4, 0.9) | {(3, 2): -1.0, (3, 1): -1.0, (3, 0): -1.0}
    evidence, types = line((20, 20, 20, 2), depths)
    share = 1 - 2 * 1 / (3 + 2)
    support = (20 * 0.9 + 5 * share) / 25
    # The fourth joins the nearest whatever the threshold above -1; the rest stay.
    assert merge_unsupported(evidence, types, 0.0).tolist() == [0, 1, 2, 2]
    assert merge_unsupported(evidence, types, -1).tolist() == [0, 1, 2, 3]
    assert merge_unsupported(evidence, types, support - 1e-9).max() == 2


@pytest.mark.parametrize(("depth", "is_shallow"), [(0.49, True), (0.5, False), (0.0, True)])
def test_a_depth_below_a_half_is_shallow(depth, is_shallow):
    evidence, types = line((10, 10), {(0, 1): depth})
    share = max(1 - 2 * (is_shallow + 1) / 3, 0)
    support = (10 * depth + 5 * share) / 15
    assert merge_unsupported(evidence, types, support + 1e-9).tolist() == [0, 0]
    assert merge_unsupported(evidence, types, support - 1e-9).tolist() == [0, 1]


def test_of_equal_supports_the_nearest_means_are_merged():
    evidence, types = line((50, 50, 50, 50), all_pairs(4, 0.2), at=[0, 10, 13, 30])
    steps = [tuple(pair) for pair in join_order(evidence, types, evidence.spaces[0], 0.0)]
    assert steps[0] == (1, 2)
    # Depths of a half are shallow for all, so nothing stops at a low threshold.
    assert merge_unsupported(evidence, types, 0.5).max() == 0


def test_only_the_four_nearest_clusters_are_candidates():
    depths = all_pairs(7, 0.9) | {(6, 0): 0.0}
    evidence, types = line((50,) * 7, depths)
    assert merge_unsupported(evidence, types, 0.5).tolist() == list(range(7))
    evidence, types = line((50,) * 5, all_pairs(5, 0.9) | {(4, 0): 0.0})
    assert merge_unsupported(evidence, types, 0.5).tolist() == [0, 1, 2, 3, 0]


def barrier(depth):
    return -math.log(max(1 - max(depth, 0), 1e-3))


@pytest.mark.parametrize("size_power", [0.0, 0.5, 1.0])
def test_the_next_join_has_the_least_barrier_times_damped_distance(size_power):
    rng = np.random.default_rng(0)
    for _ in range(20):
        n = 5
        sizes, at = rng.integers(5, 200, n), rng.normal(size=n) * 5
        depths = {(i, j): rng.uniform(-0.2, 1.05) for i in range(n) for j in range(i)}
        evidence, types = line(sizes, depths, at)
        groups = {i: np.flatnonzero(types == i) for i in range(n)}
        expected = []
        while len(groups) > 1:
            costs = []
            for (a, of_a), (b, of_b) in combinations(groups.items(), 2):
                n_a, n_b = len(of_a), len(of_b)
                away = evidence.spaces[0][of_a].mean() - evidence.spaces[0][of_b].mean()
                damped = away**2 * (n_a * n_b / (n_a + n_b)) ** size_power
                costs.append((barrier(evidence.support(of_a, of_b)) * damped, damped, (a, b)))
            a, b = min(costs)[-1]
            groups[a] = np.union1d(groups[a], groups.pop(b))
            expected.append((a, b))
        assert join_order(evidence, types, evidence.spaces[0], size_power) == expected


def test_rare_types_are_joined_first():
    evidence, types = line((200, 200, 10, 10), all_pairs(4, 0.9) | {(1, 0): 0.0})
    plain = join_order(evidence, types, evidence.spaces[0], 0.5)
    assert plain[0] == (0, 1)
    order = join_order(evidence, types, evidence.spaces[0], 0.5, n_rare=2)
    assert [max(pair) for pair in order] == [3, 2, 1]


def test_a_valley_counts_only_where_partitions_keep_clusters_apart():
    evidence, types = line((100, 100, 100), all_pairs(3, 0.9))
    apart = types
    together = np.where(types == 2, 1, 0)
    assert merge_unsupported(evidence, types, 0.5, partitions=[apart] * 4).max() == 2
    assert merge_unsupported(evidence, types, 0.5, partitions=[together] * 4).tolist() == [0, 0, 1]
    # The first two are in one community in half of the partitions: the degree is half of never.
    half = [apart, together]
    assert merge_unsupported(evidence, types, 0.49, partitions=half).max() == 2
    assert merge_unsupported(evidence, types, 0.51, partitions=half).max() == 1
    # Partitions of corrected cells do not see what shows within batches.
    evidence.within = 0.8
    assert merge_unsupported(evidence, types, 0.79, partitions=[together]).max() == 2
    assert merge_unsupported(evidence, types, 0.81, partitions=[together]).max() == 1


def test_what_partitions_keep_together_is_counted_again_for_merged_clusters():
    # The second cluster, half of which is in the community of the third, joins the first: one pair in four is together.
    evidence, types = line((100, 100, 100), all_pairs(3, 0.9) | {(1, 0): 0.0})
    partition = np.where(types == 2, 1, 0)
    partition[150:200] = 1
    degree = math.log(0.26) / math.log(0.01)
    merged = [
        merge_unsupported(evidence, types, degree + more, partitions=[partition]).tolist()
        for more in (-1e-6, 1e-6)
    ]
    assert merged == [[0, 0, 1], [0, 0, 0]]
