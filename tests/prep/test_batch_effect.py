import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from scrcl.prep.batch_effect import (
    FEW_SHARED,
    MIXED,
    BatchEffect,
    _one_apart,
    are_random,
    groups_that_mix,
    measure_effect,
    measure_one,
    mixing_in_clusters,
    share_joined,
    what_keeps_apart,
)
from scrcl.prep.batch_subset import cells_of_every_batch


def near(points, k=15):
    return NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)[1][:, 1:]


@pytest.fixture
def cells():
    """Six types in eight dimensions, 900 cells."""
    rng = np.random.default_rng(0)
    types = rng.integers(6, size=900)
    return rng.normal(size=(6, 8))[types] * 8 + rng.normal(size=(900, 8)), types


def naive_mixing(ids, codes, asked):
    """Mixing and its error, cell by cell: others among the five nearest, over others among fifteen."""
    seen = np.array([np.mean([codes[j] != codes[i] for j in ids[i][:5]]) for i in asked])
    wide = np.array([np.mean([codes[j] != codes[i] for j in ids[i][:15]]) for i in asked])
    mixing = seen.mean() / wide.mean()
    # The error of a ratio of means (the delta method).
    return mixing, np.std(seen - mixing * wide) / wide.mean() / len(asked) ** 0.5


def with_others_around(ids, codes):
    """Cells whose fifteen nearest have a quarter of the other batches that chance gives."""
    shares = [np.mean(codes[near[:15]] != code) for near, code in zip(ids, codes, strict=True)]
    by_chance = [np.mean(codes != code) for code in codes]
    return np.flatnonzero(np.array(shares) > 0.25 * np.array(by_chance))


@pytest.mark.parametrize("shift", [0, 1, 2.5])
def test_the_effect_is_that_of_counting_neighbours(cells, shift):
    codes = np.random.default_rng(1).choice(3, size=900, p=[0.6, 0.3, 0.1])
    codes[cells[1] == 0] = 0
    ids = near(cells[0] + shift * codes[:, None], 20)  # more than are used
    asked = with_others_around(ids, codes)
    assert 0 < len(asked) < 900
    found = measure_effect(ids, codes)
    assert (found.mixing, found.error) == pytest.approx(naive_mixing(ids, codes, asked))
    small = np.flatnonzero(codes > 0)
    assert found.shared == pytest.approx(np.isin(small, asked).mean())
    assert share_joined(ids, codes) == found.shared
    for one in range(3):
        own = asked[codes[asked] == one]
        alone = measure_one(ids, codes, one)
        assert (alone.mixing, alone.error) == pytest.approx(naive_mixing(ids, codes == one, own))
        assert alone.shared == pytest.approx(len(own) / np.count_nonzero(codes == one))


@pytest.mark.parametrize(("k", "n_near"), [(1, 1), (4, 1), (6, 2), (9, 3), (14, 4)])
def test_with_fewer_neighbours_the_nearest_third_is_near(cells, k, n_near):
    codes = np.random.default_rng(1).integers(2, size=900)
    ids = near(cells[0] + codes[:, None], k)
    across = codes[ids] != codes[:, None]
    asked = across.mean(axis=1) > 0.25 * np.array([np.mean(codes != code) for code in codes])
    expected = across[asked][:, :n_near].mean() / across[asked].mean()
    assert measure_effect(ids, codes).mixing == pytest.approx(expected)


def test_batches_at_random_mix_as_by_chance(cells):
    codes = np.random.default_rng(1).integers(3, size=900)
    found = measure_effect(near(cells[0]), codes)
    assert found.mixing == pytest.approx(1, abs=0.04)
    assert not found.differ()
    assert found.shared == 1


def test_shifted_batches_keep_apart(cells):
    codes = np.random.default_rng(1).integers(3, size=900)
    shift = np.random.default_rng(2).normal(size=(3, 8))
    found = measure_effect(near(cells[0] + shift[codes]), codes)
    assert found.differ()
    assert found.mixing < 0.92


def test_types_of_one_batch_are_no_batch_effect(cells):
    points, types = cells
    codes = np.random.default_rng(1).integers(2, size=900)
    codes[types == 0], codes[types == 1] = 0, 1
    found = measure_effect(near(points), codes)
    assert not found.differ()
    assert found.shared == pytest.approx(np.isin(types, range(2, 6)).mean(), abs=0.02)


def test_batches_far_apart_share_no_region(cells):
    codes = np.arange(900) % 2
    found = measure_effect(near(cells[0] + 100 * codes[:, None]), codes)
    assert (found.mixing, found.shared, found.differ()) == (0, 0, True)


def test_a_batch_of_three_cells_is_joined_if_it_lies_among_the_others(cells):
    points, codes = cells[0], np.zeros(900, int)
    codes[:3] = 1
    assert share_joined(near(points), codes) == 1
    assert measure_effect(near(points), codes).shared == 1
    halves = np.arange(900) % 2
    assert share_joined(near(points + 100 * halves[:, None]), halves) == 0


