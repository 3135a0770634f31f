"""From ids of cells to positions in a mini-batch, by one of two implementations with equal results.

The compiled one sorts the neighbours of one mini-batch. Its memory does not depend on the size of the atlas, it keeps
nothing between calls, and several threads may build mini-batches at once. The other one uses torch-sparse.
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

__all__ = ["Relabel", "relabel_compiled", "relabel_torch_sparse", "relabeller"]

_POSITION_BITS = 32


class Relabel(Protocol):
    """Numbers the cells of a mini-batch."""

    def __call__(
        self, seeds: NDArray[np.int64], neighbours: IntArray
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the cells of a mini-batch, and the position of each neighbour among them.

        Parameters
        ----------
        seeds
            ndarray of int64, shape (n_seeds,), without repeats.
        neighbours
            ndarray of int, shape (n_edges,); it may hold repeats and seeds.

        Returns
        -------
        nodes
            ndarray of int64, shape (n_local,): the seeds in their order, then the other neighbours, ascending.
        positions
            ndarray of int64, shape (n_edges,): positions of ``neighbours`` in ``nodes``.

        Raises
        ------
        InputError
            A seed is repeated.
        """


def relabeller(name: str) -> Relabel:
    """Return an implementation by name: "native", "torch-sparse", or "auto", which is "native", the faster one.

    Raises
    ------
    MissingDependencyError
        torch-sparse is requested and not installed.
    """
    if name == "torch-sparse":
        _load_torch_sparse()
    return _RELABELLERS[name]


def relabel_compiled(
    seeds: NDArray[np.int64], neighbours: IntArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`Relabel` by two sorts and a merge; about 40 bytes per neighbour."""
    by_id, seeds_by_id = _sorted_by_id(neighbours), _sorted_by_id(seeds)
    _refuse_repeats(seeds_by_id >> _POSITION_BITS)
    nodes = np.empty(len(seeds) + len(neighbours), np.int64)
    nodes[: len(seeds)] = seeds
    positions = np.empty(len(neighbours), np.int64)
    n_local = compiled(_number)(by_id, seeds_by_id, nodes, positions)
    return nodes[:n_local].copy(), positions


def relabel_torch_sparse(
    seeds: NDArray[np.int64], neighbours: IntArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`Relabel` by torch-sparse. It numbers other neighbours in the order it meets them, so they are sorted here."""
    torch = _load_torch_sparse()
    _refuse_repeats(np.sort(seeds))
    n_seeds = len(seeds)
    columns, ids = torch.ops.torch_sparse.relabel(
        torch.from_numpy(neighbours.astype(np.int64)), torch.from_numpy(seeds)
    )
    nodes, positions = ids.numpy(), columns.numpy()
    by_id = np.argsort(nodes[n_seeds:])
    rank = np.arange(len(nodes))
    rank[n_seeds + by_id] = np.arange(n_seeds, len(nodes))
    return np.concatenate([seeds, nodes[n_seeds:][by_id]]), rank[positions]


_RELABELLERS: dict[str, Relabel] = {
    "auto": relabel_compiled,
    "native": relabel_compiled,
    "torch-sparse": relabel_torch_sparse,
}


@cache
def _load_torch_sparse() -> Any:
    """Return torch with the operators of torch-sparse."""
    try:
        with warnings.catch_warnings():
            # It uses torch.jit.script, which torch 2.13 deprecates.
            warnings.simplefilter("ignore", DeprecationWarning)
            import torch_sparse
    except ImportError as error:
        message = (
            "torch-sparse must be installed for train.sampler = torch-sparse; got no module that "
            "loads. Run `pip install --no-build-isolation scrcl[torch-sparse]`, or choose native: "
            "batches are the same."
        )
        raise MissingDependencyError(message) from error
    return torch_sparse.torch


def _refuse_repeats(ascending: IntArray) -> None:
    repeated = ascending[1:][ascending[1:] == ascending[:-1]]
    if len(repeated):
        message = f"seeds must not repeat; got {repeated[0]} twice. Give each cell once."
        raise InputError(message)


def _sorted_by_id(cells: IntArray) -> NDArray[np.int64]:
    """Return ids and positions, each pair packed into one integer, ascending by id.

    NumPy sorts integers with vector instructions, and has no such argsort.
    """
    packed = (cells.astype(np.int64) << _POSITION_BITS) | np.arange(len(cells))
    packed.sort()
    return packed


def _number(
    by_id: np.ndarray, seeds_by_id: np.ndarray, nodes: np.ndarray, positions: np.ndarray
) -> int:
    """Fill in ``nodes`` and ``positions``; return the number of nodes. The seeds are in ``nodes`` already.

    A merge: neighbours and seeds are both ascending by id, so each is passed once. Equal neighbours are consecutive,
    so each is looked up once and no table of all cells is needed.
    """
    position_mask = (1 << _POSITION_BITS) - 1
    n_local, next_seed, previous, position = len(seeds_by_id), 0, -1, -1
    for packed in by_id:
        cell = packed >> _POSITION_BITS
        if cell != previous:
            previous = cell
            while next_seed < len(seeds_by_id) and seeds_by_id[next_seed] >> _POSITION_BITS < cell:
                next_seed += 1
            if next_seed < len(seeds_by_id) and seeds_by_id[next_seed] >> _POSITION_BITS == cell:
                position = seeds_by_id[next_seed] & position_mask
            else:
                # New cells come in ascending order, as `Relabel` wants them.
                position = n_local
                nodes[n_local] = cell
                n_local += 1
        positions[packed & position_mask] = position
    return n_local
