"""Names of the search backends, for settings to be checked by before any library is loaded."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["APPROXIMATE", "Backend", "no_proof"]

Backend: TypeAlias = Literal["auto", "exact", "partitioned", "ivf", "hnsw", "pynndescent"]
APPROXIMATE = ("partitioned", "ivf", "hnsw", "pynndescent")


def no_proof(backend: str) -> str:
    """Return what to say where a recall of 1 is asked of an approximate search."""
    return (
        f"recall must be below 1 where the search ({backend}) is approximate: a sample cannot prove "
        "more; got 1. Give a share such as 0.99, or search by exact."
    )