@pytest.mark.parametrize(
    "sizes", [[450, 450], [880, 20], [897, 3], [899, 1], [600, 200, 60, 20, 10, 5, 3, 2], [18] * 50]
)
def test_random_batches_of_any_sizes_are_random(cells, sizes):
    ids, drawn = near(cells[0]), np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(1)
    found = [are_random(ids, rng.permutation(drawn), rng) for _ in range(5)]
    assert all(found)


def test_batches_of_one_cell_each_are_random(cells):
    assert are_random(near(cells[0]), np.arange(900), np.random.default_rng(0))


def test_batches_that_mix_more_than_by_chance_do_not_keep_apart():
    ids = (np.arange(900)[:, None] + np.arange(1, 30, 2)) % 900  # all of the other batch
    assert are_random(ids, np.arange(900) % 2, np.random.default_rng(0))


def test_a_single_pair_of_a_batch_of_two_cells_does_not_make_it_differ():
    rng = np.random.default_rng(0)
    ids, codes = rng.integers(20_000, size=(20_000, 15)), rng.integers(2, size=20_000)
    codes[:2] = 2
    ids[[0, 1], 0] = [1, 0]
    assert are_random(ids, codes, rng)


@pytest.mark.parametrize("n_apart", [5, 20, 450])
def test_a_batch_that_lies_apart_is_not_random_beside_random_ones(cells, n_apart):
    rng = np.random.default_rng(1)
    codes = rng.integers(3, size=900)
    codes[rng.permutation(900)[:n_apart]] = 3
    ids = near(cells[0] + 100 * (codes == 3)[:, None])
    assert not are_random(ids, codes, rng)
    groups = groups_that_mix(ids, codes)
    assert measure_effect(ids, groups[codes]).differ()


def test_batches_that_share_no_region_differ_however_the_few_cells_between_them_mix():
    assert BatchEffect(1.0, 0.0, 0.01).differ()
    assert not BatchEffect(1.0, 0.0, 0.5).differ()
    assert not BatchEffect(0.8, 0.1, 0.5).differ()
    assert BatchEffect(0.8, 0.05, 0.5).differ()


def test_batches_that_mix_are_one_group_and_the_others_another(cells):
    codes = np.random.default_rng(1).integers(4, size=900)
    ids = near(cells[0] + 100 * (codes >= 2)[:, None])
    assert not measure_effect(ids, codes).differ()
    groups = groups_that_mix(ids, codes)
    assert groups[0] == groups[1] != groups[2] == groups[3]
    assert measure_effect(ids, groups[codes]).differ()


def test_groups_keep_apart_where_batches_mix_and_batches_where_they_do_not(cells):
    codes, rng = np.random.default_rng(1).integers(4, size=900), np.random.default_rng(2)
    found = what_keeps_apart(near(cells[0] + 100 * (codes >= 2)[:, None]), codes, rng)
    assert (found.differ, found.by_group, len(set(found.groups))) == (True, True, 2)
    found = what_keeps_apart(near(cells[0] + 100 * codes[:, None]), codes, rng)
    assert (found.differ, found.by_group) == (True, False)
    found = what_keeps_apart(near(cells[0]), codes, rng)
    assert (found.differ, found.by_group) == (False, False)
    assert not what_keeps_apart(near(cells[0]), np.zeros(900, int), rng).differ


def test_one_batch_that_keeps_apart_is_found_among_many_that_mix(cells):
    codes, half = (
        np.random.default_rng(1).integers(6, size=900),
        np.random.default_rng(5).random(900),
    )
    # A batch with cells in both places joins the groups, so only the batch itself shows that something is apart.
    moved = (codes == 4) | ((codes == 5) & (half < 0.4))
    way = np.random.default_rng(2).normal(size=8)
    ids = near(cells[0] + 3 * way / np.linalg.norm(way) * moved[:, None])
    assert not measure_effect(ids, codes).differ()
    assert groups_that_mix(ids, codes).max() == 0
    found = what_keeps_apart(ids, codes, np.random.default_rng(2))
    assert (found.differ, found.by_group, found.one) == (True, False, 4)
    mixed = what_keeps_apart(near(cells[0]), codes, np.random.default_rng(2))
    assert (mixed.differ, mixed.one) == (False, None)
    # One of several is low by chance, so it must lie further below.
    assert _one_apart(ids, codes, found.effect.mixing + 0.03) is None
    assert _one_apart(ids, codes, found.effect.mixing + 0.05) == (4, found.effect)


