"""Choose a search backend and make its searcher. The backends themselves are listed in `scrcl.graph.names`."""

from __future__ import annotations

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from scrcl.errors import InputError
from scrcl.graph.faiss_library import on_gpu
from scrcl.graph.names import APPROXIMATE, BACKENDS, EXACT_BELOW, recall_of_one_message

if TYPE_CHECKING:
    from scrcl.graph.searcher import Searcher, SearchTask
    from scrcl.typing import FloatArray

__all__ = ["Search", "choose", "make_searcher"]

_MOST_GPU_BYTES = 16 * 10**9
"""Largest points, as float32, that "auto" puts on a GPU. A fixed bound, and not the memory of the machine: the
choice changes results, so it may depend only on the data, the settings and the kind of device."""


@dataclass(frozen=True)
class Search:
    """How neighbours are searched.

    Attributes
    ----------
    backend
        A name of `scrcl.graph.names.BACKENDS`, or "auto"; see `choose`.
    recall
        Share of true neighbours that an approximate search must find on a sample.
    bounded
        Whether "partitioned" stops below this recall where more takes too long (`SearchTask.bounded`).
    device
        Where "ivf" searches: ``cpu``, ``cuda`` or ``cuda:N`` (with a GPU build of FAISS).
    """

    backend: str = "auto"
    recall: float = 0.95
    device: str = "cpu"
    bounded: bool = False


def choose(search: Search, n_points: int, n_dims: int, *, n_queries: int | None = None) -> str:
    """Return the name of the backend to use.

    "auto" means "exact" if the recall must be 1, or if points times queries are fewer than 20,000 squared. Otherwise
    it means "ivf" if the device is a GPU that FAISS can use and the points take at most 16 GB as float32, else
    "partitioned". The choice depends on sizes, settings and device, never on free memory.

    Parameters
    ----------
    search
        The settings.
    n_points, n_dims
        Shape of the points that are searched.
    n_queries
        Number of points to find neighbours for; ``n_points`` if None.

    Raises
    ------
    InputError
        The backend is unknown, the recall is not in (0, 1], or it is 1 for an approximate search.
    """
    backend, recall = search.backend, search.recall
    if backend != "auto" and backend not in BACKENDS:
        message = (
            f"backend must be one of auto, {', '.join(BACKENDS)}; got {backend!r}. "
            "Choose one of them."
        )
        raise InputError(message)
    if not 0 < recall <= 1:
        message = (
            f"recall must be above 0 and at most 1; got {recall}. Choose a share such as 0.95."
        )
        raise InputError(message)
    if recall == 1 and backend in APPROXIMATE:
        raise InputError(recall_of_one_message(backend))
    if backend != "auto":
        return backend
    few = n_points * (n_points if n_queries is None else n_queries) < EXACT_BELOW**2
    if few or recall == 1:
        return "exact"
    fits_gpu = 4 * n_points * n_dims <= _MOST_GPU_BYTES
    return "ivf" if fits_gpu and on_gpu(search.device) else "partitioned"


def make_searcher(backend: str, points: FloatArray, task: SearchTask) -> Searcher:
    """Return a searcher over points.

    Parameters
    ----------
    backend
        A name that `choose` returned.
    points
        ndarray or memory map of float32, shape (n_points, n_dims).
    task
        What the searcher may need.

    Raises
    ------
    InputError
        The partition of the task is of other points.
    """
    searcher: Searcher = resolve_name(f"scrcl.graph.{BACKENDS[backend].searcher}").make(
        points, task
    )
    return searcher
