"""The mixture of Gaussians with one covariance."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from scrcl.cluster.algorithms import mixture
from scrcl.cluster.algorithms.mixture import by_mixture, fit_mixture
from scrcl.cluster.algorithms.one_covariance import Climb
from scrcl.cluster.algorithms.two_scales import TwoScales
from scrcl.cluster.find import cluster
from scrcl.cluster.protocol import Spaces
from scrcl.cluster.settings import ClusterSettings
from scrcl.graph.spatial import spatial_knn

SETTINGS = ClusterSettings(algorithm="mixture")


def long_domains(n=300, n_domains=4, seed=0, length=12):
    """Return domains that are long in one direction and part in another, where k-means cuts across them."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_domains), n)
    points = rng.normal(0, [length, 1, 1], (len(labels), 3))
    points[:, 1] += 6 * labels
    return points.astype(np.float32), labels


def scipy_score(model, points):
    """Return the mean log likelihood by the formula of scipy."""
    covariance = np.linalg.inv(model.precision)
    parts = [
        np.log(share) + multivariate_normal(mean, covariance).logpdf(points)
        for share, mean in zip(model.shares, model.means, strict=True)
    ]
    return logsumexp(parts, axis=0).mean()


def labels_of(points, k, seed=0):
    found = by_mixture(Spaces(points), k, settings=SETTINGS, seed=seed)
    return found.cluster_of_micro[found.micro_labels]


def test_domains_of_one_shape_are_found_where_kmeans_fails():
    points, labels = long_domains()
    assert adjusted_rand_score(labels, labels_of(points, 4)) > 0.97


def test_the_likelihood_is_at_least_that_of_many_starts_of_sklearn():
    points, _ = long_domains(seed=1)
    ours = fit_mixture(points, 5, n_starts=20, seed=0)
    theirs = GaussianMixture(5, covariance_type="tied", n_init=20, random_state=0).fit(points)
    assert ours.log_likelihood > theirs.score(points) - 1e-3
    assert ours.log_likelihood == pytest.approx(scipy_score(ours, points), abs=1e-3)


def test_other_seeds_agree():
    points, _ = long_domains(seed=2, length=6)
    assert adjusted_rand_score(labels_of(points, 4), labels_of(points, 4, seed=1)) > 0.99


def test_all_cells_get_a_label_if_only_a_subset_is_fitted(monkeypatch):
    points, labels = long_domains()
    monkeypatch.setattr(mixture, "FIT_CELLS", 400)
    monkeypatch.setattr(mixture, "_SEARCH_CELLS", 200)
    monkeypatch.setattr(mixture, "_BLOCK_ROWS", 100)
    assert adjusted_rand_score(labels, labels_of(points, 4)) > 0.97


def test_the_scale_of_the_points_changes_nothing():
    points, _ = long_domains()
    assert adjusted_rand_score(labels_of(points, 4), labels_of(points * 2.0**-20, 4)) == 1


@pytest.mark.parametrize("k", [1, 3])
def test_few_cells_and_a_single_domain_are_no_error(k):
    assert len(np.unique(labels_of(long_domains(n=3, n_domains=1)[0], k))) <= k
    assert set(labels_of(np.zeros((20, 3), np.float32), k)) == {0}


def test_moves_leave_a_maximum_that_joins_two_domains_and_halves_another():
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(4), 200)
    points = rng.normal(size=(800, 2)) + np.array([[0, 0], [0, 9], [30, 0], [60, 0]])[true]
    halves = (true == 3) & (points[:, 0] > 60)
    climb = Climb(points - points.mean(axis=0), np.inf)
    lesser = climb.climbed(
        climb.begun(np.select([true <= 1, true == 2, halves], [0, 1, 2], 3), 4), 300
    )
    assert adjusted_rand_score(true, lesser.labels(climb.points)) < 0.8
    moved = mixture._moved(climb, lesser, 2)
    assert moved.log_likelihood > lesser.log_likelihood + 0.1
    assert adjusted_rand_score(true, moved.labels(climb.points)) == 1