def test_of_several_batches_that_keep_apart_the_one_that_mixes_least_is_named(cells):
    codes = np.random.default_rng(1).integers(6, size=900)
    ids = near(cells[0] + (4 * (codes == 4) - 2.5 * (codes == 1))[:, None] / 8**0.5)
    effects = {one: measure_one(ids, codes, one) for one in (1, 4)}
    assert all(effect.differ() for effect in effects.values())
    assert _one_apart(ids, codes, MIXED) == (4, effects[4])


def test_a_batch_with_no_others_near_keeps_apart_though_cells_with_noise_lie_around_it():
    rng = np.random.default_rng(0)
    codes, noise = (rng.random(900) < 0.45).astype(int), rng.normal(size=(900, 30))
    # Cells of the second batch lie on a shell around the first, so the first is nearest to all of them.
    ids = near(np.where(codes[:, None] == 1, 2.5, 1) * noise)
    effect = measure_effect(ids, codes)
    assert effect.shared == 1
    assert not effect.differ()
    found = what_keeps_apart(ids, codes, rng)
    assert (found.differ, found.one) == (True, 0)
    assert found.effect == measure_one(ids, codes, 0)


def test_mixing_in_a_cluster_is_against_chance_in_that_cluster(cells):
    points, types = cells
    codes = np.random.default_rng(1).integers(2, size=900)
    codes[types == 5] = 0
    moved = points + 100 * ((types == 3) & (codes == 1))[:, None]
    found = mixing_in_clusters(near(moved), codes, types, 6)
    assert np.isnan(found[5])
    assert found[3] == 0
    assert found[[0, 1, 2, 4]] == pytest.approx(1, abs=0.1)


def test_mixing_in_clusters_is_that_of_counting_neighbours(cells):
    points, types = cells
    codes = np.random.default_rng(1).choice(3, size=900, p=[0.5, 0.3, 0.2])
    ids = near(points + codes[:, None], 20)
    found = mixing_in_clusters(ids, codes, types, 7)
    assert np.isnan(found[6])  # no cell is in it
    for cluster in range(6):
        own = np.flatnonzero(types == cluster)
        seen, others = [], []
        for i in own:
            inside = [j for j in ids[i][:15] if types[j] == cluster]
            seen.append(np.mean([codes[j] != codes[i] for j in inside]) if inside else 0)
            others.append(np.mean([codes[j] != codes[i] for j in own if j != i]))
        assert found[cluster] == pytest.approx(np.mean(seen) / np.mean(others))


@pytest.mark.parametrize(("n_ones", "has_value"), [(1, False), (3, True)])
def test_a_cluster_of_nearly_one_batch_has_nothing_to_mix(cells, n_ones, has_value):
    codes = np.zeros(900, int)
    codes[:n_ones] = 1
    # Pairs across batches: about two for each cell of the second, of 200 cells.
    found = mixing_in_clusters(near(cells[0][:200]), codes[:200], np.zeros(200, int), 1)
    assert np.isfinite(found[0]) == has_value


def test_a_cluster_of_one_cell_has_nothing_to_mix(cells):
    labels = np.zeros(900, int)
    labels[0] = 1
    found = mixing_in_clusters(near(cells[0]), np.arange(900) % 2, labels, 2)
    assert np.isnan(found).tolist() == [False, True]


def test_a_batch_that_is_nobodys_neighbour_is_a_group_of_its_own(cells):
    codes = np.arange(900) % 2
    codes[-1] = 2
    ids = near(cells[0] + 100 * (codes == 2)[:, None])
    assert 899 not in ids[:-1]
    groups = groups_that_mix(ids, codes)
    assert groups[0] == groups[1] != groups[2]


def test_a_large_batch_is_not_asked_for_others_around_it_where_there_are_few(cells):
    codes = np.zeros(900, int)
    codes[::180] = 1  # five cells: few of the others are near to them by chance
    ids = near(cells[0])
    assert measure_one(ids, codes, 0).shared <= FEW_SHARED
    assert _one_apart(ids, codes, MIXED) is None


def test_a_subset_keeps_small_batches_whole_and_takes_large_ones_at_equal_steps():
    codes = np.repeat([0, 1, 2], [1000, 5, 500])
    cells = cells_of_every_batch(codes, 205)
    assert np.bincount(codes[cells]).tolist() == [100, 5, 100]
    assert np.diff(cells[codes[cells] == 0]).tolist() == [10] * 99
    assert cells_of_every_batch(codes, 5000).tolist() == list(range(1505))
    order = np.random.default_rng(0).permutation(1505)
    ranks = np.argsort(order)[cells_of_every_batch(codes, 205, order)]
    assert np.diff(np.sort(ranks[codes[cells_of_every_batch(codes, 205, order)] == 2])).max() < 40


def test_more_batches_than_cells_asked_for_give_one_cell_each():
    assert len(cells_of_every_batch(np.repeat(np.arange(300), 4), 100)) == 300
