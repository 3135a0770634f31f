"""Names of the ways to the final clusters, apart from the code: settings are read without loading it."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["Method"]

Method: TypeAlias = Literal["auto", "linkage", "ward", "kmeans", "leiden"]
