"""UMAP, PAGA and the dendrogram against slow twins and scanpy."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from scipy.cluster import hierarchy

from scrcl._compiled import compiled
from scrcl.graph.csr import distances_matrix
from scrcl.graph.knn import knn
from scrcl.maps.dendrogram import scanpy_dendrogram
from scrcl.maps.paga import Links, paga_links, positions, scanpy_paga
from scrcl.maps.place import placed
from scrcl.maps.umap import _CURVES, _epochs, fitted_curve, umap_layout
from scrcl.maps.weights import edge_weights

RNG = np.random.default_rng(0)
LABELS = np.sort(RNG.integers(4, size=400))
CENTRES = np.array([[0, 0, 0], [9, 0, 0], [0, 40, 0], [0, 0, 90]])
POINTS = (RNG.normal(size=(400, 3)) + CENTRES[LABELS]).astype(np.float32)
FOUND = knn(POINTS, 10, seed=0)


def test_weights_are_those_of_the_definition():
    joined = edge_weights(FOUND.ids, FOUND.distances).toarray()
    directed = np.zeros((400, 400))
    for i, (ids, distances) in enumerate(zip(FOUND.ids, FOUND.distances, strict=True)):
        beyond = distances - distances[0]
        scales = np.geomspace(1e-3, 1e3, 200_001)
        sums = np.exp(-beyond[:, None] / scales).sum(axis=0)
        scale = scales[np.abs(sums - np.log2(11)).argmin()]
        directed[i, ids] = np.exp(-beyond / scale)
    assert joined == pytest.approx(directed + directed.T - directed * directed.T, abs=2e-3)
    assert (joined == joined.T).all()


def test_weights_stand_missing_neighbours_and_cells_on_one_point():
    ids = np.array([[1, 2], [0, -1], [-1, -1]])
    weights = edge_weights(ids, np.zeros((3, 2), np.float32))
    assert np.isfinite(weights.data).all()
    assert weights[0, 1] == 1
    assert weights[1, 2] == 0


def test_a_cell_on_the_same_point_does_not_count_as_the_nearest():
    ids, distances = np.full((5, 4), -1), np.zeros((5, 4), np.float32)
    ids[0], distances[0] = [1, 2, 3, 4], [0, 1, 2, 3]
    weights = edge_weights(ids, distances)[0].toarray()[0]
    assert weights[1:3].tolist() == [1, 1]
    assert 1 > weights[3] > weights[4] > 0


def test_a_layout_is_a_function_of_the_seed_and_keeps_neighbours():
    weights = edge_weights(FOUND.ids, FOUND.distances)
    layout = umap_layout(weights, POINTS, seed=1)
    assert layout.dtype == np.float32
    assert np.array_equal(layout, umap_layout(weights, POINTS, seed=1))
    assert not np.array_equal(layout, umap_layout(weights, POINTS, seed=2))
    near = knn(layout, 10, seed=0).ids
    kept = np.mean([len(set(a) & set(b)) for a, b in zip(near, FOUND.ids, strict=True)])
    assert kept > 4  # 0.25 by chance
    assert (LABELS[near] == LABELS[:, None]).mean() > 0.99


def umap_learns_epochs(edges, every, xy, n_epochs, stop, a, b, random):
    """Both ends of an edge attract each other, and five random cells for each visit push its head away."""
    due, due_apart = every.copy(), every / 5
    for epoch in range(stop):
        rate = 1 - epoch / n_epochs
        for edge, (head, tail) in enumerate(edges):
            if due[edge] > epoch:
                continue
            away = xy[head] - xy[tail]
            squared = away @ away
            pull = -2 * a * b * squared ** (b - 1) / (1 + a * squared**b)
            step = rate * np.clip(pull * away, -4, 4)
            xy[head] += step
            xy[tail] -= step
            due[edge] += every[edge]
            n_apart = int((epoch - due_apart[edge]) / (every[edge] / 5))
            for _ in range(n_apart):
                random = (random * 6364136223846793005 + 1442695040888963407) % 2**64
                away = xy[head] - xy[(random >> 33) % len(xy)]
                squared = away @ away
                if squared > 0:
                    push = 2 * b / ((0.001 + squared) * (1 + a * squared**b))
                    xy[head] += rate * np.clip(push * away, -4, 4)
            due_apart[edge] += n_apart * every[edge] / 5
    return xy


def test_an_epoch_has_the_steps_of_umap_learn():
    rng = np.random.default_rng(0)
    graph = sparse.random(12, 12, 0.3, format="csr", rng=rng)
    every = rng.choice([5, 10], graph.nnz).astype(np.float32)  # a fifth has no rounding
    start, n_epochs = rng.uniform(0, 10, (12, 2)).astype(np.float32), 50
    expected = umap_learns_epochs(
        np.transpose(graph.nonzero()), every, start.astype(float), n_epochs, 12, 0.6, 1.3, 7
    )
    found, state = start.copy(), np.array([7], np.uint64)
    compiled(_epochs)(
        graph.indptr, graph.indices, every, every.copy(), every / 5, found, 0, 12, n_epochs,
        np.float32(0.6), np.float32(1.3), state,
    )  # fmt: skip
    assert np.abs(found - start).max() > 1
    assert found == pytest.approx(expected, abs=1e-2)


def test_a_small_distance_gives_tighter_clumps():
    weights = edge_weights(FOUND.ids, FOUND.distances)
    loose, tight = (umap_layout(weights, POINTS, seed=1, min_dist=d) for d in (0.9, 0.01))
    assert np.median(knn(tight, 1, seed=0).distances) < np.median(knn(loose, 1, seed=0).distances)


def test_other_cells_are_put_among_the_nearest():
    layout = np.array([[0, 0], [1, 0], [10, 10]], np.float32)
    where = placed(
        np.array([[0, 1, -1], [2, -1, -1]]), np.array([[0, 4, np.inf], [1, 0, 0]]), layout
    )
    assert where[1].tolist() == [10, 10]
    assert 0 < where[0, 0] < 0.5
    assert where[0, 1] == 0
    # Weights 1 and exp(-2): of 1 and 3, the second lies 2 beyond the nearest, whose mean is 1.
    far = placed(np.array([[0, 1]]), np.array([[1.0, 9.0]]), layout)
    assert far[0, 0] == pytest.approx(np.exp(-2) / (1 + np.exp(-2)))


def linked():
    ids = FOUND.ids.copy()
    ids[:200, -1] = RNG.integers(400, size=200)  # links between clusters
    ids[3, 4] = -1
    return ids


def test_paga_is_scanpys(tmp_path):
    ids = linked()
    layout = RNG.normal(size=(400, 2))
    links = paga_links(ids, LABELS, positions(layout, LABELS))
    links.save(tmp_path / "links.npz")
    mine = scanpy_paga(Links.load(tmp_path / "links.npz"), groups="scrcl")
    distances = distances_matrix(ids, FOUND.distances)
    adata = anndata.AnnData(
        np.zeros((400, 1), np.float32),
        obs=pd.DataFrame(
            {"scrcl": pd.Categorical(LABELS.astype(str))}, index=[f"c{i}" for i in range(400)]
        ),
        obsp={"d": distances, "c": sparse.csr_matrix(distances > 0)},
        uns={"n": {"connectivities_key": "c", "distances_key": "d", "params": {"n_neighbors": 10}}},
    )
    sc.tl.paga(adata, groups="scrcl", neighbors_key="n")
    for key in ("connectivities", "connectivities_tree"):
        theirs = adata.uns["paga"][key].toarray()
        assert theirs.any()
        assert mine[key].toarray() == pytest.approx(theirs)
    assert links.sizes.tolist() == adata.uns["scrcl_sizes"].tolist()
    assert mine["pos"][2] == pytest.approx(np.median(layout[LABELS == 2], axis=0))


def test_clusters_with_more_links_than_by_chance_have_one_and_no_more():
    ids = (np.arange(10)[:, None] + [1, 3]) % 10  # all in the other cluster
    links = paga_links(ids, np.arange(10) % 2, np.zeros((2, 2)))
    assert links.connectivities.tolist() == [[0, 1], [1, 0]]


def test_a_dendrogram_is_the_tree_without_clusters_that_lost_their_cells():
    means = RNG.normal(size=(5, 3)) * 10
    tree = hierarchy.linkage(means, "average")
    tree[:, 2] **= 2
    whole = scanpy_dendrogram(tree, means, 5, groupby="scrcl")
    assert whole["linkage"][:, 2] == pytest.approx(np.sqrt(tree[:, 2]))
    assert sorted(whole["categories_ordered"]) == list("01234")
    less = scanpy_dendrogram(tree, means, 4, groupby="scrcl")
    assert less["linkage"].shape == (3, 4)
    meet = hierarchy.cophenet(less["linkage"])
    kept = [0, 1, 2, 4, 5, 7]  # pairs of the first four of five clusters
    assert meet == pytest.approx(hierarchy.cophenet(whole["linkage"])[kept])


def test_the_curve_that_is_kept_is_the_fitted_one():
    assert _CURVES[0.5] == pytest.approx(fitted_curve(0.5), rel=1e-6)
