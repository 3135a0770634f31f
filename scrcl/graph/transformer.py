"""The neighbour search as a scikit-learn transformer, which `scanpy.pp.neighbors` accepts.

It turns points into a sparse matrix of distances to their neighbours, by the rules of
`sklearn.neighbors.KNeighborsTransformer`: each row has ``n_neighbors + 1`` stored values, nearest first. The first is
the point itself at distance 0.
"""

from __future__ import annotations

from contextlib import contextmanager
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from scrcl.errors import InputError
from scrcl.graph.backends import Search
from scrcl.graph.exact import ExactSearcher
from scrcl.graph.faiss_library import load_faiss
from scrcl.graph.knn import knn
from scrcl.io.arrays import cores, for_each_block, row_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from numpy.typing import NDArray

    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["KNNTransformer"]

_METRICS = ("euclidean", "sqeuclidean", "cosine")
_QUERY_ROWS = 4_096


class KNNTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn points into the sparse matrix of distances to their nearest neighbours.

    Parameters
    ----------
    n_neighbors
        Neighbours of a point, not counting itself. (``scanpy.pp.neighbors`` counts the cell itself: with 15, its
        connectivities use the cell and its 14 nearest others.)
    metric
        "euclidean", "sqeuclidean", or "cosine", which is one minus the cosine of the angle.
    backend
        "exact", "partitioned", "ivf", "hnsw" or "pynndescent". "auto" is "exact" below 20,000 points, else
        "partitioned".
    recall
        Share of true neighbours that an approximate search must find on a sample.
    random_state
        Seed of the search: an integer, or a ``RandomState`` or None to draw one from.
    n_jobs
        Most threads; None or -1 uses all cores. It changes results only with "hnsw" and "pynndescent".

    Attributes
    ----------
    recall_ : float
        Share of true neighbours found: 1.0 if exact, else measured on a sample.
    backend_ : str
        The search that was used.
    n_samples_fit_ : int
        Number of fitted points.
    n_features_in_ : int
        Number of dimensions of the fitted points.
    feature_names_in_ : ndarray of str
        Names of the dimensions, if the fitted points had names.

    Notes
    -----
    Distances are computed in float32, on the CPU. The transformer holds the points as float32, and
    ``8 * n * (n_neighbors + 1)`` bytes of neighbours, and returns a copy of these. A float32 array or memory map in C
    order is not copied, unless the metric is "cosine".

    Examples
    --------
    >>> import numpy as np
    >>> from scrcl import KNNTransformer
    >>> points = np.array([[0.0], [1.0], [3.0]])
    >>> KNNTransformer(n_neighbors=1).fit_transform(points).toarray()
    array([[0., 1., 0.],
           [1., 0., 0.],
           [0., 2., 0.]], dtype=float32)
    """

    def __init__(
        self,
        n_neighbors: int = 15,
        *,
        metric: str = "euclidean",
        backend: str = "auto",
        recall: float = 0.95,
        random_state: Any = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.backend = backend
        self.recall = recall
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: None = None) -> Self:
        """Find the neighbours of every point.

        Parameters
        ----------
        X
            Array of numbers, shape (n_samples, n_features), dense.
        y
            Not used.

        Raises
        ------
        InputError
            A parameter or ``X`` breaks its rule. ``X`` must be dense and finite, with more than ``n_neighbors`` rows,
            and without rows of zeros if the metric is "cosine".
        """
        del y
        self._check_parameters()
        points = self._as_points(X, fitting=True)
        if len(points) <= self.n_neighbors:
            message = (
                f"X must have more than n_neighbors={self.n_neighbors} rows; got n_samples = "
                f"{len(points)}. Ask for fewer neighbours or give more points."
            )
            raise InputError(message)
        with _at_most_threads(self.n_jobs):
            found = knn(
                points,
                int(self.n_neighbors),
                seed=_seed(self.random_state),
                search=Search(self.backend, self.recall),
                n_workers=self._n_threads(),
            )
        self._points = points
        self._graph = self._matrix(*_with_self(found.ids, found.distances))
        self.recall_ = float(found.recall)
        self.backend_ = found.backend
        self.n_samples_fit_ = self._n_features_out = len(points)
        return self

    def transform(self, X: Any) -> Csr:
        """Return the distances of points to their nearest fitted points.

        The search is exact. Only if ``X`` equals all fitted points, the neighbours are those that `fit` found. So
        ``fit(X).transform(X)`` equals ``fit_transform(X)`` with every backend.

        Parameters
        ----------
        X
            Array of numbers, shape (n_queries, n_features), dense.

        Returns
        -------
        csr_matrix of float32, shape (n_queries, n_samples_fit_)
            ``n_neighbors + 1`` stored values in each row, ascending, zeros among them.

        Raises
        ------
        InputError
            ``X`` is not dense and finite, or has other dimensions.
        sklearn.exceptions.NotFittedError
            `fit` was not called.
        """
        check_is_fitted(self, "recall_")  # a fit that failed may have left n_features_in_
        queries = self._as_points(X, fitting=False)
        if np.array_equal(queries, self._points):
            return self._graph.copy()
        searcher = ExactSearcher(self._points)
        ids = np.empty((len(queries), self._graph.indptr[1]), np.int32)
        distances = np.empty(ids.shape, np.float32)

        def search(start: int, stop: int) -> None:
            ids[start:stop], squared = searcher.search(queries[start:stop], ids.shape[1])
            np.sqrt(squared, out=distances[start:stop])

        with _at_most_threads(self.n_jobs):
            blocks = row_blocks(len(queries), _QUERY_ROWS)
            for_each_block(search, blocks, n_workers=self._n_threads())
        return self._matrix(ids, distances)

    def fit_transform(self, X: Any, y: None = None, **_fit_parameters: Any) -> Csr:
        """Fit the points and return their distances to their neighbours; see `fit`.

        Returns
        -------
        csr_matrix of float32, shape (n_samples, n_samples)
            Each row holds the point itself at distance 0, then its neighbours by distance. Distances of 0 between
            equal points are stored.
        """
        self.fit(X, y)
        return self._graph.copy()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _n_threads(self) -> int:
        return cores() if self.n_jobs in (None, -1) else min(int(self.n_jobs or 1), cores())

    def _check_parameters(self) -> None:
        _require_count("n_neighbors", self.n_neighbors, "Ask for at least one neighbour.")
        if self.metric not in _METRICS:
            message = (
                f"metric must be one of {', '.join(_METRICS)}; got {self.metric!r}. Choose one."
            )
            raise InputError(message)

    def _as_points(self, X: Any, *, fitting: bool) -> FloatArray:
        """Return rows as finite float32, scaled to unit length if the metric is "cosine"."""
        if sparse.issparse(X):
            message = (
                f"X must be dense; got a sparse matrix of shape {X.shape}. Give principal components "
                '(scanpy: use_rep="X_pca"), or X.toarray() if it has few columns.'
            )
            raise InputError(message)
        try:
            points: FloatArray = validate_data(self, X, reset=fitting, dtype=np.float32, order="C")
        except ValueError as error:
            message = f"X must be a matrix of finite numbers; got one that is not. {error}"
            raise InputError(message) from error
        return _of_unit_length(points) if self.metric == "cosine" else points

    def _matrix(self, ids: IntArray, distances: NDArray[np.float32]) -> Csr:
        """Return neighbours as a matrix, with Euclidean distances converted to the metric in place."""
        if self.metric != "euclidean":
            distances *= distances
        if self.metric == "cosine":
            distances /= 2  # |x - y|^2 = 2 - 2 cos for rows of unit length
        n_rows, n_entries = ids.shape
        wide = ids.size > np.iinfo(np.int32).max
        dtype = np.int64 if wide else np.int32
        indptr = np.arange(0, ids.size + 1, n_entries, dtype=dtype)
        columns = ids.reshape(-1).astype(dtype, copy=False)
        return sparse.csr_matrix(
            (distances.reshape(-1), columns, indptr), shape=(n_rows, len(self._points))
        )


def _with_self(ids: IntArray, distances: FloatArray) -> tuple[IntArray, NDArray[np.float32]]:
    """Return neighbours with each point itself before them, at distance 0."""
    n, k = ids.shape
    with_own = np.empty((n, k + 1), np.int32)
    with_own[:, 0] = np.arange(n)
    with_own[:, 1:] = ids
    with_zero = np.zeros((n, k + 1), np.float32)
    with_zero[:, 1:] = distances
    return with_own, with_zero


def _of_unit_length(points: FloatArray) -> NDArray[np.float32]:
    """Return a copy with rows scaled to unit length."""
    scaled = np.empty(points.shape, np.float32)
    for start, stop in row_blocks(len(points), _QUERY_ROWS):
        rows = points[start:stop].astype(np.float64)  # squares may leave the range of float32
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not lengths.all():
            message = (
                f'X must have no row of zeros with metric "cosine"; got one in row '
                f'{start + int(np.argmin(lengths))}. Remove it, or use metric "euclidean".'
            )
            raise InputError(message)
        scaled[start:stop] = rows / lengths
    return scaled


def _require_count(name: str, value: Any, advice: str) -> None:
    if not isinstance(value, Integral) or value < 1:
        message = f"{name} must be an integer of at least 1; got {value!r}. {advice}"
        raise InputError(message)


def _seed(random_state: Any) -> int:
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


@contextmanager
def _at_most_threads(n_jobs: int | None) -> Iterator[None]:
    """Limit searches inside the block to ``n_jobs`` threads."""
    if n_jobs is None or n_jobs == -1:
        yield
        return
    _require_count("n_jobs", n_jobs, "Give a number of threads, or None for all cores.")
    from threadpoolctl import threadpool_limits

    load_faiss()  # only loaded libraries can be limited
    before = numba.get_num_threads()
    numba.set_num_threads(min(int(n_jobs), numba.config.NUMBA_NUM_THREADS))
    try:
        with threadpool_limits(limits=int(n_jobs), user_api="openmp"):
            yield
    finally:
        numba.set_num_threads(before)
