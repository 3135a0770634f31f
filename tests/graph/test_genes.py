from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrcl.errors import InputError
from scrcl.graph.csr import connectivities, symmetric_graph
from scrcl.graph.genes import exact_neighbors, overlap, sketched_neighbors
from scrcl.prep.pca import fit_pca
from tests.reference_graph import adjacency, assert_valid, gene_distances, nearest_others

METRICS = ("euclidean", "cosine", "correlation")


def expression(n_obs, n_genes, seed):
    rng = np.random.default_rng(seed)
    programs = rng.gamma(1.0, 1.0, size=(n_obs, 4)) @ rng.gamma(0.3, 1.0, size=(4, n_genes))
    return np.log1p(rng.poisson(programs + 0.2)).astype(np.float64)


def exact(x, k, metric):
    return exact_neighbors(x.T @ x, x.sum(axis=0), len(x), k, metric=metric)


def sketched(x, k, metric, n_comps=None):
    pca = fit_pca(x.T @ x, x.sum(axis=0), len(x), n_comps=n_comps or x.shape[1])
    return sketched_neighbors(pca, len(x), k, metric=metric)


def distances_to(x, ids, metric):
    """Distances of each gene to those in its row of ids, by the naive twin."""
    return np.take_along_axis(gene_distances(x, metric), ids.astype(int), axis=1)


@settings(max_examples=30)
@given(
    n_genes=st.integers(2, 30),
    k=st.integers(1, 8),
    metric=st.sampled_from(METRICS),
    seed=st.integers(0, 10_000),
)
def test_exact_neighbours_are_the_nearest_columns(n_genes, k, metric, seed):
    x = expression(60, n_genes, seed)
    ids = exact(x, k, metric)
    assert ids.shape == (n_genes, min(k, n_genes - 1))
    assert (ids != np.arange(n_genes)[:, None]).all()
    assert all(len(set(row)) == len(row) for row in ids)
    nearest = np.sort(gene_distances(x, metric) + np.diag([np.inf] * n_genes), axis=1)
    assert np.allclose(distances_to(x, ids, metric), nearest[:, : ids.shape[1]], atol=1e-6)


def test_block_size_changes_no_neighbour(monkeypatch):
    x = expression(80, 50, 2)
    whole = [exact(x, 5, metric) for metric in METRICS]
    monkeypatch.setattr("scrcl.graph.genes._BLOCK_ROWS", 7)
    assert all(np.array_equal(a, exact(x, 5, m)) for a, m in zip(whole, METRICS, strict=True))


@pytest.mark.parametrize("metric", METRICS)
def test_the_sketch_of_all_components_finds_the_exact_neighbours(metric):
    x = expression(200, 25, 3)
    if metric == "euclidean":
        x -= x.mean(axis=0)  # the sketch holds the centred genes
    assert overlap(sketched(x, 5, metric), exact(x, 5, metric)) > 0.97


def test_euclidean_neighbours_by_the_sketch_are_the_nearest_rows_of_it():
    x = expression(100, 20, 4)
    pca = fit_pca(x.T @ x, x.sum(axis=0), len(x), n_comps=6)
    ids = sketched_neighbors(pca, len(x), 5)
    wanted, _ = nearest_others((pca.loadings * pca.singular_values).astype(np.float32), 5)
    assert np.array_equal(ids, wanted)


@pytest.mark.parametrize("k", [4, 13])
@pytest.mark.parametrize("search", [exact, sketched])
@pytest.mark.parametrize(
    ("metric", "undefined"), [("euclidean", []), ("cosine", [0]), ("correlation", [0, 1, 2])]
)
def test_a_gene_without_a_defined_metric_is_isolated(search, metric, undefined, k):
    x = expression(300, 14, 5)
    x[:, 0], x[:, 1], x[:, 2] = 0, 2.5, 1e-3
    ids = search(x, k, metric)
    assert np.flatnonzero((ids == -1).all(axis=1)).tolist() == undefined
    n_found = min(k, 13 - len(undefined))
    others = np.delete(ids, undefined, axis=0)
    assert (others[:, :n_found] >= 0).all()
    assert (others[:, n_found:] == -1).all()
    assert not np.isin(others, undefined).any()
    graph = symmetric_graph(ids)
    assert_valid(graph)
    assert (graph.degrees == 0).nonzero()[0].tolist() == undefined


def test_rows_end_in_minus_one_if_too_few_genes_are_defined():
    x = np.ones((50, 6))
    x[:, 3:5] = expression(50, 2, 6)
    for ids in (exact(x, 4, "correlation"), sketched(x, 4, "correlation")):
        assert ids.tolist()[3:5] == [[4, -1, -1, -1], [3, -1, -1, -1]]
        assert (np.delete(ids, [3, 4], axis=0) == -1).all()


@pytest.mark.parametrize("n_genes", [1, 2, 5, 30])
def test_the_graph_joins_each_gene_to_its_neighbours(n_genes):
    x = expression(60, n_genes, 1)
    graph = symmetric_graph(exact(x, 5, "euclidean"))
    assert_valid(graph)
    k = min(5, n_genes - 1)
    wanted = adjacency(nearest_others(x.T, k)[0]) if k else np.zeros((n_genes,) * 2)
    assert np.array_equal(connectivities(graph).toarray(), wanted)


def test_overlap_is_the_mean_share_of_common_neighbours():
    ids = np.array([[1, 2], [0, 2], [-1, -1], [0, -1]])
    others = np.array([[2, 3], [2, 0], [0, 1], [0, 1]])
    assert overlap(ids, others) == pytest.approx((0.5 + 1 + 1) / 3)
    assert overlap(ids[2:3], others[2:3]) is None


@pytest.mark.parametrize("search", [exact, sketched])
def test_k_must_be_at_least_one(search):
    with pytest.raises(InputError, match=r"k must.* 0"):
        search(expression(20, 5, 0), 0, "cosine")
