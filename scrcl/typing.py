"""Array types that layers meet at."""

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
"""``scipy.sparse.csr_matrix``; scipy carries no types."""

OnRows: TypeAlias = Callable[[int], None]
"""Called with the number of rows (or steps) just finished, from any thread."""
