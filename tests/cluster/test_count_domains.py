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


def test_a_handful_of_cells_has_two():
    assert count_domains(layers(3, 30), samples=None, overlap=1, seed=0).n_clusters == 2
