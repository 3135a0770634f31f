"""Associations of clusters and genes, against products that hold all cells and genes."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scrcl.graph.csr import Graph, symmetric_graph
from scrcl.graph.modules import NO_MODULE, gene_modules
from scrcl.markers.associations import (
    ASSOCIATION_COLUMNS,
    association_table,
    cluster_associations,
)
from scrcl.markers.listed import ListedGenes
from scrcl.train.methods.scrcl.gene_vectors import fitted_gene_vectors

MARKERS = pd.DataFrame({"cluster": [0, 0, 1], "rank": [0, 1, 0], "gene": ["b", "c", "a"]})


@pytest.mark.parametrize("block_rows", [7, 1000])
def test_a_score_is_the_mean_association_inside_minus_outside(block_rows):
    rng = np.random.default_rng(0)
    cells, genes = rng.normal(size=(50, 4)).astype(np.float32), rng.normal(size=(6, 4))
    labels = rng.integers(3, size=50)
    found = cluster_associations(cells, genes, labels, block_rows=block_rows)
    whole = cells.astype(float) @ genes.T
    for cluster in range(3):
        inside = labels == cluster
        expected = whole[inside].mean(axis=0) - whole[~inside].mean(axis=0)
        np.testing.assert_allclose(found[cluster], expected, atol=1e-6)


def table(scores, genes=("a", "b", "c"), n_top=2):
    return association_table(
        np.array(scores, float),
        ListedGenes(np.array(genes, object), None, np.array(["", "ribosomal", ""], object)),
        modules=np.array([1, 0, NO_MODULE], np.int32),
        markers=MARKERS,
        n_top=n_top,
    )


def test_the_table_lists_the_largest_associations_with_module_kind_and_rank_among_markers():
    found = table([[1, 3, 2], [0, -1, 5]])
    assert list(found) == list(ASSOCIATION_COLUMNS)
    assert found["gene"].tolist() == ["b", "c", "c", "a"]
    assert found["marker_rank"].tolist() == [0, 1, -1, 0]
    assert found["module"].tolist() == [0, -1, -1, 1]
    assert found["kind"].tolist() == ["ribosomal", "", "", ""]
    assert len(table([[1, 3, 2], [0, -1, 5]], n_top=9)) == 6


def test_one_cluster_has_no_associations():
    scores = cluster_associations(np.ones((4, 2), np.float32), np.ones((3, 2)), np.zeros(4, int))
    assert not scores.any()
    assert list(table(scores)) == list(ASSOCIATION_COLUMNS)
    assert not len(table(scores))


class Store:
    """Log values in two parts, as a feature store gives them."""

    def __init__(self, values):
        self.values, (self.n_obs, self.n_vars) = values, values.shape

    def __iter__(self):
        for start, stop in ((0, 30), (30, self.n_obs)):
            yield start, sparse.csr_matrix(self.values[start:stop])


def test_vectors_of_genes_give_back_values_that_depend_on_z_whatever_its_rotation():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(80, 3)) + 2
    values = (z @ rng.normal(size=(3, 5)) + 4).astype(np.float32)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for each in (z, -z, z @ turn):
        turned = each.astype(np.float32)
        found = (turned - turned.mean(axis=0)) @ fitted_gene_vectors(Store(values), turned).T
        np.testing.assert_allclose(found, values - values.mean(axis=0), atol=1e-3)


def ring(first, n):
    return [[first + (i + 1) % n, first + (i - 1) % n] for i in range(n)]


def test_modules_are_communities_largest_first_without_the_small_ones():
    ids = np.array([*ring(0, 3), *ring(3, 5), [9, -1], [8, -1], [-1, -1]])
    graph = symmetric_graph(ids)
    assert isinstance(graph, Graph)
    found = gene_modules(graph, seed=0)
    assert found.tolist() == [1] * 3 + [0] * 5 + [NO_MODULE] * 3
