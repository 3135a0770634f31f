"""The number of domains: where the likelihood of mixtures bends."""

import numpy as np
import pytest

from scrcl.cluster.count_domains import by_information, count_domains, elbow
from scrcl.io.labels import CellLabels


@pytest.mark.parametrize("bend", [2, 4, 7])
def test_the_bend_of_two_lines_is_found(bend):
    numbers = np.arange(1, 13)
    curve = np.minimum(numbers, bend) + 0.2 * np.maximum(numbers - bend, 0)
    assert elbow(curve) == bend
    assert elbow(curve * 1e-3 - 50) == bend


def test_a_missed_maximum_is_no_bend():
    curve = np.minimum(np.arange(1, 13), 5) + 0.1 * np.arange(12)
    curve[8] -= 3
    assert elbow(curve) == 5


@pytest.mark.parametrize("n", range(5))
def test_too_short_a_curve_means_two(n):
    assert elbow(np.arange(n)) == 2


def test_the_fewer_observations_are_independent_the_fewer_components_pay():
    curve = np.cumsum(0.8 ** np.arange(14))
    found = [by_information(curve, 15, n) for n in (1, 50, 100, 1_000, 100_000)]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (1, 14)


@pytest.mark.parametrize("n", [30, 400, 5_000])
@pytest.mark.parametrize("n_dims", [2, 15])
def test_the_number_by_information_has_the_best_bayesian_criterion(n, n_dims):
    rng = np.random.default_rng(n)
    for _ in range(30):
        gains = rng.exponential(size=12) * 0.7 ** np.arange(12)
        curve = np.cumsum(gains) - 20
        numbers = np.arange(1, 13)
        # Means, shares, and one covariance for all.
        free = numbers * n_dims + numbers - 1 + n_dims * (n_dims + 1) / 2
        criterion = free * np.log(n) - 2 * n * curve
        assert by_information(curve, n_dims, n) == numbers[criterion.argmin()]


def test_a_maximum_that_was_missed_pays_for_no_component():
    assert by_information([0.0, 5, 4, 3, 5.00001], 2, 1_000) == 2


def layers(n_layers, n_cells=250, seed=0):
    """Return cells of layers in a space of six dimensions, in which each layer has its own mean."""
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 4, (n_layers, 6))
    return (means[rng.integers(n_layers, size=n_cells)] + rng.normal(size=(n_cells, 6))).astype(
        "f4"
    )


def test_layers_are_counted():
    assert count_domains(layers(4), samples=None, overlap=1, seed=0).n_clusters == 4


def test_slices_that_lie_apart_count_their_domains_and_not_themselves():
    slices = [layers(4, 200, seed=1) + 30 * i for i in range(2)]
    small = np.zeros((20, 6), np.float32)
    codes = np.repeat([0, 1, 2], [200, 200, 20]).astype(np.int32)
    points = np.concatenate([*slices, small])
    apart = count_domains(points, samples=CellLabels(codes, tuple("abc")), overlap=1, seed=0)
    assert apart.n_clusters == 4
    assert [three[1] for three in apart.estimates] == [4, 4]  # the third slice is too small
    assert all(len(three) == 3 and sorted(three) == list(three) for three in apart.estimates)
    assert count_domains(points, samples=None, overlap=1, seed=0).n_clusters != 4


def test_averages_of_many_cells_are_few_observations():
    points = layers(4)
    alone = count_domains(points, samples=None, overlap=1, seed=0)
    assert alone.estimates == ((4, 4, 4),)
    many = count_domains(points, samples=None, overlap=250, seed=0)  # one observation
    assert many.estimates == ((1, 4, 4),)


@pytest.mark.parametrize(("numbers", "expected"), [((3, 5), 3), ((5, 3, 4), 4)])
def test_the_middle_slice_decides_and_of_two_the_lower(numbers, expected):
    points = np.concatenate([layers(n, 150, seed=n) for n in numbers])
    codes = np.repeat(np.arange(len(numbers)), 150).astype(np.int32)
    samples = CellLabels(codes, tuple("abc"[: len(numbers)]))
    found = count_domains(points, samples=samples, overlap=1, seed=0)
    assert sorted(three[1] for three in found.estimates) == sorted(numbers)
    assert found.n_clusters == expected


@pytest.mark.parametrize(("n_cells", "n_counted"), [(79, 1), (80, 2)])
def test_slices_of_eighty_cells_are_counted(n_cells, n_counted):
    points = np.concatenate([layers(3, 120), layers(3, n_cells, seed=1)])
    codes = np.repeat([0, 1], [120, n_cells]).astype(np.int32)
    found = count_domains(points, samples=CellLabels(codes, ("a", "b")), overlap=1, seed=0)
    assert len(found.estimates) == n_counted


def test_a_handful_of_cells_has_two():
    assert count_domains(layers(3, 30), samples=None, overlap=1, seed=0).n_clusters == 2
