"""One label a cell: the batch or the sample that a column of ``obs`` names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scrcl.typing import BoolArray, IntArray

__all__ = ["CellLabels"]


@dataclass(frozen=True)
class CellLabels:
    """The batch, or the sample, of each cell.

    Parameters
    ----------
    codes
        ndarray of int32, shape (n_obs,): positions in ``names``.
    names
        Names of the batches or samples.
    """

    codes: IntArray
    names: tuple[str, ...]

    def of(self, cells: BoolArray | IntArray) -> CellLabels:
        """Return the labels of some cells; names stay, also those without a cell there."""
        return CellLabels(self.codes[cells], self.names)
