"""From ids of cells to places in a batch, in two ways with one result.

The compiled one sorts the neighbours of one batch: nothing of it grows with the atlas, nothing outlives
a call, and batches may be built by several threads. The other asks torch-sparse for the same.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from scrcl._compiled import compiled
from scrcl.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scrcl.typing import IntArray

__all__ = ["RELABELLERS", "Relabel", "relabel_compiled", "relabel_torch_sparse", "relabeller"]

POSITION_BITS = 32


class Relabel(Protocol):
    """Numbers the cells of a batch."""

    def __call__(
        self, seeds: NDArray[np.int64], neighbours: IntArray
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the cells of a batch, and the place of each neighbour among them.

        Parameters
        ----------
        seeds
            ndarray of int64, shape (n_seeds,), none twice.
        neighbours
            ndarray of int, shape (n_edges,), repeats and seeds among them.

        Returns
        -------
        tuple of ndarray of int64
            Shape (n_local,): the seeds as given, then the other neighbours, ascending. Shape
            (n_edges,): their places.

        Raises
        ------
        InputError
            When a seed is repeated.
        """


def relabeller(name: str) -> Relabel:
    """Return the way of this name: "native", "torch-sparse", or "auto", the faster: native.

    Raises
    ------
    MissingDependencyError
        When torch-sparse is asked for and not installed.
    """
    if name == "torch-sparse":
        _load_torch_sparse()
    return RELABELLERS[name]


def relabel_compiled(
    seeds: NDArray[np.int64], neighbours: IntArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`Relabel` by one sort and one walk: some 40 bytes for each neighbour."""
    # Id and position in one integer: sorting that is vectorised, and an argsort is not.
    in_order, of_seeds = _by_id(neighbours), _by_id(seeds)
    _refuse_repeats(of_seeds >> POSITION_BITS)
    nodes = np.empty(len(seeds) + len(neighbours), np.int64)
    nodes[: len(seeds)] = seeds
    places = np.empty(len(neighbours), np.int64)
    n_local = compiled(_walk)(in_order, of_seeds, nodes, places)
    return nodes[:n_local].copy(), places


def relabel_torch_sparse(
    seeds: NDArray[np.int64], neighbours: IntArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`Relabel` by torch-sparse, which numbers others as it meets them; they are sorted here."""
    torch = _load_torch_sparse()
    _refuse_repeats(np.sort(seeds))
    n_seeds = len(seeds)
    columns, ids = torch.ops.torch_sparse.relabel(
        torch.from_numpy(neighbours.astype(np.int64)), torch.from_numpy(seeds)
    )
    nodes, places = ids.numpy(), columns.numpy()
    by_id = np.argsort(nodes[n_seeds:])
    rank = np.arange(len(nodes))
    rank[n_seeds + by_id] = np.arange(n_seeds, len(nodes))
    return np.concatenate([seeds, nodes[n_seeds:][by_id]]), rank[places]


RELABELLERS: dict[str, Relabel] = {
    "auto": relabel_compiled,
    "native": relabel_compiled,
    "torch-sparse": relabel_torch_sparse,
}


@cache
def _load_torch_sparse() -> Any:
    """Return torch with the operators of torch-sparse."""
    try:
        with warnings.catch_warnings():
            # It goes through torch.jit.script, which torch 2.13 deprecates.
            warnings.simplefilter("ignore", DeprecationWarning)
            import torch_sparse
    except ImportError as error:
        msg = (
            "torch-sparse must be installed for train.sampler = torch-sparse; got no module that "
            "loads. Run `pip install --no-build-isolation scrcl[torch-sparse]`, or choose native: "
            "batches are the same."
        )
        raise MissingDependencyError(msg) from error
    return torch_sparse.torch


def _refuse_repeats(ascending: IntArray) -> None:
    repeated = ascending[1:][ascending[1:] == ascending[:-1]]
    if len(repeated):
        msg = f"seeds must not repeat; got {repeated[0]} twice. Give each cell once."
        raise InputError(msg)


def _by_id(cells: IntArray) -> NDArray[np.int64]:
    """Return ids and positions, joined in one integer each, ascending by id."""
    joined = (cells.astype(np.int64) << POSITION_BITS) | np.arange(len(cells))
    joined.sort()
    return joined


def _walk(in_order: np.ndarray, of_seeds: np.ndarray, nodes: np.ndarray, places: np.ndarray) -> int:
    """Go along neighbours and seeds, both by id: fill ``nodes`` and ``places``, return how many nodes."""
    position = (1 << POSITION_BITS) - 1
    n_local, at_seed, before, place = len(of_seeds), 0, -1, -1
    for joined in in_order:
        cell = joined >> POSITION_BITS
        if cell != before:
            before = cell
            while at_seed < len(of_seeds) and of_seeds[at_seed] >> POSITION_BITS < cell:
                at_seed += 1
            if at_seed < len(of_seeds) and of_seeds[at_seed] >> POSITION_BITS == cell:
                place = of_seeds[at_seed] & position
            else:
                place = n_local
                nodes[n_local] = cell
                n_local += 1
        places[joined & position] = place
    return n_local
