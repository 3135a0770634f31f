"""The mixture of Gaussians with one covariance."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from scrcl.cluster.algorithms import mixture
from scrcl.cluster.algorithms.mixture import _n_starts, by_mixture, fit_mixture
from scrcl.cluster.protocol import Spaces
from scrcl.cluster.settings import ClusterSettings

SETTINGS = ClusterSettings(algorithm="mixture")


def long_domains(n=300, n_domains=4, seed=0, length=12):
    """Return domains that are long in one direction and part in another, where k-means cuts across them."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_domains), n)
    points = rng.normal(0, [length, 1, 1], (len(labels), 3))
    points[:, 1] += 6 * labels
    return points.astype(np.float32), labels


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
    assert ours.score(points) > theirs.score(points) - 1e-3


def test_other_seeds_agree():
    points, _ = long_domains(seed=2, length=6)
    assert adjusted_rand_score(labels_of(points, 4), labels_of(points, 4, seed=1)) > 0.99


def test_all_cells_get_a_label_if_only_a_subset_is_fitted(monkeypatch):
    points, labels = long_domains()
    monkeypatch.setattr(mixture, "FIT_CELLS", 400)
    monkeypatch.setattr(mixture, "_KMEANS_CELLS", 200)
    monkeypatch.setattr(mixture, "_BLOCK_ROWS", 100)
    assert adjusted_rand_score(labels, labels_of(points, 4)) > 0.97


def test_the_scale_of_the_points_changes_nothing():
    points, _ = long_domains()
    assert adjusted_rand_score(labels_of(points, 4), labels_of(points * 2.0**-20, 4)) == 1


@pytest.mark.parametrize("k", [1, 3])
def test_few_cells_and_a_single_domain_are_no_error(k):
    assert len(np.unique(labels_of(long_domains(n=3, n_domains=1)[0], k))) <= k
    assert set(labels_of(np.zeros((20, 3), np.float32), k)) == {0}


@pytest.mark.parametrize(
    ("n_cells", "least", "expected"),
    [(1_000, 20, 60), (4_000, 20, 30), (6_000, 20, 20), (10**6, 20, 20), (100, 1, 3)],
)
def test_small_tissues_have_more_starts(n_cells, least, expected):
    assert _n_starts(n_cells, least) == expected
