"""Diffusion pseudotime of a graph, against scanpy."""

import anndata
import numpy as np
import pytest
from scipy import sparse
from scipy.stats import spearmanr

from scrcl.maps.diffusion import connected_to, diffusion_coordinates, pseudotime, tip_of


def branching(n, seed=0):
    """Points along a stem that divides into two arms."""
    rng = np.random.default_rng(seed)
    along, arm = rng.random(n), rng.integers(0, 2, n)
    up = np.where(along > 0.5, (along - 0.5) * np.where(arm, 1, -1), 0)
    return np.column_stack([along, up, 0.02 * rng.normal(size=(n, 3))]) + 0.01 * rng.normal(
        size=(n, 5)
    )


@pytest.mark.parametrize("n", [14, 60, 300])
def test_pseudotime_is_that_of_scanpy(n):
    import scanpy as sc

    points = branching(n).astype(np.float32)
    adata = anndata.AnnData(points)
    sc.pp.neighbors(adata, n_neighbors=min(15, n // 2), use_rep="X", method="gauss")
    root = int(points[:, 0].argmin())
    adata.uns["iroot"] = root
    sc.tl.diffmap(adata, n_comps=min(15, n - 2))
    sc.tl.dpt(adata, n_dcs=10)
    start = np.random.default_rng(1).normal(size=n)
    found = pseudotime(diffusion_coordinates(adata.obsp["connectivities"], 10, start), root)
    theirs = adata.obs["dpt_pseudotime"].to_numpy()
    # Of a few points, some of scanpy's ten components have negative eigenvalues, which are no paths.
    if n == 300:
        assert found == pytest.approx(theirs, abs=2e-3)
    assert spearmanr(found, theirs).statistic > 0.98


def test_of_many_cells_it_still_follows_the_path():
    """scanpy takes eigenvalues near 1 for 1: its correlation here is .05."""
    n = 1500
    along = np.arange(n)
    near = (
        np.repeat(along, 8),
        np.clip(np.add.outer(along, [-4, -3, -2, -1, 1, 2, 3, 4]), 0, n - 1).ravel(),
    )
    graph = sparse.csr_matrix((np.ones(8 * n), near), shape=(n, n))
    weights = graph.maximum(graph.T)
    start = np.random.default_rng(1).normal(size=n)
    found = pseudotime(diffusion_coordinates(weights, 10, start), 0)
    assert spearmanr(found, along).statistic > 0.999


def test_the_component_of_most_cells_is_kept():
    blocks = [np.ones((3, 3)), np.ones((5, 5)), np.ones((1, 1))]
    graph = sparse.csr_matrix(sparse.block_diag(blocks))
    assert connected_to(graph, np.array([0, 4, 5])).tolist() == [3, 4, 5, 6, 7]
    assert connected_to(graph, np.array([8])).tolist() == [8]


def test_the_tip_of_a_group_points_away_from_the_others_and_is_no_outlier():
    line = np.column_stack([np.linspace(0, 1, 101), np.zeros(101)])
    group = np.arange(40)
    assert tip_of(line, group) <= 3
    line[20] = [0.2, 3]  # the cell farthest from all others
    assert tip_of(line, group) != 20
    assert tip_of(line, np.arange(101)) in {*range(11), *range(90, 101), 20}


def test_a_tip_points_away_from_the_other_cells_and_not_from_most_of_its_own():
    places = np.concatenate([np.zeros(5), np.linspace(1, 2, 20), np.linspace(9, 10, 80)])
    assert places[tip_of(places[:, None], np.arange(5, 105))] > 9
