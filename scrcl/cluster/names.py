"""Names of the clustering algorithms, without their code: reading settings imports nothing else."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["Algorithm"]

Algorithm: TypeAlias = Literal["vote", "auto", "linkage", "ward", "kmeans", "leiden", "mixture"]
