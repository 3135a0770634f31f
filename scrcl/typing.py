"""Types of arrays and callbacks that all layers use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["BoolArray", "Csr", "FloatArray", "IntArray", "OnRows"]

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

Csr: TypeAlias = Any
"""A ``scipy.sparse.csr_matrix``. scipy has no type annotations."""

OnRows: TypeAlias = Callable[[int], None]
"""Called with the number of rows (or steps) that were just finished, from any thread."""
