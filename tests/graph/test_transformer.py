from __future__ import annotations

import pickle

import numpy as np
import pytest
import scanpy as sc
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import DBSCAN
from sklearn.exceptions import NotFittedError
from sklearn.manifold import Isomap
from sklearn.metrics import pairwise_distances
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from scrcl import KNNTransformer
from scrcl.errors import InputError, MissingDependencyError
from scrcl.graph.genes import overlap
from scrcl.graph.transformer import _at_most_threads

METRICS = ("euclidean", "sqeuclidean", "cosine")


def some_points(n=200, n_dims=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n_dims)).astype(np.float32)


def rows_of(matrix):
    """Stored ids and values, one row per point."""
    shape = (matrix.shape[0], -1)
    return matrix.indices.reshape(shape), matrix.data.reshape(shape)


# No check is expected to fail. Sparse points are refused, which the checks allow if the message mentions it.
@parametrize_with_checks([KNNTransformer(n_neighbors=3)])
def test_the_checks_of_scikit_learn_pass(estimator, check):
    check(estimator)


@pytest.mark.parametrize("metric", METRICS)
def test_rows_hold_the_point_itself_and_its_neighbours_by_distance(metric):
    points = some_points()
    graph = KNNTransformer(n_neighbors=7, metric=metric).fit_transform(points)
    ids, values = rows_of(graph)
    assert graph.shape == (200, 200)
    assert graph.dtype == np.float32
    assert (np.diff(graph.indptr) == 8).all()
    assert (ids[:, 0] == np.arange(200)).all()
    assert (values[:, 0] == 0).all()
    assert (np.diff(values, axis=1) >= 0).all()
    away = pairwise_distances(points.astype(np.float64), metric=metric)
    assert np.allclose(values, np.sort(away, axis=1)[:, :8], atol=1e-5)
    assert np.allclose(values, np.take_along_axis(away, ids, axis=1), atol=1e-5)


def test_the_matrix_equals_that_of_scikit_learn():
    from sklearn.neighbors import KNeighborsTransformer

    points = some_points(300, 5)
    ours = KNNTransformer(n_neighbors=6).fit_transform(points)
    theirs = KNeighborsTransformer(n_neighbors=6).fit_transform(points.astype(np.float64))
    assert ours.nnz == theirs.nnz
    assert np.array_equal(rows_of(ours)[0], rows_of(theirs)[0])
    assert np.allclose(ours.data, theirs.data, atol=1e-5)


