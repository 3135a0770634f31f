import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from scrcl.cluster.algorithms.auto import by_auto
from scrcl.cluster.algorithms.linkage import by_linkage
from scrcl.cluster.find import find_clusters
from scrcl.cluster.protocol import Spaces
from scrcl.cluster.settings import ClusterSettings


def bridged(*, n_dims=8, seed=0):
    """Return four even types, two of them near each other, and points far from all; truth has no strays."""
    rng = np.random.default_rng(seed)
    centres = np.zeros((4, n_dims), np.float32)
    centres[[0, 1, 2], [0, 1, 2]] = 20
    centres[3] = centres[2] + 3.5 * np.eye(n_dims)[3]
    truth = np.repeat(np.arange(4), 150)
    points = centres[truth] + rng.normal(scale=0.8, size=(600, n_dims))
    strays = np.arange(6)
    points[strays] = centres[0] + 14 * np.eye(n_dims)[4] + rng.normal(scale=0.3, size=(6, n_dims))
    return points.astype(np.float32), truth


def unrelated(points, *, seed=1):
    return np.random.default_rng(seed).normal(size=points.shape).astype(np.float32)


def chosen(spaces, k=4, **options):
    return by_auto(spaces, k, config=ClusterSettings(n_micro=60, **options), seed=0)


def test_communities_are_taken_where_linkage_and_both_graphs_agree():
    points, truth = bridged()
    found = chosen(Spaces(points, points))
    assert found.choice.taken == "communities"
    assert 2 / 3 <= found.choice.agreement <= 1
    linked = by_linkage(Spaces(points), 4, config=ClusterSettings(n_micro=60), seed=0)
    agreement = [adjusted_rand_score(truth, one.owners[one.groups]) for one in (found, linked)]
    assert agreement[0] > agreement[1] + 0.1  # linkage takes the strays for a type


def test_linkage_is_taken_where_the_graphs_disagree():
    points, _ = bridged()
    found = chosen(Spaces(points, unrelated(points)))
    assert found.choice.taken == "linkage"
    assert found.choice.agreement < 2 / 3
    linked = by_linkage(Spaces(points), 4, config=ClusterSettings(n_micro=60), seed=0)
    np.testing.assert_array_equal(found.owners, linked.owners)
    np.testing.assert_array_equal(found.groups, linked.groups)


@pytest.mark.parametrize(("agreement", "taken"), [(0.0, "communities"), (1.0, "linkage")])
def test_the_bound_is_a_setting(agreement, taken):
    points, _ = bridged()
    assert chosen(Spaces(points, points), agreement=agreement).choice.taken == taken


@pytest.mark.parametrize("k", [2, 3, 4])
def test_parts_that_no_edge_joins_are_joined_by_distance(k):
    truth = np.repeat(np.arange(4), (120, 60, 25, 25))
    centres = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9], [0, 3, 9]])  # the last two are near
    noise = np.random.default_rng(1).normal(scale=0.2, size=(230, 3))
    points = (centres[truth] + noise).astype(np.float32)
    found = chosen(Spaces(points, points), k)
    joined = np.unique([truth, found.owners[found.groups]], axis=1)[1]
    assert len(joined) == 4  # no type is cut
    assert (joined[2] == joined[3]) == (k < 4)
    assert joined[0] != joined[1]


def test_linkage_is_taken_where_no_graph_has_as_many_communities():
    points = np.repeat(np.random.default_rng(0).normal(size=(3, 4)), 40, axis=0).astype(np.float32)
    found = chosen(Spaces(points, points), 8, agreement=0.0)
    assert found.choice.taken == "linkage"
    assert found.choice.unless == "too few communities"


def test_length_of_components_says_nothing():
    points, _ = bridged()
    lengths = np.random.default_rng(2).uniform(0.1, 10, size=(len(points), 1)).astype(np.float32)
    one, other = (chosen(Spaces(points, scores)) for scores in (points, points * lengths))
    np.testing.assert_array_equal(one.owners, other.owners)


def test_without_components_there_is_nothing_to_agree_with():
    points, _ = bridged()
    found = chosen(Spaces(points))
    assert found.choice == ("linkage", None, None)


def test_of_many_cells_a_sample_is_looked_at_and_every_cell_has_a_cluster():
    points, truth = bridged()
    found = find_clusters(
        Spaces(points, points), 4, config=ClusterSettings(n_micro=60, auto_cells=200), seed=0
    )
    assert found.choice.taken == "communities"
    assert adjusted_rand_score(truth, found.labels) > 0.9
    assert np.bincount(found.labels).sum() == len(points)
