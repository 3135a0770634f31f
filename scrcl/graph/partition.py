"""A partition of points into lists of near points. Search, storage order and mini-batches share it.

`scrcl.graph.divide` makes it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import atomic_folder
from scrcl.errors import StoreError
from scrcl.io.arrays import SMALL_MAP_BYTES, RowWriter, as_points, gathered, row_blocks

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scrcl.typing import FloatArray

__all__ = ["Partition", "write_in_order"]

_COPY_ROWS = 65_536


@dataclass(frozen=True, eq=False)
class Partition:
    """Partition lists: every point is in one list. Lists are in groups, and both are in the order of a walk."""

    centroids: NDArray[np.float32]
    """shape (n_lists, n_dims)"""
    groups: NDArray[np.int64]
    """shape (n_groups + 1,): group ``i`` is lists ``groups[i]`` to ``groups[i + 1]``"""
    order: NDArray[np.int64]
    """shape (n_points,): the points of the first list, ascending, then those of the second, and so on"""
    starts: NDArray[np.int64]
    """shape (n_lists + 1,): list ``i`` is ``order[starts[i]:starts[i + 1]]``"""

    @property
    def n_lists(self) -> int:
        """Number of lists."""
        return len(self.starts) - 1

    def save(self, folder: Path) -> None:
        """Write each array as an ``.npy`` file into a folder, which is complete or absent."""
        with atomic_folder(folder) as partial:
            for field in fields(self):
                np.save(partial / _file_of(field.name), getattr(self, field.name))

    @classmethod
    def load(cls, folder: Path) -> Partition:
        """Open a saved partition; its arrays are memory maps.

        Raises
        ------
        StoreError
            A file is missing or damaged.
        """
        try:
            files = [folder / _file_of(field.name) for field in fields(cls)]
            return cls(*(np.load(file, mmap_mode="r") for file in files))
        except Exception as error:
            message = (
                f"{folder} must hold a partition; got {type(error).__name__}: {error}. "
                "Build it again."
            )
            raise StoreError(message) from error


def _file_of(name: str) -> str:
    """Return the file of an array. ``order`` is renamed: its numbers are not rows of an input, as users may think."""
    return f"{'members' if name == 'order' else name}.npy"


def write_in_order(
    points: FloatArray, order: NDArray[np.int64], centre: FloatArray, out: Path
) -> FloatArray:
    """Write ``points[order] - centre`` to an ``.npy`` file, in blocks, and open it as a memory map."""
    with RowWriter(out, len(order), points.shape[1]) as writer:
        for start, stop in row_blocks(len(order), _COPY_ROWS):
            rows = gathered(points, order[start:stop], above=SMALL_MAP_BYTES)
            writer.write(start, rows - centre)
    return as_points(np.load(out, mmap_mode="r"))
