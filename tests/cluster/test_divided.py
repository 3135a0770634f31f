from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from scrcl.cluster.divided import divide_large
from scrcl.cluster.evidence import Evidence
from scrcl.cluster.find import find_clusters
from scrcl.cluster.protocol import Representations, Spaces
from scrcl.cluster.settings import ClusterSettings


def atlas(sizes=(400, 400, 300, 300, 300), *, n_pairs=1, seed=0):
    """Types far apart. Those of a pair are near and differ in one gene; all others vary in many genes."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    branches = [*np.repeat(np.arange(n_pairs), 2), *range(n_pairs, len(sizes) - n_pairs)]
    genes = 0.3 * rng.normal(size=(len(truth), 120))
    genes[np.arange(len(truth)), np.array(branches)[truth]] += 40
    in_pair = truth < 2 * n_pairs
    genes[~in_pair, 10:80] += 3 * rng.normal(size=(int((~in_pair).sum()), 70))
    second = in_pair & (truth % 2 == 1)
    genes[second, 110 + truth[second]] += 3
    order = rng.permutation(len(truth))
    return genes[order].astype(np.float32), truth[order]


def components(genes):
    return PCA(30, random_state=0).fit_transform(genes).astype(np.float32)


def spaces_of(genes):
    whole = components(genes)
    return Spaces(
        whole,
        whole,
        representations=lambda cells: Representations([whole[cells]]),
        inside=lambda cells: Representations([components(genes[cells])]),
    )


def clusters(genes, k=None, **options):
    return find_clusters(spaces_of(genes), k, settings=ClusterSettings(**options), seed=0)


@pytest.fixture(scope="module")
def cells():
    return atlas()


@pytest.fixture(scope="module")
def found(cells):
    return clusters(cells[0])


def test_types_that_only_components_of_their_cluster_show_are_parted(cells, found):
    genes, truth = cells
    assert adjusted_rand_score(truth, found.labels) > 0.95
    whole = clusters(genes, divide_cells=0).labels
    assert adjusted_rand_score(np.maximum(truth, 1), whole) > 0.95


def test_only_clusters_of_enough_voting_cells_are_divided(cells):
    genes, _ = cells
    assert clusters(genes, divide_cells=801).labels.max() == 3
    assert clusters(genes, divide_cells=800).labels.max() == 4


def test_one_cluster_is_not_divided_again():
    genes, _ = atlas((400, 400))

    def never(cells):
        raise AssertionError("its components are those of all cells")

    whole = components(genes)
    spaces = Spaces(whole[:, 20:], whole[:, 20:], inside=never)
    assert find_clusters(spaces, None, settings=ClusterSettings(), seed=0).labels.max() == 0


def test_a_cluster_of_too_few_cells_for_a_valley_is_not_divided():
    def never(cells):
        raise AssertionError("no valley can be measured")

    labels = np.repeat([0, 1], 7)
    divided, inside = divide_large(
        never,
        Evidence(np.arange(14), [np.eye(14, 3)], seed=0),
        labels,
        is_drawn=np.ones(14, bool),
        n_rare=0,
        n_neighbors=15,
        settings=ClusterSettings(divide_cells=1),
        seed=0,
    )
    np.testing.assert_array_equal(divided, labels)
    assert not inside


def test_parts_are_compared_in_components_of_their_cluster(found):
    supports = [each.support for each in found.levels.partings]
    assert min(supports) > 0.6


def test_a_number_between_divides_whole_clusters_in_the_embedding():
    genes, _ = atlas((400, 400, 400, 400, 300, 300, 300), n_pairs=2)
    n_whole = clusters(genes, divide_cells=0).labels.max() + 1
    n_divided = clusters(genes).labels.max() + 1
    assert n_divided == n_whole + 2
    between = clusters(genes, n_whole + 1)
    assert between.labels.max() == n_whole
    assert (
        f"supports {n_whole} clusters by cluster.least_support, and {n_divided} if"
        in between.notes[0]
    )
    plain = clusters(genes, n_whole + 1, divide_cells=0)
    np.testing.assert_array_equal(between.labels, plain.labels)
    assert clusters(genes, n_divided).notes == []


def test_the_number_before_large_clusters_are_divided_gives_whole_ones_and_a_note():
    genes, _ = atlas((400, 400, 400, 400, 300, 300, 300), n_pairs=2)
    whole = clusters(genes, divide_cells=0)
    n_whole, n_divided = whole.labels.max() + 1, clusters(genes).labels.max() + 1
    asked = clusters(genes, n_whole)
    np.testing.assert_array_equal(asked.labels, whole.labels)
    (note,) = asked.notes
    assert f"supports these {n_whole} clusters, and {n_divided} if large ones are divided" in note
    assert clusters(genes, n_whole, divide_cells=0).notes == []
    genes, _ = atlas((400, 400, 400), n_pairs=0)
    assert clusters(genes, clusters(genes).labels.max() + 1).notes == []


def test_advice_on_fewer_clusters_says_what_auto_divides_besides():
    genes, _ = atlas((400, 400, 400, 400, 300, 300, 300), n_pairs=2)
    n_whole = clusters(genes, divide_cells=0).labels.max() + 1
    (note,) = clusters(genes, n_whole - 1).notes
    assert (
        f"supports {n_whole} clusters by cluster.least_support before large ones are divided"
        in note
    )
    assert f"Give `n_clusters={n_whole}` for these, or auto, which also divides large ones." in note
    (plain,) = clusters(genes, n_whole - 1, divide_cells=0).notes
    assert "divided" not in plain
    assert "divides" not in plain
    assert f"Give `n_clusters={n_whole}` or auto for what is supported." in plain


def test_rare_types_stay_the_last_and_other_cells_follow_the_nearest(cells):
    genes, truth = cells
    whole, is_drawn = components(genes), np.arange(len(genes)) % 4 > 0
    labels = np.maximum(truth - 1, 0)
    evidence = Evidence(np.arange(len(genes)), [whole[:, :15]], seed=0)
    divided, inside = divide_large(
        spaces_of(genes).inside,
        evidence,
        labels,
        is_drawn=is_drawn,
        n_rare=1,
        n_neighbors=15,
        settings=ClusterSettings(),
        seed=0,
    )
    assert len(inside) == 1
    assert np.all(is_drawn[inside[0].shown])
    assert set(divided[truth == 4]) == {divided.max()}
    assert adjusted_rand_score(truth[is_drawn], divided[is_drawn]) > 0.95
    # In the components of all cells the nearest cell is of either type.
    assert np.all(divided[truth > 1] >= 2)


def test_evidence_of_a_group_counts_only_inside_it():
    rng = np.random.default_rng(0)
    flat, parted = rng.normal(size=(300, 3)), rng.normal(size=(200, 3))
    parted[100:, 0] += 9
    evidence = Evidence(np.arange(300), [flat], seed=0)
    a, b, outside = np.arange(100), np.arange(100, 200), np.arange(200, 300)
    assert evidence.support(a, b) < 0.5
    shown = np.arange(0, 200, 2)
    evidence.compare_inside(np.arange(200), shown, Evidence(shown, [parted[shown]], seed=0))
    assert evidence.support(a, b) > 0.9
    assert evidence.support(a, outside) < 0.5
    assert evidence.support(np.concatenate([a, outside[:50]]), b) < 0.5


@pytest.mark.parametrize(("n_neighbors", "expected"), [(None, 12), (7, 7)])
def test_graphs_inside_a_cluster_have_as_many_neighbours_as_those_of_all_cells(
    n_neighbors, expected, cells, monkeypatch
):
    seen, spaces = [], replace(spaces_of(cells[0]), n_neighbors=12)

    def dividing(*args, n_neighbors, **options):
        seen.append(n_neighbors)
        return divide_large(*args, n_neighbors=n_neighbors, **options)

    monkeypatch.setattr("scrcl.cluster.supported.divide_large", dividing)
    find_clusters(spaces, None, settings=ClusterSettings(n_neighbors=n_neighbors), seed=0)
    assert seen == [expected]
