"""Labels of the cells: the biological batch or the sample of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from scrcl.io.matrix import CellMatrix
    from scrcl.typing import BoolArray, IntArray

__all__ = ["CellLabels", "files_of_cells", "rows_by_label"]


@dataclass(frozen=True)
class CellLabels:
    """Batch or sample of each cell.

    Parameters
    ----------
    codes
        Positions in ``names``: ndarray of int32, shape (n_obs,).
    names
        Names of the batches or samples.
    """

    codes: IntArray
    names: tuple[str, ...]

    @classmethod
    def of_column(cls, column: pd.Series) -> CellLabels:
        """Return the labels that a column without missing values has, in their order."""
        import pandas as pd

        values = pd.Categorical(column).remove_unused_categories()
        return cls(values.codes.astype(np.int32), tuple(map(str, values.categories)))

    def of(self, cells: BoolArray | IntArray) -> CellLabels:
        """Return the labels of some cells. All names are kept, even those without cells."""
        return CellLabels(self.codes[cells], self.names)

    def groups(self) -> list[tuple[str, IntArray]]:
        """Return the name and the cells, ascending, of each batch or sample that has cells."""
        order = np.argsort(self.codes, kind="stable")
        sizes = np.bincount(self.codes, minlength=len(self.names))
        parts = np.split(order, np.cumsum(sizes)[:-1])
        return [(name, rows) for name, rows in zip(self.names, parts, strict=True) if len(rows)]


def files_of_cells(matrix: CellMatrix) -> CellLabels | None:
    """Return the file of each cell, where several are joined."""
    return CellLabels.of_column(matrix.obs["sample"]) if "samples" in matrix.identity else None


def rows_by_label(n_cells: int, labels: CellLabels | None) -> list[IntArray]:
    """Return the cells, ascending, of each batch or sample that has any; all of them as one where there are none."""
    return [np.arange(n_cells)] if labels is None else [rows for _, rows in labels.groups()]
