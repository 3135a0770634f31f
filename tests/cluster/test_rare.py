"""Rare types: groups of a few cells that no community shows."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from scrcl.cluster.agreement import nearest_cells
from scrcl.cluster.find import find_clusters
from scrcl.cluster.merging import join_order
from scrcl.cluster.protocol import Representations, Spaces
from scrcl.cluster.rare import N_NEAREST, with_rare_types
from scrcl.cluster.settings import ClusterSettings
from scrcl.cluster.vote_notes import note_of_rare

N_RARE = 10


def cells(n_types=3, n_cells=1500, *, away=14.0, n_dims=20, seed=0):
    """Two noisy views of large types and ten cells next to the first of them; these cells come last."""
    rng = np.random.default_rng(seed)
    truth = np.sort(rng.integers(n_types, size=n_cells))
    truth = np.append(truth, np.full(N_RARE, n_types))
    means = 10 * np.eye(n_dims)[: n_types + 1]
    means[n_types] = means[0] + away * np.eye(n_dims)[n_types]
    points = means[truth] + rng.normal(size=(len(truth), n_dims))
    views = [points + 0.3 * rng.normal(size=points.shape) for _ in range(2)]
    return [view.astype(np.float32) for view in views], truth


def with_rare(views, labels, fewest=5):
    near = list(nearest_cells(views, N_NEAREST, 0).values())
    return with_rare_types(labels, views, near, fewest=fewest)


def test_ten_cells_beside_a_large_type_are_a_cluster():
    views, truth = cells()
    large = np.minimum(truth, 2)
    large[-N_RARE:] = 0
    found, n_rare = with_rare(views, large)
    assert n_rare == 1
    assert f1_score(truth == 3, found == 3) > 0.9
    np.testing.assert_array_equal(found[:-N_RARE], large[:-N_RARE])
    assert with_rare(views, large, fewest=N_RARE + 1)[1] == 0


def test_a_group_that_is_known_from_all_cells_is_a_cluster_though_graphs_of_a_part_do_not_show_it():
    views, truth = cells()
    large = np.minimum(truth, 2)
    large[-N_RARE:] = 0
    near = list(nearest_cells(views, N_NEAREST, 0).values())
    for number, ids in enumerate(near):  # each graph has other pairs among the ten cells
        rng = np.random.default_rng(number)
        ids[-N_RARE:] = rng.permuted(np.tile(np.arange(len(truth)), (N_RARE, 1)), axis=1)[
            :, :N_NEAREST
        ]
    known = np.where(truth == 3, 0, -1)
    assert with_rare_types(large, views, near, fewest=5)[1] == 0
    found, n_rare = with_rare_types(large, views, near, fewest=5, known_cores=known)
    assert n_rare == 1
    assert f1_score(truth == 3, found == 3) > 0.9


@pytest.mark.parametrize("n_types", [1, 3])
def test_cells_as_far_as_chance_puts_them_are_no_type(n_types):
    for seed in range(5):
        views, truth = cells(n_types, away=0, seed=seed)
        large = np.minimum(truth, n_types - 1)
        large[-N_RARE:] = 0
        found, n_rare = with_rare(views, large)
        assert n_rare == 0
        np.testing.assert_array_equal(found, large)


def test_a_tight_pocket_near_its_type_stays_in_it():
    views, truth = cells(away=6)  # less than half as far away as large types are
    large = np.minimum(truth, 2)
    large[-N_RARE:] = 0
    assert with_rare(views, large)[1] == 0


def test_a_group_that_is_a_cluster_already_is_not_added():
    views, truth = cells()
    found, n_rare = with_rare(views, truth)
    assert n_rare == 0
    np.testing.assert_array_equal(found, truth)


def test_only_what_most_graphs_show_counts():
    views, truth = cells()
    hidden, _ = cells(away=0, seed=1)
    large = np.minimum(truth, 2)
    large[-N_RARE:] = 0
    assert with_rare([views[0], hidden[1]], large)[1] == 0


def test_the_vote_finds_rare_types_unless_it_is_told_not_to():
    views, _ = cells()
    spaces = Spaces(
        views[0], views[0], representations=lambda some: Representations([v[some] for v in views])
    )

    def clusters(k=None, **settings):
        return find_clusters(spaces, k, settings=ClusterSettings(**settings), seed=0)

    found = clusters()
    assert found.labels.max() == 3
    assert len(set(found.labels[-N_RARE:])) == 1
    (note,) = found.notes
    assert note.startswith("1 cluster is a rare type, of 10 cells: most neighbour graphs agree")
    plain = clusters(rare_cells=0)
    assert (plain.labels.max(), plain.notes) == (2, [])
    # Fewer clusters: the rare type is given up before two large ones become one.
    np.testing.assert_array_equal(clusters(3).labels, clusters(3, rare_cells=0).labels)


def test_rare_types_are_joined_first():
    from scrcl.cluster.evidence import Evidence

    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [300, 300, 10])
    points = rng.normal(size=(610, 4)) + np.array([[0], [6], [40]])[labels]
    evidence = Evidence(np.arange(610), [points], seed=0)
    assert join_order(evidence, labels, points, 0.5)[0] == (0, 1)
    assert join_order(evidence, labels, points, 0.5, n_rare=1)[0] == (1, 2)


def test_a_note_lists_the_largest_rare_types():
    assert note_of_rare(np.array([])) is None
    assert "2 clusters are rare types, of 12 and 5 cells" in note_of_rare(np.array([5, 12]))
    many = note_of_rare(np.arange(5, 12))
    assert many.startswith("7 clusters are rare types, of 11, 10, 9, 8, 7 and fewer cells:")


def test_a_few_cells_have_no_rare_types():
    points = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    found, n_rare = with_rare([points], np.zeros(6, np.int64))
    assert (found.tolist(), n_rare) == ([0] * 6, 0)
