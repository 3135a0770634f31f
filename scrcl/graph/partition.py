"""Points in lists around centroids: what search, storage order and batches share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from scrcl._atomic import atomic_folder
from scrcl.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Partition"]


@dataclass(frozen=True, eq=False)
class Partition:
    """Every point in one list; lists in the order of a walk over their centroids."""

    centroids: NDArray[np.float32]
    """shape (n_lists, n_dims)"""
    order: NDArray[np.int64]
    """shape (n_points,): the points of the first list, ascending, then those of the second, ..."""
    starts: NDArray[np.int64]
    """shape (n_lists + 1,): list ``i`` is ``order[starts[i]:starts[i + 1]]``"""

    @property
    def n_lists(self) -> int:
        """Number of lists."""
        return len(self.starts) - 1

    def save(self, folder: Path) -> None:
        """Write ``centroids.npy``, ``order.npy`` and ``starts.npy`` into a folder, whole or absent."""
        with atomic_folder(folder) as partial:
            for field in fields(self):
                np.save(partial / f"{field.name}.npy", getattr(self, field.name))

    @classmethod
    def load(cls, folder: Path) -> Partition:
        """Open a saved partition; the order stays on disk.

        Raises
        ------
        StoreError
            When a file is missing or damaged.
        """
        try:
            return cls(*(np.load(folder / f"{f.name}.npy", mmap_mode="r") for f in fields(cls)))
        except (OSError, ValueError, EOFError) as error:
            message = (
                f"{folder} must hold a partition; got {type(error).__name__}: {error}. "
                "Build it again."
            )
            raise StoreError(message) from error
