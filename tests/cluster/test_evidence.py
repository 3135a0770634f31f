"""Valleys within batches, as the cells were before a correction."""

import numpy as np
import pytest

from scrcl.cluster.evidence import Evidence, Uncorrected
from scrcl.cluster.merging import merge_unsupported


def groups(sizes, means, seed=0):
    """Points around the means of their groups, and the number of the group of each."""
    truth = np.repeat(np.arange(len(sizes)), sizes)
    noise = np.random.default_rng(seed).normal(size=(len(truth), 6))
    return np.asarray(means, float)[truth] @ np.eye(2, 6) + noise, truth


def evidence(corrected, uncorrected, codes):
    cells = np.arange(len(codes))
    return Evidence(cells, [corrected], seed=0, uncorrected=Uncorrected(codes, [uncorrected]))


def overlaid(n_alone=80):
    """Two types that a correction laid upon each other; only the second batch has the second type."""
    sizes = (150, 150, n_alone)  # the first type of each batch, and the second type
    codes = np.repeat([0, 1, 1], sizes)
    after, truth = groups(sizes, [(0, 0), (0, 0), (0, 0)])
    before, _ = groups(sizes, [(0, 0), (0, 9), (8, 9)], seed=1)
    return after, before, codes, (truth == 2).astype(int)


def test_what_a_correction_laid_upon_each_other_is_parted_within_its_batch():
    after, before, codes, types = overlaid()
    pair = np.flatnonzero(types == 0), np.flatnonzero(types == 1)
    alone = Evidence(np.arange(len(codes)), [after], seed=0)
    assert alone.support(*pair) < 0.4
    both = evidence(after, before, codes)
    assert both.support(*pair) > 0.8
    assert merge_unsupported(alone, types, 0.5).max() + 1 == 1
    assert merge_unsupported(both, types, 0.5).max() + 1 == 2


def test_a_difference_between_batches_is_no_valley_within_them():
    after, before, codes, _ = overlaid()
    first = np.flatnonzero(codes == 0), np.flatnonzero(codes == 1)[:150]
    alone = Evidence(np.arange(len(codes)), [after], seed=0)
    assert evidence(after, before, codes).support(*first) == alone.support(*first)


@pytest.mark.parametrize(("n_alone", "is_parted"), [(14, False), (15, True)])
def test_a_batch_with_few_cells_of_a_group_shows_nothing(n_alone, is_parted):
    after, before, codes, types = overlaid(n_alone)
    pair = np.flatnonzero(types == 0), np.flatnonzero(types == 1)
    alone = Evidence(np.arange(len(codes)), [after], seed=0)
    assert (evidence(after, before, codes).support(*pair) > alone.support(*pair)) == is_parted


def test_a_valley_in_the_corrected_cells_counts_too():
    after, truth = groups((100, 100), [(0, 0), (9, 0)])
    before, _ = groups((100, 100), [(0, 0), (0, 0)], seed=1)
    found = evidence(after, before, np.tile([0, 1], 100))
    assert found.support(np.flatnonzero(truth == 0), np.flatnonzero(truth == 1)) > 0.8


def test_groups_of_too_few_cells_have_no_support():
    after, before, codes, _ = overlaid()
    assert evidence(after, before, codes).support(np.arange(3), np.arange(150, 300)) == -1


def test_batches_weigh_by_their_smaller_group():
    sizes = (60, 200, 90, 30)
    codes = np.repeat([0, 0, 1, 1], sizes)
    types = np.repeat([0, 1, 0, 1], sizes)
    before, _ = groups(sizes, [(0, 0), (3, 0), (0, 9), (9, 9)])
    pair = np.flatnonzero(types == 0), np.flatnonzero(types == 1)
    found = evidence(np.zeros_like(before), before, codes)
    parts = [
        Evidence(np.arange(380), [before], seed=0).support(
            *(each[codes[each] == batch] for each in pair)
        )
        for batch in (0, 1)
    ]
    assert abs(parts[0] - parts[1]) > 0.2
    assert found.support(*pair) == pytest.approx(np.average(parts, weights=[60, 30]))


def test_leading_components_and_some_cells_are_those_of_each_space():
    spaces = [np.arange(12.0).reshape(4, 3), np.arange(8.0).reshape(4, 2)]
    whole = Uncorrected(np.array([0, 1, 0, 1]), spaces)
    first = whole.leading(2)
    assert [space.tolist() for space in first.spaces] == [
        spaces[0][:, :2].tolist(),
        spaces[1].tolist(),
    ]
    assert first.codes.tolist() == [0, 1, 0, 1]
    some = whole.of(np.array([True, False, True, False]))
    assert some.codes.tolist() == [0, 0]
    assert [space.tolist() for space in some.spaces] == [space[::2].tolist() for space in spaces]


def test_the_valley_within_batches_is_known_by_itself():
    after, before, codes, types = overlaid()
    pair = np.flatnonzero(types == 0), np.flatnonzero(types == 1)
    both = evidence(after, before, codes)
    assert both.within_batches(*pair) == both.support(*pair)
    assert both.within_batches(pair[0], pair[1][:14]) == -1
    assert Evidence(np.arange(len(codes)), [after], seed=0).within_batches(*pair) == -1