def of_two_sizes(n_held):
    """Return points of a narrow and of a three times as wide domain, their domains, and the mixture."""
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1], 1_000)
    points = rng.normal(size=(2_000, 3)) * np.where(true == 1, 3.0, 1.0)[:, None]
    points[true == 1, 0] += 6
    return true, points, mixture.fit_mixture(points, 2, n_starts=4, seed=0, n_held=n_held)


def test_a_domain_may_vary_more_than_another():
    true, points, model = of_two_sizes(0.0)
    assert max(model.sizes) / min(model.sizes) == pytest.approx(9, rel=0.2)
    one_size = of_two_sizes(np.inf)[2]
    assert set(one_size.sizes) == {1.0}
    gain = adjusted_rand_score(true, model.labels(points)) - adjusted_rand_score(
        true, one_size.labels(points)
    )
    assert gain > 0.05


def test_sizes_are_held_near_one_and_the_likelihood_never_falls():
    _, points, model = of_two_sizes(20_000.0)
    assert max(model.sizes) / min(model.sizes) < 2
    climb = Climb(points - points.mean(axis=0), 500.0)
    heights, begun = [], climb.begun(np.arange(2_000) % 2, 2)
    for _ in range(30):
        begun = climb.climbed(begun, 1)
        heights.append(begun.log_likelihood)
    assert (np.diff(heights) > -1e-12).all()


def test_density_and_likelihood_are_those_of_scipy():
    _, points, model = of_two_sizes(0.0)
    centred = points - points.mean(axis=0)
    climb = Climb(centred, 0.0)
    model = climb.climbed(climb.begun((centred[:, 0] > 2).astype(int), 2), 3)
    covariance = np.linalg.inv(model.precision)
    density = sum(
        share * multivariate_normal(mean, size * covariance).pdf(centred)
        for share, mean, size in zip(model.shares, model.means, model.sizes, strict=True)
    )
    assert climb.climbed(model, 1).log_likelihood == pytest.approx(np.log(density).mean())


def test_at_two_scales_domains_part_that_noise_hides_in_single_points():
    # Two bands on a grid: a point shows little, and the mean over the points around it shows more.
    rng = np.random.default_rng(0)
    x, y = np.divmod(np.arange(2_500), 50)
    true = (x >= 25).astype(int)
    points = rng.normal(size=(2_500, 2)).astype(np.float32)
    points[:, 0] += 2.5 * true
    around = spatial_knn(np.column_stack([x, y]).astype(float), 24).ids
    settings = ClusterSettings(algorithm="mixture", starts=4)
    one, two = (
        adjusted_rand_score(true, cluster(points, 2, settings=settings, seed=0, around=near))
        for near in (None, around)
    )
    assert one < 0.7
    assert two > 0.9


def test_two_scales_are_the_points_and_the_means_over_them_and_those_around():
    points = np.arange(8, dtype=np.float32).reshape(4, 2)
    around = np.array([[1, 2], [0, -1], [-1, -1], [0, 1]])
    expected = [[2, 3, (2 + 0) / 2, (3 + 1) / 2], [6, 7, (6 + 0 + 2) / 3, (7 + 1 + 3) / 3]]
    np.testing.assert_allclose(TwoScales(points, around).rows(np.array([1, 3])), expected)
    alone = TwoScales(points, around).rows(np.array([2]))
    np.testing.assert_allclose(alone, [[4, 5, 4, 5]])


def test_cells_at_two_scales_get_a_label_if_only_a_subset_is_fitted(monkeypatch):
    points, labels = long_domains()
    around = np.arange(len(points)).reshape(-1, 4)[:, ::-1].repeat(4, axis=0)
    whole = cluster(points, 4, settings=SETTINGS, seed=0, around=around)
    monkeypatch.setattr(mixture, "_TWO_SCALES_CELLS", 400)
    monkeypatch.setattr(mixture, "_BLOCK_ROWS", 100)
    some = cluster(points, 4, settings=SETTINGS, seed=0, around=around)
    assert min(adjusted_rand_score(labels, found) for found in (whole, some)) > 0.97
