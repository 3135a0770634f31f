"""The neighbour search as a scikit-learn transformer: what ``scanpy.pp.neighbors`` takes as its own.

Points become a sparse matrix of their distances to their neighbours, by the rules of
`sklearn.neighbors.KNeighborsTransformer`: ``n_neighbors + 1`` stored values in each row, nearest
first, of which the first is the point itself at distance 0.
"""

from __future__ import annotations

from contextlib import contextmanager
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from scrcl.errors import InputError
from scrcl.graph.exact import ExactSearcher
from scrcl.graph.index import load_faiss
from scrcl.graph.knn import knn
from scrcl.io.arrays import cores, for_each_block, row_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from numpy.typing import NDArray

    from scrcl.typing import Csr, FloatArray, IntArray

__all__ = ["KNNTransformer"]

METRICS = ("euclidean", "sqeuclidean", "cosine")
QUERY_ROWS = 4_096


class KNNTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn points into the sparse matrix of distances to their nearest neighbours.

    Parameters
    ----------
    n_neighbors
        Neighbours of a point, itself not counted. (``scanpy.pp.neighbors`` counts a cell itself: of
        15 it keeps the cell and the 14 nearest others for its connectivities.)
    metric
        "euclidean", "sqeuclidean", or "cosine": one minus the cosine of the angle.
    backend
        See `scrcl.graph.knn.knn`; "auto" chooses by the number of points.
    recall
        Share of true neighbours that an approximate search must find on a sample.
    random_state
        Seed of the search: a whole number, or a ``RandomState`` or None to draw one from.
    n_jobs
        Threads at most; None or -1: all cores. Changes no result but of "hnsw" and "pynndescent".

    Attributes
    ----------
    recall_ : float
        Share of true neighbours found: 1.0 where exact, measured on a sample where approximate.
    backend_ : str
        The search that was used.
    n_samples_fit_ : int
        Number of fitted points.
    n_features_in_ : int
        Their dimensions.
    feature_names_in_ : ndarray of str
        Names of the dimensions, where the fitted points had names.

    Notes
    -----
    Distances are computed in float32. Holds the points, as float32 (no copy of a float32 array or
    memory map in C order, but for "cosine"), and ``8 * n * (n_neighbors + 1)`` bytes of neighbours, of
    which a copy is returned. Runs on the CPU.

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
            When a parameter or ``X`` breaks a rule: finite, dense, more than ``n_neighbors`` points,
            and no row of zeros where the metric is "cosine".
        """
        del y
        self._check_parameters()
        points = self._as_points(X, fitting=True)
        if len(points) <= self.n_neighbors:
            msg = (
                f"X must have more than n_neighbors={self.n_neighbors} rows; got n_samples = "
                f"{len(points)}. Ask for fewer neighbours or give more points."
            )
            raise InputError(msg)
        with _at_most_threads(self.n_jobs):
            found = knn(
                points,
                int(self.n_neighbors),
                seed=_seed(self.random_state),
                backend=self.backend,
                recall_target=self.recall,
                n_workers=self._n_threads(),
            )
        self._points = points
        self._graph = self._matrix(*_with_self(found.ids, found.distances))
        self.recall_ = float(found.recall)
        self.backend_ = found.backend
        self.n_samples_fit_ = self._n_features_out = len(points)
        return self

    def transform(self, X: Any) -> Csr:
        """Return distances of points to their nearest fitted points.

        Fitted points are searched exactly, but for ``X`` equal to all of them, which gets what `fit`
        found: ``fit(X).transform(X)`` is ``fit_transform(X)`` whatever the search.

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
            When ``X`` breaks a rule.
        sklearn.exceptions.NotFittedError
            Before `fit`.
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
            blocks = row_blocks(len(queries), QUERY_ROWS)
            for_each_block(search, blocks, n_workers=self._n_threads())
        return self._matrix(ids, distances)

    def fit_transform(self, X: Any, y: None = None, **_fit_parameters: Any) -> Csr:
        """Fit the points and return their distances to their neighbours: see `fit`, `transform`.

        Returns
        -------
        csr_matrix of float32, shape (n_samples, n_samples)
            In each row the point itself, at distance 0, then its neighbours by distance; zeros are
            stored where points are equal.
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
        _require_count("n_neighbors", self.n_neighbors, "Ask for one neighbour or more.")
        if self.metric not in METRICS:
            msg = f"metric must be one of {', '.join(METRICS)}; got {self.metric!r}. Choose one."
            raise InputError(msg)

    def _as_points(self, X: Any, *, fitting: bool) -> FloatArray:
        """Return the rows as finite float32, of unit length where the metric is "cosine"."""
        if sparse.issparse(X):
            msg = (
                f"X must be dense; got a sparse matrix of shape {X.shape}. Give principal components "
                '(scanpy: use_rep="X_pca"), or X.toarray() where it has few columns.'
            )
            raise InputError(msg)
        try:
            points: FloatArray = validate_data(self, X, reset=fitting, dtype=np.float32, order="C")
        except ValueError as error:
            msg = f"X must be a matrix of finite numbers; got one that is not. {error}"
            raise InputError(msg) from error
        return _of_unit_length(points) if self.metric == "cosine" else points

    def _matrix(self, ids: IntArray, distances: NDArray[np.float32]) -> Csr:
        """Return the rows of neighbours as a matrix, Euclidean distances turned into the metric's."""
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
    """Put each point before its neighbours, at distance 0."""
    n, k = ids.shape
    wider = np.empty((n, k + 1), np.int32)
    wider[:, 0] = np.arange(n)
    wider[:, 1:] = ids
    further = np.zeros((n, k + 1), np.float32)
    further[:, 1:] = distances
    return wider, further


def _of_unit_length(points: FloatArray) -> NDArray[np.float32]:
    """Return a copy with rows of length 1."""
    scaled = np.empty(points.shape, np.float32)
    for start, stop in row_blocks(len(points), QUERY_ROWS):
        rows = points[start:stop].astype(np.float64)  # squares may leave the range of float32
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not lengths.all():
            msg = (
                f'X must have no row of zeros where metric is "cosine"; got one in row '
                f'{start + int(np.argmin(lengths))}. Remove it, or take metric "euclidean".'
            )
            raise InputError(msg)
        scaled[start:stop] = rows / lengths
    return scaled


def _require_count(name: str, value: Any, advice: str) -> None:
    if not isinstance(value, Integral) or value < 1:
        msg = f"{name} must be a whole number of at least 1; got {value!r}. {advice}"
        raise InputError(msg)


def _seed(random_state: Any) -> int:
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


@contextmanager
def _at_most_threads(n_jobs: int | None) -> Iterator[None]:
    """Hold searches inside the block to so many threads."""
    if n_jobs is None or n_jobs == -1:
        yield
        return
    _require_count("n_jobs", n_jobs, "Give a number of threads, or None for all cores.")
    import numba
    from threadpoolctl import threadpool_limits

    load_faiss()  # only libraries that are loaded can be held
    before = numba.get_num_threads()
    numba.set_num_threads(min(int(n_jobs), numba.config.NUMBA_NUM_THREADS))
    try:
        with threadpool_limits(limits=int(n_jobs), user_api="openmp"):
            yield
    finally:
        numba.set_num_threads(before)