def test_each_of_equal_points_has_itself_first_and_zeros_are_stored():
    points = np.repeat(some_points(10), 6, axis=0)
    transformer = KNNTransformer(n_neighbors=5)
    graph = transformer.fit_transform(points)
    ids, values = rows_of(graph)
    assert (ids[:, 0] == np.arange(60)).all()
    assert (np.sort(ids, axis=1) == 6 * (np.arange(60) // 6)[:, None] + np.arange(6)).all()
    assert (values == 0).all()
    assert graph.nnz == 360
    assert (transformer.transform(points) != graph).nnz == 0


@pytest.mark.parametrize("metric", METRICS)
def test_other_points_are_searched_among_the_fitted_ones(metric):
    points, others = some_points(), some_points(30, seed=1)
    transformer = KNNTransformer(n_neighbors=4, metric=metric).fit(points)
    ids, values = rows_of(transformer.transform(others))
    away = pairwise_distances(others.astype(np.float64), points, metric=metric)
    assert np.array_equal(ids, np.argsort(away, axis=1)[:, :5])
    assert np.allclose(values, np.sort(away, axis=1)[:, :5], atol=1e-5)


def test_fitted_points_get_the_neighbours_that_fit_found():
    points = some_points(3_000, 16)
    transformer = KNNTransformer(n_neighbors=10, backend="ivf", recall=0.6)
    found = transformer.fit_transform(points)
    assert transformer.backend_ == "ivf"
    assert 0.6 <= transformer.recall_ < 1
    assert (transformer.transform(points) != found).nnz == 0
    exact = KNNTransformer(n_neighbors=10, backend="exact").fit_transform(points)
    assert 0.6 < overlap(rows_of(found)[0], rows_of(exact)[0]) < 1
    assert transformer.n_samples_fit_ == 3_000


def test_the_result_is_a_copy_and_the_transformer_can_be_pickled():
    points = some_points(50)
    transformer = KNNTransformer(n_neighbors=3)
    graph = transformer.fit_transform(points)
    kept = graph.copy()
    graph.data[:] = 7
    again = pickle.loads(pickle.dumps(transformer))
    assert (again.transform(points) != kept).nnz == 0


def test_the_seed_changes_the_result_and_threads_do_not():
    points = some_points(4_000, 12)
    settings = {"backend": "ivf", "recall": 0.5, "n_neighbors": 5}
    base = KNNTransformer(**settings, random_state=3, n_jobs=1).fit_transform(points)
    for n_jobs in (2, -1):
        same = KNNTransformer(**settings, random_state=3, n_jobs=n_jobs).fit_transform(points)
        assert (same != base).nnz == 0
    drawn = [
        KNNTransformer(**settings, random_state=np.random.RandomState(8)).fit_transform(points)
        for _ in range(2)
    ]
    assert (drawn[0] != drawn[1]).nnz == 0
    assert (drawn[0] != base).nnz > 0


def test_threads_are_limited_inside_the_block_only():
    import faiss
    import numba

    before = numba.get_num_threads(), faiss.omp_get_max_threads()
    with _at_most_threads(1):
        assert (numba.get_num_threads(), faiss.omp_get_max_threads()) == (1, 1)
    assert (numba.get_num_threads(), faiss.omp_get_max_threads()) == before
    with _at_most_threads(None):
        assert (numba.get_num_threads(), faiss.omp_get_max_threads()) == before


def test_settings_are_read_set_and_cloned():
    transformer = KNNTransformer(9, metric="cosine").set_params(recall=0.9, backend="exact")
    assert clone(transformer).get_params() == transformer.get_params() == {
        "n_neighbors": 9, "metric": "cosine", "backend": "exact", "recall": 0.9, "random_state": 0,
        "n_jobs": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_neighbors": 0}, "n_neighbors must"),
        ({"n_neighbors": 2.5}, "n_neighbors must"),
        ({"metric": "manhattan"}, "manhattan"),
        ({"backend": "psychic"}, "psychic"),
        ({"recall": 1.5}, "recall"),
        ({"n_jobs": 0}, "n_jobs must"),
    ],
)
def test_settings_that_break_a_rule_are_refused_when_fitting(settings, message):
    with pytest.raises(InputError, match=message):
        KNNTransformer(**settings).fit(some_points(40))


def test_points_that_break_a_rule_are_refused():
    transformer = KNNTransformer(n_neighbors=3)
    with pytest.raises(InputError, match="X must be dense"):
        transformer.fit(sparse.csr_matrix(some_points()))
    with pytest.raises(InputError, match=r"n_neighbors=3.* 3[.]"):
        transformer.fit(some_points(3))
    with pytest.raises(InputError, match="finite"):
        transformer.fit(np.full((9, 2), np.nan))
    zeros = some_points(9)
    zeros[4] = 0
    with pytest.raises(InputError, match=r"X must .* row 4"):
        KNNTransformer(n_neighbors=3, metric="cosine").fit(zeros)
    with pytest.raises(NotFittedError):
        transformer.transform(zeros)
    with pytest.raises(InputError, match="features"):
        transformer.fit(zeros).transform(zeros[:, :3])


def test_pipelines_accept_the_matrix():
    rng = np.random.default_rng(4)
    groups = np.repeat([0, 1], 60)
    points = rng.normal(size=(120, 3)) + 9 * groups[:, None]
    found = make_pipeline(
        KNNTransformer(n_neighbors=20), DBSCAN(eps=2.0, metric="precomputed")
    ).fit_predict(points)
    seen = found >= 0
    assert seen.mean() > 0.9
    assert (found[seen] == groups[seen]).all()
    line = np.sort(rng.uniform(0, 50, size=150))
    curve = np.column_stack([line, np.sin(line), np.cos(line)])
    isomap = make_pipeline(
        KNNTransformer(n_neighbors=10), Isomap(n_neighbors=10, n_components=1, metric="precomputed")
    )
    along = isomap.fit_transform(curve)[:, 0]
    assert abs(np.corrcoef(along, line)[0, 1]) > 0.99
    assert np.allclose(isomap.transform(curve[:20])[:, 0], along[:20], atol=0.5)


@pytest.mark.slow
@pytest.mark.xdist_group("umap")  # what it compiles takes longest: one worker for all of it
def test_scanpy_gets_the_neighbours_of_its_own_exact_search():
    exact = sc.datasets.pbmc68k_reduced()
    ours = exact.copy()
    sc.pp.neighbors(exact, n_neighbors=15, use_rep="X_pca")
    sc.pp.neighbors(ours, n_neighbors=15, transformer=KNNTransformer(), use_rep="X_pca")
    # Itself and 15 others, as with the transformers of scikit-learn and pynndescent.
    assert ours.obsp["distances"].nnz == 700 * 16
    apart = abs(exact.obsp["connectivities"] - ours.obsp["connectivities"])
    assert apart.max() < 1e-4
    assert ours.uns["neighbors"]["params"]["n_neighbors"] == 15
    sc.tl.umap(ours, maxiter=20)
    assert np.isfinite(ours.obsm["X_umap"]).all()
    sc.tl.leiden(ours, flavor="igraph", n_iterations=2, directed=False)
    assert 3 < ours.obs["leiden"].nunique() < 30


@pytest.mark.slow
def test_scanpy_gets_exact_neighbours_of_many_cells():
    import anndata
    from sklearn.neighbors import KNeighborsTransformer

    points = some_points(5_000, 10)
    graphs = []
    for transformer in (KNNTransformer(n_neighbors=12), KNeighborsTransformer(n_neighbors=12)):
        adata = anndata.AnnData(obsm={"X_pca": points}, shape=(5_000, 0))
        sc.pp.neighbors(adata, transformer=transformer, use_rep="X_pca", method="gauss")
        graphs.append(adata.obsp)
    ours, theirs = graphs
    assert ours["distances"].nnz == theirs["distances"].nnz == 5_000 * 13
    assert abs(ours["distances"] - theirs["distances"]).max() < 1e-4
    assert abs(ours["connectivities"] - theirs["connectivities"]).max() < 1e-3


def test_without_faiss_the_message_names_the_package_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        KNNTransformer(n_neighbors=3, backend="hnsw").fit(some_points(20))
