import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from scrcl.cluster.algorithms.auto import by_auto
from scrcl.cluster.algorithms.linkage import by_linkage
from scrcl.cluster.find import find_clusters
from scrcl.cluster.protocol import Choice, Spaces
from scrcl.cluster.settings import ClusterSettings


def bridged(*, n_dims=8, seed=0):
    """Return four even types, two of them similar, and six outliers, which are of the first type in the truth."""
    rng = np.random.default_rng(seed)
    means = np.zeros((4, n_dims), np.float32)
    means[[0, 1, 2], [0, 1, 2]] = 20
    means[3] = means[2] + 3.5 * np.eye(n_dims)[3]
    truth = np.repeat(np.arange(4), 150)
    points = means[truth] + rng.normal(scale=0.8, size=(600, n_dims))
    outliers = np.arange(6)
    points[outliers] = means[0] + 14 * np.eye(n_dims)[4] + rng.normal(scale=0.3, size=(6, n_dims))
    return points.astype(np.float32), truth


def unrelated(points, *, seed=1):
    return np.random.default_rng(seed).normal(size=points.shape).astype(np.float32)


def chosen(spaces, k=4, **options):
    return by_auto(spaces, k, settings=ClusterSettings(n_micro=60, **options), seed=0)


def test_communities_are_taken_if_linkage_and_both_graphs_agree():
    points, truth = bridged()
    found = chosen(Spaces(points, points))
    assert found.choice.algorithm == "communities"
    assert 2 / 3 <= found.choice.agreement <= 1
    linked = by_linkage(Spaces(points), 4, settings=ClusterSettings(n_micro=60), seed=0)
    agreement = [
        adjusted_rand_score(truth, one.cluster_of_micro[one.micro_labels])
        for one in (found, linked)
    ]
    assert agreement[0] > agreement[1] + 0.1  # linkage makes the outliers a cluster


def test_linkage_is_taken_if_the_graphs_disagree():
    points, _ = bridged()
    found = chosen(Spaces(points, unrelated(points)))
    assert found.choice.algorithm == "linkage"
    assert found.choice.agreement < 2 / 3
    linked = by_linkage(Spaces(points), 4, settings=ClusterSettings(n_micro=60), seed=0)
    np.testing.assert_array_equal(found.cluster_of_micro, linked.cluster_of_micro)
    np.testing.assert_array_equal(found.micro_labels, linked.micro_labels)


@pytest.mark.parametrize(("agreement", "algorithm"), [(0.0, "communities"), (1.0, "linkage")])
def test_the_threshold_is_a_setting(agreement, algorithm):
    points, _ = bridged()
    assert chosen(Spaces(points, points), agreement=agreement).choice.algorithm == algorithm


@pytest.mark.parametrize("k", [2, 3, 4])
def test_connected_components_are_joined_by_distance(k):
    truth = np.repeat(np.arange(4), (120, 60, 25, 25))
    means = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9], [0, 3, 9]])  # the last two are near
    noise = np.random.default_rng(1).normal(scale=0.2, size=(230, 3))
    points = (means[truth] + noise).astype(np.float32)
    found = chosen(Spaces(points, points), k)
    joined = np.unique([truth, found.cluster_of_micro[found.micro_labels]], axis=1)[1]
    assert len(joined) == 4  # no type is divided
    assert (joined[2] == joined[3]) == (k < 4)
    assert joined[0] != joined[1]


def test_linkage_is_taken_if_no_graph_has_as_many_communities():
    points = np.repeat(np.random.default_rng(0).normal(size=(3, 4)), 40, axis=0).astype(np.float32)
    found = chosen(Spaces(points, points), 8, agreement=0.0)
    assert found.choice.algorithm == "linkage"
    assert found.choice.reason == "too few communities"


def test_the_length_of_component_scores_has_no_effect():
    points, _ = bridged()
    lengths = np.random.default_rng(2).uniform(0.1, 10, size=(len(points), 1)).astype(np.float32)
    one, other = (chosen(Spaces(points, scores)) for scores in (points, points * lengths))
    np.testing.assert_array_equal(one.cluster_of_micro, other.cluster_of_micro)


def test_linkage_is_taken_without_component_scores():
    points, _ = bridged()
    found = chosen(Spaces(points))
    assert found.choice == Choice("linkage")


def test_communities_of_a_subset_give_every_cell_a_cluster():
    points, truth = bridged()
    found = find_clusters(
        Spaces(points, points),
        4,
        settings=ClusterSettings(algorithm="auto", n_micro=60, auto_cells=200),
        seed=0,
    )
    assert found.choice.algorithm == "communities"
    assert adjusted_rand_score(truth, found.labels) > 0.9
    assert np.bincount(found.labels).sum() == len(points)
